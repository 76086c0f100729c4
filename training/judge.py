"""Train the judge on the real art, and export it with what it remembers of that art.

    python -m training judge --minutes 20 --out models/judge

The judge shares no weight, no seed and no augmentation with the towers. One picture in four shows two subjects. For
one concept in ten a style is held out, so that its accuracy on pictures it never saw can be printed with every table.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from random import Random

import torch
from torch import Tensor, nn
from torch.nn import functional

from training import data, running
from training.data import FLAGS, STYLES, Record
from training.judging import augmentation as show
from training.judging import likeness, lists, network, trials
from training.judging.network import Judge, Network

BATCH = 48
PAIRS = 12  # of these, two subjects
PEAK = 2e-3
LISTED_TIMES = 6.0  # how much more often the listed concepts are drawn
HELD_SHARE = 0.1
SEED = 977  # of what is held out, whatever the run's own seed
CHECKPOINT = "judge.safetensors"
Batch = tuple[Tensor, Tensor, Tensor, Tensor]


@dataclass(frozen=True, slots=True)
class Art:
    """The real art as the judge sees it: pictures uint8 (N, 4, 64, 64), premultiplied, and what is known of them."""

    pictures: Tensor
    records: Sequence[Record]
    labels: tuple[str, ...]
    held: frozenset[int]  # rows never trained on

    def rows(self, concepts: Sequence[str], styles: Sequence[str] = STYLES) -> list[int]:
        """The untoned picture of every concept in every style it exists in, concept by concept."""
        found: dict[tuple[str, str], int] = {}
        for row, record in enumerate(self.records):
            if record.tone == 0:
                found.setdefault((record.base, record.style), row)
        wanted = [(concept, style) for concept in concepts for style in styles]
        return [found[pair] for pair in wanted if pair in found]


def held_out(records: Sequence[Record]) -> frozenset[int]:
    """Rows kept from training: for a tenth of the concepts with all four styles, everything in one of them."""
    known: dict[str, set[str]] = {}
    for record in records:
        if record.group != FLAGS:
            known.setdefault(record.base, set()).add(record.style)
    whole = sorted(base for base, styles in known.items() if len(styles) == len(STYLES))
    chosen = Random(SEED).sample(whole, round(HELD_SHARE * len(whole)))
    missing = {base: STYLES[place % len(STYLES)] for place, base in enumerate(chosen)}
    return frozenset(row for row, record in enumerate(records) if missing.get(record.base) == record.style)


def read(work: Path) -> Art:
    """The prepared art in `work`, shrunk to the judge's size."""
    pictures, records = data.load(work)
    parts = [show.shrink(pictures[start : start + 256], network.SIDE) for start in range(0, len(records), 256)]
    return Art(torch.cat(parts), records, tuple(sorted({record.base for record in records})), held_out(records))


class Feed:
    """Draws training batches from the art."""

    def __init__(self, art: Art) -> None:
        self.pictures = art.pictures
        number = {label: place for place, label in enumerate(art.labels)}
        self.concepts = torch.tensor([number[record.base] for record in art.records])
        self.styles = torch.tensor([STYLES.index(record.style) for record in art.records])
        self.flips = torch.tensor([record.flips for record in art.records])
        listed = frozenset(lists.concepts())
        weights = [record.weight**0.5 * (LISTED_TIMES if record.base in listed else 1) for record in art.records]
        self.weights = torch.tensor([0.0 if row in art.held else weight for row, weight in enumerate(weights)])
        shares = torch.zeros(len(art.labels)).index_add(0, self.concepts, self.weights)
        # Added to the logits in training only: no concept is favoured later for having been common here.
        self.prior = (shares / shares.sum()).clamp_min(1e-7).log()

    def draw(self, count: int, pairs: int) -> Batch:
        """Pictures (B, 3, S, S) in [-1, 1], concept shares (B, N), style numbers (B,), colour numbers (B,)."""
        rows = torch.multinomial(self.weights, count, replacement=True)
        layers = self._placed(rows[pairs:], show.alone(count - pairs))
        target = functional.one_hot(self.concepts[rows], len(self.prior)).float()
        if pairs:
            partners = torch.cat([self._partner(int(row)) for row in rows[:pairs]])
            first, second = show.beside(pairs)
            both = show.over(self._placed(rows[:pairs], first), self._placed(partners, second))
            layers = torch.cat([both, layers])
            others = functional.one_hot(self.concepts[partners], len(self.prior)).float()
            target[:pairs] = (target[:pairs] + others) / 2
        names, colours = show.backgrounds(count)
        seen = show.weather(layers[:, :3] + colours * (1 - layers[:, 3:]))
        return seen, target, self.styles[rows], names

    def _partner(self, row: int) -> Tensor:
        weights = self.weights * (self.styles == self.styles[row])
        return torch.multinomial(weights, 1)

    def _placed(self, rows: Tensor, place: show.Place) -> Tensor:
        flips = self.flips[rows] & (torch.rand(len(rows)) < 0.5)
        return show.put(show.tint(self.pictures[rows].float() / 255), place, flips)


def loss_of(module: nn.Module, batch: tuple[Tensor, ...], prior: Tensor) -> Tensor:
    """Cross-entropy of the concepts, corrected for their shares, plus a little of style and background colour."""
    seen, target, styles, colours = batch
    with running.half(seen.device):
        _, concept, style, colour = module(seen)
    right = functional.cross_entropy(concept.float() + prior, target)
    beside = functional.cross_entropy(style.float(), styles) + functional.cross_entropy(colour.float(), colours)
    return right + 0.3 * beside


def build(labels: int) -> Network:
    """An untrained judge for that many concepts."""
    return Network(labels, len(STYLES), len(show.NAMES))


def train(
    work: Path,
    *,
    minutes: float,
    seed: int = 0,
    resume: bool = False,
    device: torch.device | str = "cpu",
    out: Path | None = None,
) -> None:
    """Trains for `minutes` and leaves `work/judge.safetensors`; exports to `out` if that is given."""
    torch.manual_seed(SEED + seed)
    art = read(work)
    feed = Feed(art)
    module = build(len(art.labels))
    run = running.begin(module, minutes=minutes, peak=PEAK, decay=0.998, weight_decay=0.03, device=device)
    prior = feed.prior.to(run.device)
    path = work / CHECKPOINT
    if resume and path.exists():
        run.resume(path)
    began, first = run.budget.seconds(), run.step
    over = False
    while not over:
        batch = running.moved(run.device, *feed.draw(BATCH, PAIRS))
        run.advance(lambda batch=batch: loss_of(run.module, batch, prior))  # type: ignore[misc]
        if run.step % 50 == 0:
            speed = (run.step - first) * BATCH / (run.budget.seconds() - began)
            print(f"judge: step {run.step} loss {run.loss:.3f} {speed:.0f}/s {run.budget.share():.0%}", flush=True)
        over = run.budget.share() >= 1
        if over or run.due(180):
            run.save(path)
    if out is not None:
        export(work, out)


def trained(work: Path, art: Art) -> Judge:
    """The judge from the checkpoint in `work`, as fp16 leaves it, without a memory."""
    module = build(len(art.labels))
    state = running.part(running.load(work / CHECKPOINT)[0], "average")
    module.load_state_dict({name: value.half().float() for name, value in state.items()})
    return Judge(module.eval(), art.labels, STYLES, show.NAMES, facts={}, memory={})


def memory(judge: Judge, art: Art) -> dict[str, Tensor]:
    """What a clean clone needs of the real art: the judge's features of the listed pictures, and their looks."""
    rows = art.rows(lists.concepts())
    real = show.flat(art.pictures[rows].float() / 255)
    looks = likeness.fit(real)
    return {
        "real": torch.from_numpy(judge.see(real).features),
        "real_concepts": torch.tensor([judge.number(art.records[row].base) for row in rows]),
        "real_styles": torch.tensor([STYLES.index(art.records[row].style) for row in rows]),
        "looks_basis": looks.basis,
        "looks_centre": looks.centre,
        "looks": looks.of(real),
    }


def export(work: Path, out: Path) -> int:
    """Writes the judge, its memory and its own accuracy on real art to `out`; gives the size in bytes."""
    art = read(work)
    judge = trained(work, art)
    known = replace(judge, memory=memory(judge, art))
    real = show.flat(art.pictures[art.rows(lists.concepts())].float() / 255)
    alike = likeness.threshold(likeness.looks_of(known.memory), real)
    size = network.save(replace(known, facts={"own": trials.own(known, art), "look_alike": alike}), out)
    print(f"judge: {size / 2**20:.2f} MiB in {out}", flush=True)
    return size
