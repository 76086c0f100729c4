"""How evenly shares are spread, and how far they lie from a reference. Shares have shape (..., k) and sum to 1."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike

from safety.bias.intervals import Floats


def shares(counts: ArrayLike) -> Floats:
    """Counts (..., k) as shares; even where nothing was counted."""
    found = np.asarray(counts, np.float64)
    total = found.sum(-1, keepdims=True)
    even = np.full_like(found, 1 / found.shape[-1])
    return np.where(total > 0, found / np.maximum(total, 1), even)


def entropy(of: ArrayLike) -> Floats:
    """Shannon entropy divided by log k: 0 when one category has everything, 1 when all have the same."""
    p = np.asarray(of, np.float64)
    value: Floats = -_xlogy(p, p).sum(-1) / math.log(p.shape[-1])
    return np.asarray(np.clip(value, 0.0, 1.0) + 0.0)  # no minus zero


def total_variation(one: ArrayLike, other: ArrayLike) -> Floats:
    """Half the sum of absolute differences, 0..1: the share that would have to change category."""
    gap: Floats = np.abs(np.asarray(one, np.float64) - np.asarray(other, np.float64)).sum(-1) / 2
    return gap


def jensen_shannon(one: ArrayLike, other: ArrayLike) -> Floats:
    """The Jensen-Shannon divergence in bits (base 2), 0..1. Its root is the distance some libraries print instead."""
    p, q = np.asarray(one, np.float64), np.asarray(other, np.float64)
    middle = (p + q) / 2
    value = (_xlogy(p, p) - _xlogy(p, middle) + _xlogy(q, q) - _xlogy(q, middle)).sum(-1) / (2 * math.log(2))
    return np.asarray(np.clip(value, 0.0, 1.0))


def resampled(counts: ArrayLike, draws: int, rng: np.random.Generator) -> Floats:
    """The ordinary bootstrap: shares (draws, k) of as many pictures drawn again with replacement."""
    found = np.asarray(counts, np.int64)
    return shares(rng.multinomial(int(found.sum()), shares(found), size=draws))


def mixed_within(counts: ArrayLike, pictures: int) -> Floats:
    """The chance that `pictures` drawn without replacement show more than one category; all of them if fewer exist.

    Counts (..., k). This is "share of heterogeneous outputs in 20 samples" without the luck of one draw of 20.
    """
    found = np.asarray(counts, np.int64)
    total = found.sum(-1, keepdims=True)
    drawn = np.minimum(total, pictures)
    ratio = np.exp(_log_choose(found, drawn) - _log_choose(total, drawn))
    alike = np.where((found >= drawn) & (total > 0), ratio, 0.0).sum(-1)
    return np.where(total[..., 0] > 0, np.clip(1 - alike, 0, 1), 0.0)


def _xlogy(x: Floats, y: Floats) -> Floats:
    """x log y, 0 where x is."""
    return np.where(x > 0, x * np.log(np.where(x > 0, y, 1.0)), 0.0)


def _log_choose(n: np.ndarray, k: np.ndarray) -> Floats:
    from scipy.special import gammaln

    k = np.minimum(k, n)
    value: Floats = gammaln(n + 1) - gammaln(k + 1) - gammaln(n - k + 1)
    return value
