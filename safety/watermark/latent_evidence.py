"""Exact chances for the marks in noise; pure functions."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from scipy.special import gammaln, stdtr

from safety.watermark.types import SMALLEST_P


def coins_tail(weights: NDArray[np.integer], total: int) -> float:
    """Exact P(sum of weights[i] * m[i] >= total) for independent fair signs m[i] and integer weights >= 0.

    The sum over the coins of one weight is binomial; the few different weights are convolved one after the other. Only
    terms below 1e-300 are left out.
    """
    sizes = np.bincount(np.asarray(weights, np.int64).ravel())
    # In heads: the sum is 2 * (weights of the heads) - all weights.
    needed = -(-(total + int(np.arange(len(sizes)) @ sizes)) // 2)
    chances, first = np.ones(1), 0
    for weight in range(1, len(sizes)):
        if sizes[weight]:
            heads, begin = _binomial(int(sizes[weight]))
            spread = np.zeros((len(heads) - 1) * weight + len(chances))
            for number, chance in enumerate(heads):
                spread[number * weight : number * weight + len(chances)] += chance * chances
            chances, first = spread, first + begin * weight
            kept = np.flatnonzero(chances >= SMALLEST_P)
            chances, first = chances[kept[0] : kept[-1] + 1], first + int(kept[0])
    tail = float(chances[max(needed - first, 0) :].sum())
    return min(1.0, max(SMALLEST_P, tail))


def _binomial(coins: int) -> tuple[NDArray[np.float64], int]:
    """P(heads) of fair coins where it is not nothing, and the number of heads that the first value is for."""
    heads = np.arange(coins + 1, dtype=np.float64)
    logs = gammaln(coins + 1) - gammaln(heads + 1) - gammaln(coins - heads + 1) - coins * math.log(2)
    kept = np.flatnonzero(logs > math.log(SMALLEST_P))
    return np.exp(logs[kept]), int(kept[0])


def direction_tail(cosine: float, dimensions: int) -> float:
    """Exact P(cosine of the angle to a fixed direction >= `cosine`) for a direction drawn uniformly.

    cosine * sqrt((n - 1) / (1 - cosine²)) is Student's t with n - 1 degrees of freedom (Fisher 1915).
    """
    if dimensions < 2 or not math.isfinite(cosine):
        return 1.0
    t = cosine * math.sqrt((dimensions - 1) / max(1 - cosine * cosine, 1e-15))
    return min(1.0, max(SMALLEST_P, float(stdtr(dimensions - 1, -t))))
