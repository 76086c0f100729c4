"""Teaches the student the labels of all heads."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from safety.prompt_filter.wordpiece import WordPiece
from training.filter.sources import HEADS, Example
from training.filter.student import Shape, Student

_BATCH = 48
_RATE, _HEAD_RATE, _DECAY = 2.5e-4, 1e-3, 0.02
_WARM = 0.06
_SOFT = 0.015  # no label is surer than this


def numbers(piece: WordPiece, text: str, longest: int) -> list[int]:
    """With the marks; a text that is too long loses its end."""
    return [piece.first, *piece(text)[: longest - 2], piece.last]


def targets(examples: Sequence[Example]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Labels and how much each counts, both (examples, heads)."""
    labels = np.zeros((len(examples), len(HEADS)), np.float32)
    counts = np.zeros_like(labels)
    for row, example in enumerate(examples):
        for column, head in enumerate(HEADS):
            labels[row, column] = example.labels.get(head, 0.0)
            counts[row, column] = 0.0 if head in example.unknown else example.weight
    return labels.clip(_SOFT, 1 - _SOFT), counts


def _batches(rows: Sequence[Sequence[int]], chance: random.Random) -> Iterator[list[int]]:
    """Texts of like length together, batches in any order."""
    order = sorted(range(len(rows)), key=lambda row: len(rows[row]) + chance.uniform(-3, 3))
    groups = [order[begin : begin + _BATCH] for begin in range(0, len(order), _BATCH)]
    chance.shuffle(groups)
    yield from groups


def padded(rows: Sequence[Sequence[int]]) -> Tensor:
    found = torch.zeros(len(rows), max(map(len, rows)), dtype=torch.long)
    for row, text in enumerate(rows):
        found[row, : len(text)] = torch.tensor(text)
    return found


def teach(
    student: Student,
    rows: Sequence[Sequence[int]],
    examples: Sequence[Example],
    *,
    minutes: float,
    epochs: float = 99,
    seed: int = 0,
    say: Callable[[str], None] = print,
) -> None:
    """Until the time or the epochs are spent; the rate falls with whichever is nearer its end."""
    chance = random.Random(seed)
    torch.manual_seed(seed)
    labels, counts = map(torch.from_numpy, targets(examples))
    head = [*student.head.parameters()]
    names = {id(parameter) for parameter in head}
    body = [parameter for parameter in student.parameters() if id(parameter) not in names]
    optimiser = torch.optim.AdamW([{"params": body}, {"params": head}], weight_decay=_DECAY)
    start, done, total = time.monotonic(), 0, 0.0
    steps = epochs * -(-len(rows) // _BATCH)
    student.train()
    while True:
        for batch in _batches(rows, chance):
            spent = max((time.monotonic() - start) / (60 * minutes), done / steps)
            if spent >= 1:
                student.eval()
                return
            pace = min(1.0, spent / _WARM) * (1 - spent) + 1e-3
            for group, rate in zip(optimiser.param_groups, (_RATE, _HEAD_RATE), strict=True):
                group["lr"] = rate * pace
            logits = student(padded([rows[row] for row in batch]))
            each = F.binary_cross_entropy_with_logits(logits, labels[batch], reduction="none") * counts[batch]
            loss = each.sum(1).mean()
            optimiser.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call]
            torch.nn.utils.clip_grad_norm_(student.parameters(), 1.0)
            optimiser.step()
            done += 1
            total += float(loss.detach())
            if done % 100 == 0:
                say(f"{(time.monotonic() - start) / 60:5.1f} min, step {done}, loss {total / 100:.4f}")
                total = 0.0


@torch.inference_mode()
def logits(student: Student, rows: Sequence[Sequence[int]]) -> NDArray[np.float32]:
    """(texts, heads)."""
    student.eval()
    found = np.zeros((len(rows), len(HEADS)), np.float32)
    order = sorted(range(len(rows)), key=lambda row: len(rows[row]))
    for begin in range(0, len(order), 128):
        batch = order[begin : begin + 128]
        found[batch] = student(padded([rows[row] for row in batch])).numpy()
    return found


def fresh(shape: Shape, encoder: Path, pieces: Sequence[int], seed: int) -> Student:
    torch.manual_seed(seed)
    student = Student(shape, len(pieces), len(HEADS))
    student.begin(encoder, pieces)
    return student
