"""Which pictures were right, counted; shares with their intervals."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from random import Random

import numpy as np

from safety.bias.intervals import wilson
from training.judging import lists
from training.judging.asks import PARTS, Ask
from training.judging.network import Judge, Verdict

FIRST = 5


@dataclass(frozen=True, slots=True)
class Tally:
    """Hits among tries."""

    hits: int
    tries: int

    @property
    def share(self) -> float:
        """Hits over tries; not a number without tries."""
        return self.hits / self.tries if self.tries else float("nan")

    @property
    def interval(self) -> tuple[float, float]:
        """Wilson's interval, 95 %."""
        low, high = wilson(self.hits, self.tries)
        return float(low), float(high)


def places(judge: Judge, verdict: Verdict, asks: Sequence[Ask], *, among: Sequence[str] = ()) -> list[list[int]]:
    """For every asked concept of every ask: at which place of the judge's answers the first accepted label stands.

    `among` restricts the answers to some concepts. Place 0 is the likeliest.
    """
    known = {label: number for number, label in enumerate(judge.labels)}
    shares = verdict.concepts
    if among:
        allowed = np.zeros(len(judge.labels), dtype=bool)
        allowed[[known[label] for label in among if label in known]] = True
        shares = np.where(allowed, shares, -1.0)
    order = np.argsort(-shares, axis=1, kind="stable")
    rank = np.empty_like(order)
    np.put_along_axis(rank, order, np.arange(order.shape[1])[None, :], axis=1)
    return [
        [
            min(int(rank[row, known[label]]) for label in lists.accepted(concept) if label in known)
            for concept in ask.concepts
        ]
        for row, ask in enumerate(asks)
    ]


def tallies(judge: Judge, verdict: Verdict, asks: Sequence[Ask]) -> dict[str, Tally]:
    """Every share of the table that is counted picture by picture."""
    found = places(judge, verdict, asks)
    near = places(judge, verdict, asks, among=lists.concepts())
    styles = [judge.styles[number] for number in verdict.styles.argmax(axis=1)]
    colours = [judge.colours[number] for number in verdict.colours.argmax(axis=1)]
    rows: dict[str, list[bool]] = {name: [] for name in NAMES}
    for place, ask in enumerate(asks):
        worst = max(found[place])
        if ask.part == "listed":
            rows["top1"].append(worst < 1)
            rows["top5"].append(worst < FIRST)
            rows["top1_listed"].append(max(near[place]) < 1)
            rows["style"].append(styles[place] == ask.style)
        elif ask.part == "background":
            rows["colour"].append(colours[place] == ask.colour)
        elif ask.part == "pair":
            rows["pair"].append(worst < FIRST)
            rows["pair_strict"].append(worst < 2)
            rows["pair_one"].append(min(found[place]) < FIRST)
        else:
            rows["synonym"].append(worst < FIRST)
    return {name: Tally(sum(hits), len(hits)) for name, hits in rows.items()}


NAMES: Mapping[str, str] = {
    "top1": "first answer right, 300 concepts x 4 styles",
    "top5": "right among the first five",
    "top1_listed": "first answer right, among the 300 alone",
    "style": "style",
    "colour": "background colour",
    "pair": "two subjects, both among the first five",
    "pair_strict": "two subjects, both first",
    "pair_one": "two subjects, at least one",
    "synonym": "synonyms, among the first five",
}


def shuffled(asks: Sequence[Ask], seed: int = 3) -> list[Ask]:
    """The asks of every part dealt out anew, none to its own picture: judged so, hits are chance.

    Only what a right answer shows moves; a part with one ask keeps it.
    """
    dealt = list(asks)
    for part in PARTS:
        own = [place for place, ask in enumerate(asks) if ask.part == part]
        Random(seed).shuffle(own)
        for place, other in zip(own, own[1:] + own[:1], strict=True):
            dealt[place] = asks[other]
    return dealt


def right(judge: Judge, verdict: Verdict, asks: Sequence[Ask]) -> list[tuple[bool, str]]:
    """For the sheets: whether each picture was right by the rule of its part, and what the judge saw first."""
    found = places(judge, verdict, asks)
    order = verdict.first(2)
    told: list[tuple[bool, str]] = []
    for place, ask in enumerate(asks):
        seen = judge.labels[order[place, 0]]
        hit = max(found[place]) < FIRST
        if ask.part == "background":
            seen = judge.colours[int(verdict.colours[place].argmax())]
            hit = seen == ask.colour
        elif ask.part == "pair":
            seen = f"{seen} + {judge.labels[order[place, 1]]}"
        told.append((hit, seen))
    return told
