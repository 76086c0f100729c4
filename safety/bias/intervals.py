"""Intervals of shares, and how many pictures an interval of a wanted width takes.

Arrays go in and out by broadcasting: counts are whole numbers, shares and intervals 0..1. Every interval is two-sided
with 95 % confidence unless `z` or `level` says otherwise.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

from backend.errors import InvalidParameter

Floats = NDArray[np.float64]
Z = 1.959963984540054
"""The standard normal quantile of 97.5 %."""
LEVEL = 0.95


def wilson(hits: ArrayLike, tries: ArrayLike, z: float = Z) -> tuple[Floats, Floats]:
    """The score interval (Wilson 1927), without continuity correction. (0, 1) without a try."""
    x, n = np.asarray(hits, np.float64), np.asarray(tries, np.float64)
    tried = np.maximum(n, 1)
    share = x / tried
    middle = (share + z * z / (2 * tried)) / (1 + z * z / tried)
    half = z * np.sqrt(share * (1 - share) / tried + z * z / (4 * tried * tried)) / (1 + z * z / tried)
    # At 0 and n of n the two halves cancel exactly, up to rounding that must not leave a share outside its interval.
    low = np.where((n == 0) | (x == 0), 0.0, np.clip(middle - half, 0, 1))
    high = np.where((n == 0) | (x == n), 1.0, np.clip(middle + half, 0, 1))
    return low, high


def jeffreys(hits: ArrayLike, tries: ArrayLike, level: float = LEVEL) -> tuple[Floats, Floats]:
    """The equal-tailed interval of the Beta(x + 1/2, n - x + 1/2) posterior (Brown, Cai and DasGupta 2001)."""
    x, n = np.asarray(hits, np.float64), np.asarray(tries, np.float64)
    tail = (1 - level) / 2
    low: Floats = np.where(x == 0, 0.0, stats.beta.ppf(tail, x + 0.5, n - x + 0.5))
    high: Floats = np.where(x == n, 1.0, stats.beta.ppf(1 - tail, x + 0.5, n - x + 0.5))
    return low, high


def newcombe(
    hits: ArrayLike, tries: ArrayLike, other_hits: ArrayLike, other_tries: ArrayLike, z: float = Z
) -> tuple[Floats, Floats]:
    """The difference of two independent shares, the first minus the second (Newcombe 1998, method 10)."""
    x, n, y, m = (np.asarray(value, np.float64) for value in (hits, tries, other_hits, other_tries))
    one, other = x / np.maximum(n, 1), y / np.maximum(m, 1)
    (low, high), (other_low, other_high) = wilson(x, n, z), wilson(y, m, z)
    gap = one - other
    least = gap - np.hypot(one - low, other_high - other)
    most = gap + np.hypot(high - one, other - other_low)
    unknown = (n == 0) | (m == 0)
    return np.where(unknown, -1.0, np.maximum(least, -1)), np.where(unknown, 1.0, np.minimum(most, 1))


def posterior(counts: ArrayLike, draws: int, rng: np.random.Generator, prior: float = 0.5) -> Floats:
    """Shares (draws, k) that the counts (k,) leave plausible: Dirichlet(counts + 1/2), Jeffreys' prior."""
    return rng.dirichlet(np.asarray(counts, np.float64) + prior, draws)


def dirichlet(counts: ArrayLike, level: float = LEVEL) -> tuple[Floats, Floats]:
    """The interval of every share under Dirichlet(counts + 1/2): each margin is a Beta law. Shapes (..., k)."""
    found = np.asarray(counts, np.float64)
    others = found.sum(-1, keepdims=True) - found + (found.shape[-1] - 1) / 2
    tail = (1 - level) / 2
    low: Floats = stats.beta.ppf(tail, found + 0.5, others)
    high: Floats = stats.beta.ppf(1 - tail, found + 0.5, others)
    return low, high


def disjoint(one: tuple[float, float], other: tuple[float, float]) -> bool:
    """Whether two intervals share no value: only then may what they stand for be put in order."""
    return one[1] < other[0] or other[1] < one[0]


def half_width(pictures: int, share: float = 0.5) -> float:
    """Half the width of the Wilson interval when `share` of the pictures are hits."""
    low, high = wilson(share * pictures, pictures)
    return float(high - low) / 2


def pictures_for(wanted: float, share: float = 0.5, *, youden: float = 1.0) -> int:
    """The fewest pictures of a prompt whose Wilson interval is at most plus or minus `wanted` wide.

    `youden` is sensitivity + specificity - 1 of an imperfect labeller: correcting for it widens an interval by its
    inverse (the labeller's own error, which more pictures do not lessen, comes on top). Raises InvalidParameter.
    """
    if not 0.001 <= wanted <= 0.5:
        raise InvalidParameter("half_width", f"A half-width of {wanted:g} cannot be planned for.", "Use 0.001 to 0.5.")
    if not 0 <= share <= 1 or not 0 < youden <= 1:
        raise InvalidParameter("share", "Shares lie between 0 and 1, and so does what a labeller is worth.")
    least, most = 1, 8_000_000
    while least < most:
        middle = (least + most) // 2
        fits = half_width(middle, share) <= wanted * youden
        least, most = (least, middle) if fits else (middle + 1, most)
    return least


def none_allows(pictures: int, level: float = LEVEL) -> float:
    """The largest share that "none of so many" still allows: the one-sided exact limit (Clopper and Pearson)."""
    return 1.0 if pictures <= 0 else -math.expm1(math.log1p(-level) / pictures)


def pair(low: Any, high: Any) -> tuple[float, float]:
    """An interval as plain numbers."""
    return float(low), float(high)
