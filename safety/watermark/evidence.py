"""How unlikely an agreement is by chance. Rigorous upper bounds or exact tails; pure functions."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from safety.watermark.types import SMALLEST_P

WEAK = 0.05
"""A p-value above this is Hoeffding's bound alone."""

_LOG2 = math.log(2.0)
_SLOPES = np.concatenate([np.geomspace(2e-2, 500.0, 48), [1e5]])


def sign_tail(weights: NDArray[np.floating[Any]], total: float) -> float:
    """Upper bound of P(sum of weights[i] * m[i] >= total) for independent fair signs m[i].

    Chernoff's bound with the exact moments, min over x > 0 of exp(-x * total) * prod cosh(x * weights[i]). It holds
    for any weights, so nothing is assumed about pictures; it is never weaker than Hoeffding's exp(-total²/2|w|²), which
    it is above WEAK, and reaches 2**-n when n equal weights all agree. The bound falls as `total` grows, so it is
    itself a valid p-value.
    """
    size = np.abs(weights)
    top = float(size.max(initial=0.0))
    if total <= 0.0 or top <= 0.0:
        return 1.0
    hoeffding = math.exp(-total * total / (2.0 * float(size @ size)))
    if hoeffding > WEAK:
        return hoeffding  # a bound as well, and next to nothing of the time
    # Only ratios matter; scaling by the largest weight keeps the fixed grid of slopes good for every picture.
    reach = np.outer(_SLOPES, size / top)
    log_cosh = reach + np.log1p(np.exp(-2.0 * reach)) - _LOG2
    exponent = float((log_cosh.sum(axis=1) - _SLOPES * (total / top)).min())
    return math.exp(min(exponent, 0.0)) if exponent > math.log(SMALLEST_P) else SMALLEST_P


def coin_tail(heads: int, tosses: int) -> float:
    """Exact P(at least `heads` of `tosses` fair coins)."""
    return sum(math.comb(tosses, k) for k in range(max(heads, 0), tosses + 1)) / float(2**tosses)


def corrected(p_value: float, tries: int) -> float:
    """Bonferroni: the p-value after the best of `tries` looks, floored at SMALLEST_P."""
    return min(1.0, max(SMALLEST_P, p_value * tries))
