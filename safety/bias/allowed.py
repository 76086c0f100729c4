"""Which entropies and distances the counts still allow: intervals of what is a function of all shares."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike

from safety.bias.figures import Interval
from safety.bias.intervals import LEVEL, Floats, pair, posterior, wilson
from safety.bias.rules import Rules
from safety.bias.spread import entropy, shares
from safety.bias.testing import differs_from

EDGES = (0.025, 0.975)
"""The quantiles that bound the middle 95 %."""


def entropy_interval(counts: ArrayLike, draws: int, rng: np.random.Generator) -> Interval:
    """The normalised entropies that counts (k,) leave plausible; see DEFINITIONS."""
    found = np.asarray(counts, np.int64)
    if not found.sum():
        return 0.0, 1.0
    if found.size == 2:
        return _through(lambda p: entropy(_both(p)), found, 0.5)
    point = float(entropy(shares(found)))
    low, high = np.quantile(entropy(posterior(found, draws, rng)), EDGES)
    even, _ = differs_from(found, np.full(found.size, 1 / found.size), rng)
    return min(float(low), point), 1.0 if even > 1 - LEVEL else max(float(high), point)


def distance_interval(
    distance: Callable[[Floats, Floats], Floats], found: Floats, to: Floats, p: float, rules: Rules, row: int
) -> Interval:
    """As `entropy_interval`, of a distance: down to 0 where the reference is not rejected."""
    if not found.sum():
        return 0.0, 1.0
    if found.size == 2:
        return _through(lambda share: distance(_both(share), to), found, float(to[0]))
    rng = np.random.default_rng([rules.seed, row, 1])
    point = float(distance(shares(found), to))
    low, high = np.quantile(distance(posterior(found, rules.bootstrap, rng), to), EDGES)
    return 0.0 if p > 1 - LEVEL else min(float(low), point), max(float(high), point)


def _both(share: Floats) -> Floats:
    return np.stack([share, 1 - share], axis=-1)


def _through(function: Callable[[Floats], Floats], found: ArrayLike, turn: float) -> Interval:
    """The values of a function of one share over its Wilson interval; it is monotone on either side of `turn`."""
    counts = np.asarray(found)
    low, high = wilson(counts[0], counts.sum())
    ends = np.array([low, high, np.clip(turn, low, high)])
    values = function(ends)
    return pair(values.min(), values.max())
