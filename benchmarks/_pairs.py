"""Time two things against each other fairly: A B A B ..., the median of the paired ratios, and its range."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from statistics import median


@dataclass(frozen=True, slots=True)
class Ratio:
    """`ours` and `theirs` are medians in seconds; `ratio` is the median of ours/theirs, pair by pair."""

    ours: float
    theirs: float
    ratio: float
    least: float
    most: float

    def line(self, what: str, goal: str) -> str:
        return (
            f"{what:<58} {self.ratio:6.3f}  [{self.least:.3f} .. {self.most:.3f}]   goal {goal:<10}"
            f"  ({self.ours * 1000:.1f} ms against {self.theirs * 1000:.1f} ms)"
        )


def compare(ours: Callable[[], object], theirs: Callable[[], object], rounds: int, warm_up: int = 1) -> Ratio:
    for _ in range(warm_up):
        ours(), theirs()
    pairs = [(_seconds(ours), _seconds(theirs)) for _ in range(rounds)]
    ratios = [mine / other for mine, other in pairs]
    return Ratio(median(p[0] for p in pairs), median(p[1] for p in pairs), median(ratios), min(ratios), max(ratios))


def _seconds(action: Callable[[], object]) -> float:
    start = time.perf_counter()
    action()
    return time.perf_counter() - start
