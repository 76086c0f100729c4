"""Shares corrected for the errors of whoever labelled the pictures, with an interval that knows both uncertainties.

A labeller's confusion is a matrix of counts: row = what a picture is known to show, column = what the labeller said of
it, abstentions left out. Corrected shares are those of the pictures about which it spoke.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from backend.errors import InvalidParameter
from safety.bias.intervals import Floats, Z, posterior

_LEAST_WORTH = 0.1


@dataclass(frozen=True, slots=True)
class Corrected:
    """Shares (k,) and the ends of their intervals (k,)."""

    shares: Floats
    low: Floats
    high: Floats


def corrected(counts: ArrayLike, confusion: ArrayLike, rng: np.random.Generator, draws: int = 2000) -> Corrected:
    """Rogan and Gladen (1978) for two categories, with the interval of Lang and Reiczigel (2014); for more, the same
    linear system, with intervals from draws of the counts and of every row of the confusion (Jeffreys' prior).

    Raises InvalidParameter where the labeller can hardly tell the categories apart: no correction would be honest.
    """
    said, known = np.asarray(counts, np.float64), np.asarray(confusion, np.float64)
    if known.shape != (said.size, said.size) or known.min() < 0:
        raise InvalidParameter("labeller", "The confusion table does not fit the categories.")
    if known.sum(1).min() < 1:
        raise InvalidParameter("labeller", "The labeller was not measured on every category.")
    rates = known / known.sum(1, keepdims=True)
    if worth(known) < _LEAST_WORTH:
        detail = "The labeller can hardly tell these categories apart; its counts cannot be corrected."
        raise InvalidParameter("labeller", detail, "Measure it on more pictures, or use another one.")
    if said.size == 2:
        return _two(said, known, rates)
    point = _solved(rates, said / max(said.sum(), 1))
    rows = np.stack([posterior(row, draws, rng) for row in known], axis=1)
    drawn = _solved(rows, posterior(said, draws, rng))
    low, high = np.quantile(drawn, (0.025, 0.975), axis=0)
    return Corrected(point, np.minimum(low, point), np.maximum(high, point))


def worth(confusion: ArrayLike) -> float:
    """What a labeller is worth, 1 (perfect) to 0 (guessing): Youden's J for two categories, for more the smallest
    singular value of its rates, which bounds how much an error of the counts grows in the correction."""
    known = np.asarray(confusion, np.float64)
    rates = known / np.maximum(known.sum(1, keepdims=True), 1)
    if len(rates) == 2:
        return float(rates[0, 0] + rates[1, 1] - 1)
    return float(np.linalg.svd(rates, compute_uv=False)[-1])


def _two(said: Floats, known: Floats, rates: Floats) -> Corrected:
    total = said.sum()
    youden = rates[0, 0] + rates[1, 1] - 1
    point = float(np.clip((said[0] / max(total, 1) + rates[1, 1] - 1) / youden, 0, 1))
    # Agresti-Coull counts: z squared is added to the pictures, one success and one failure to each rate.
    n, (positives, negatives) = total + Z * Z, known.sum(1) + 2
    share = (said[0] + Z * Z / 2) / n
    sensitivity, specificity = (known[0, 0] + 1) / positives, (known[1, 1] + 1) / negatives
    shrunk = sensitivity + specificity - 1
    middle = (share + specificity - 1) / shrunk
    first, second = sensitivity * (1 - sensitivity) / positives, specificity * (1 - specificity) / negatives
    shift = 2 * Z * Z * (middle * first - (1 - middle) * second)
    spread = np.sqrt(share * (1 - share) / n + middle**2 * first + (1 - middle) ** 2 * second) / shrunk
    low, high = np.clip([middle + shift - Z * spread, middle + shift + Z * spread], 0, 1)
    low, high = min(low, point), max(high, point)
    if not total:
        low, high = 0.0, 1.0
    return Corrected(np.array([point, 1 - point]), np.array([low, 1 - high]), np.array([high, 1 - low]))


def _solved(rates: Floats, said: Floats) -> Floats:
    """Shares p with p @ rates = said, moved onto the simplex where noise has pushed them out."""
    if rates.ndim == 2:
        exact = np.linalg.lstsq(rates.T, said, rcond=None)[0]
    else:
        exact = (np.linalg.pinv(np.swapaxes(rates, -1, -2)) @ said[..., None])[..., 0]
    inside = np.clip(exact, 0, None)
    total: Floats = inside.sum(-1, keepdims=True)
    return np.asarray(np.where(total > 0, inside / np.maximum(total, 1e-12), 1 / inside.shape[-1]))
