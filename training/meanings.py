"""Vectors of meaning for words: all-MiniLM-L6-v2 (Apache-2.0), the text tower's teacher.

It arrives in a package, is used while training only and leaves nothing in the model but what was learned from it.
"""

from __future__ import annotations

import gzip
from collections.abc import Iterable, Sequence
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional
from transformers import AutoModel, AutoTokenizer

from training import running
from training.data import Record
from training.filter import packages

WIDTH = 384
WORDS = 9000
"""English words beside the labels, the most frequent first."""


@torch.no_grad()
def vectors(encoder: Path, texts: Sequence[str], *, size: int = 128) -> Tensor:
    """Unit vectors (N, 384): the mean of the token states, as the encoder's card tells."""
    tokenizer, model = AutoTokenizer.from_pretrained(encoder), AutoModel.from_pretrained(encoder).eval()
    parts: list[Tensor] = []
    for start in range(0, len(texts), size):
        given = tokenizer(list(texts[start : start + size]), padding=True, truncation=True, return_tensors="pt")
        states, there = model(**given).last_hidden_state, given["attention_mask"][..., None]
        parts.append((states * there).sum(1) / there.sum(1))
    return functional.normalize(torch.cat(parts), dim=-1)


def english(vocabulary: Path, count: int = WORDS) -> list[str]:
    """Whole words of CLIP's vocabulary, which is ordered by how often they were met, three letters or more."""
    with gzip.open(vocabulary, "rt", encoding="utf-8") as file:
        merges = file.read().splitlines()[1:49_153]
    words = (merge.replace(" ", "") for merge in merges)
    whole = (word.removesuffix("</w>") for word in words if word.endswith("</w>"))
    return [word for word in dict.fromkeys(whole) if len(word) > 2 and word.isascii() and word.isalpha()][:count]


def names(records: Iterable[Record]) -> dict[str, str]:
    """Every sign without its skin tone, with its label and tags as one line."""
    return {record.base: ", ".join([record.base, *record.tags]) for record in records}


class Meanings:
    """What is meant: `of_signs` (S, 384) for `signs` in that order, `of_words` (W, 384) for `words`."""

    def __init__(self, signs: list[str], of_signs: Tensor, words: list[str], of_words: Tensor) -> None:
        self.signs, self.of_signs, self.words, self.of_words = signs, of_signs, words, of_words

    @classmethod
    def read(cls, work: Path, records: Sequence[Record]) -> Meanings:
        """From `work/meanings.safetensors`, made (and the packages fetched) if it is not there."""
        lines = names(records)
        path, packs = work / "meanings.safetensors", packages.fetch(work / "filter")
        words = english(packs.vocabulary)
        if not path.exists():
            plain, tagged = vectors(packs.encoder, list(lines)), vectors(packs.encoder, list(lines.values()))
            signs = functional.normalize(plain + tagged, dim=-1)
            running.save(path, {"signs": signs, "words": vectors(packs.encoder, words)}, {})
        tensors, _ = running.load(path)
        return cls(list(lines), tensors["signs"], words, tensors["words"])

    def likely(self, warmth: float = 0.06, least: float = 0.5) -> tuple[Tensor, Tensor]:
        """For every word the share of each sign it may mean (W, S), and whether any is near enough (W,)."""
        near = self.of_words @ self.of_signs.T
        return (near / warmth).softmax(dim=1), near.max(dim=1).values > least
