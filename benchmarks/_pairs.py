"""Time two things against each other fairly: A B A B ..., the median of the paired ratios, and its range."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from statistics import median


@dataclass(frozen=True, slots=True)
class Ratio:
    """`ours` and `theirs` are medians in seconds; `ratio` is the median of ours/theirs, pair by pair.

    `goal` is the largest ratio that is good enough; without one the ratio is only stated.
    """

    ours: float
    theirs: float
    ratio: float
    least: float
    most: float
    goal: float | None = None

    @property
    def missed(self) -> bool:
        return self.goal is not None and self.ratio > self.goal

    @property
    def turned(self) -> Ratio:
        """The same the other way round: how many times longer theirs takes."""
        return replace(self, ratio=1 / self.ratio, least=1 / self.most, most=1 / self.least, goal=None)

    def line(self, what: str) -> str:
        goal = "stated" if self.goal is None else f"<= {self.goal:g}{' MISSED' if self.missed else ''}"
        return (
            f"{what:<58} {self.ratio:6.3f}  [{self.least:.3f} .. {self.most:.3f}]   goal {goal:<14}"
            f"  ({self.ours * 1000:.1f} ms against {self.theirs * 1000:.1f} ms)"
        )


def compare(
    ours: Callable[[], object],
    theirs: Callable[[], object],
    rounds: int,
    warm_up: int = 1,
    goal: float | None = None,
) -> Ratio:
    for _ in range(warm_up):
        ours(), theirs()
    return of_pairs([(seconds(ours), seconds(theirs)) for _ in range(rounds)], goal)


def of_pairs(pairs: Sequence[tuple[float, float]], goal: float | None = None) -> Ratio:
    """From (ours, theirs) in seconds, measured in turns."""
    ratios = [mine / other for mine, other in pairs]
    ours, theirs = (median(side) for side in zip(*pairs, strict=True))
    return Ratio(ours, theirs, median(ratios), min(ratios), max(ratios), goal)


def seconds(action: Callable[[], object]) -> float:
    start = time.perf_counter()
    action()
    return time.perf_counter() - start
