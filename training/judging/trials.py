"""The judge's own accuracy on real art: without it no figure about generated pictures means anything."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor

from training.captions import COLOURS
from training.data import STYLES, Record
from training.judging import augmentation as show
from training.judging import distances, lists, scoring
from training.judging.asks import Ask
from training.judging.network import Judge, Verdict
from training.judging.scoring import Tally

SEED = 41


class RealArt(Protocol):
    """What is needed of `training.judge.Art`."""

    @property
    def pictures(self) -> Tensor:
        """Premultiplied uint8 (N, 4, S, S)."""

    @property
    def records(self) -> Sequence[Record]:
        """One for each picture."""

    @property
    def held(self) -> frozenset[int]:
        """Rows never trained on."""

    def rows(self, concepts: Sequence[str], styles: Sequence[str] = STYLES) -> list[int]:
        """The untoned pictures of some concepts."""


def own(judge: Judge, art: RealArt) -> dict[str, dict[str, float]]:
    """Every trial as share, hits and tries (and ratios of distances), for the judge's config and card."""
    torch.manual_seed(SEED)
    rows = art.rows(lists.concepts())
    layers = art.pictures[rows].float() / 255
    clean = show.flat(layers)
    asks = [_ask(art.records[row]) for row in rows]
    found: dict[str, Tally] = {}
    verdicts: dict[str, Verdict] = {}
    for name, seen in (("clean", clean), ("weathered", _weathered(layers)), ("unseen", show.unseen(clean))):
        verdicts[name] = judge.see(seen)
        tallies = scoring.tallies(judge, verdicts[name], asks)
        found |= {f"{name}_{what}": tallies[what] for what in ("top1", "top5", "top1_listed", "style")}
    for name, what in left_out(judge, art).items():
        found[f"left_out_{name}"] = what
    found["clean_colour"] = _colours(judge, layers, asks)
    found |= {f"clean_{name}": what for name, what in pairs(judge, art).items()}
    told = {
        name: {"share": round(tally.share, 4), "hits": tally.hits, "tries": tally.tries}
        for name, tally in found.items()
    }
    for name in ("weathered", "unseen"):
        gap = distances.distance(verdicts[name].features, verdicts["clean"].features)
        told[f"{name}_distance"] = {"ratio": round(gap.ratio, 2), "drawn": gap.drawn, "halves": gap.halves}
    return told


def _ask(record: Record) -> Ask:
    return Ask("listed", record.base, (record.base,), seed=0, style=record.style)


def _weathered(layers: Tensor) -> Tensor:
    """As in training, but with new chances: placed anew, softened, noisy, on white."""
    placed = show.put(layers, show.alone(len(layers)), torch.zeros(len(layers), dtype=torch.bool))
    return show.weather(placed[:, :3] + 1 - placed[:, 3:])


def left_out(judge: Judge, art: RealArt) -> dict[str, Tally]:
    """Accuracy on pictures of the held-out styles: the concept is known from three styles, the picture is new."""
    rows = [row for row in sorted(art.held) if art.records[row].tone == 0]
    if not rows:
        return {}
    seen = show.flat(art.pictures[rows].float() / 255)
    tallies = scoring.tallies(judge, judge.see(seen), [_ask(art.records[row]) for row in rows])
    return {name: tallies[name] for name in ("top1", "top5", "style")}


def _colours(judge: Judge, layers: Tensor, asks: Sequence[Ask]) -> Tally:
    """Background colour of the listed art, a twelfth on each colour."""
    hits = tries = 0
    for place, colour in enumerate(COLOURS):
        some = layers[place :: len(COLOURS)]
        said = judge.see(show.flat(some, colour)).colours.argmax(axis=1)
        hits, tries = hits + int((said == judge.colours.index(colour)).sum()), tries + len(some)
    return Tally(hits, tries)


def pairs(judge: Judge, art: RealArt) -> dict[str, Tally]:
    """Real pictures of the listed pairs put side by side, in every style; and how often a second is seen in one alone.

    `pair_false` shows the first subject alone and asks for both: what is found then is invention.
    """
    known = {
        (record.base, record.style): row for row, record in reversed(list(enumerate(art.records))) if not record.tone
    }
    both = [
        (first, second, style)
        for first, second in lists.pairs()
        for style in STYLES
        if (first, style) in known and (second, style) in known
    ]
    if not both:
        return {}
    asks = [Ask("pair", "", (first, second), seed=0) for first, second, _ in both]
    one = art.pictures[[known[first, style] for first, _, style in both]].float() / 255
    two = art.pictures[[known[second, style] for _, second, style in both]].float() / 255
    left, right = show.beside(len(both))
    straight = torch.zeros(len(both), dtype=torch.bool)
    side_by_side = show.over(show.put(one, left, straight, wobble=0), show.put(two, right, straight, wobble=0))
    found = scoring.tallies(judge, judge.see(show.flat(side_by_side)), asks)
    alone = scoring.tallies(judge, judge.see(show.flat(one)), asks)
    return {"pair": found["pair"], "pair_strict": found["pair_strict"], "pair_false": alone["pair"]}
