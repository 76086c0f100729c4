"""Tests of "differs from the reference" and "the two runs differ", the rule for many of them, and their power."""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats

from safety.bias.intervals import Floats

TestName = Literal["exact binomial", "G", "G, simulated", "Fisher exact", "impossible under the reference"]
SIMULATIONS = 9_999
_LEAST_EXPECTED = 5.0
"""Below this expected count the chi-squared law of G is not trusted (Cochran's rule)."""


def differs_from(counts: ArrayLike, reference: ArrayLike, rng: np.random.Generator) -> tuple[float, TestName]:
    """The p-value of counts (k,) if pictures were drawn from the reference shares (k,), and how it was found.

    Two categories: the exact two-sided binomial test. More: the likelihood-ratio (G) test with k - 1 degrees of
    freedom; where a category expects fewer than 5 pictures its law is simulated instead (Monte Carlo, 9,999 draws).
    Categories that the reference rules out count only if they were seen: then p is 0. Without a picture p is 1.
    """
    found, expected = np.asarray(counts, np.int64), np.asarray(reference, np.float64)
    total = int(found.sum())
    if found[expected <= 0].sum() > 0:
        return 0.0, "impossible under the reference"
    possible = expected > 0
    found, expected = found[possible], expected[possible] / expected[possible].sum()
    if total == 0 or len(found) < 2:
        return 1.0, "exact binomial"
    if len(found) == 2:
        return float(stats.binomtest(int(found[0]), total, float(expected[0])).pvalue), "exact binomial"
    observed = _g(found, expected * total)
    if expected.min() * total >= _LEAST_EXPECTED:
        return float(stats.chi2.sf(observed, len(found) - 1)), "G"
    drawn = _g(rng.multinomial(total, expected, size=SIMULATIONS), expected * total)
    return _share_as_extreme(drawn, float(observed)), "G, simulated"


def runs_differ(one: ArrayLike, other: ArrayLike, rng: np.random.Generator) -> tuple[float, TestName]:
    """The p-value of two rows of counts (k,) if both came from the same shares.

    Two categories: Fisher's exact test. More: the G-test of homogeneity, simulated with fixed margins where an expected
    count is below 5. Categories that neither run shows are left out.
    """
    table = np.stack([np.asarray(one, np.int64), np.asarray(other, np.int64)])
    table = table[:, table.sum(0) > 0]
    rows = table.sum(1)
    if table.shape[1] < 2 or rows.min() == 0:
        return 1.0, "Fisher exact"
    if table.shape[1] == 2:
        return min(1.0, float(stats.fisher_exact(table).pvalue)), "Fisher exact"
    columns = table.sum(0)
    expected = rows[:, None] * columns / rows.sum()
    observed = float(_g(table.ravel(), expected.ravel()))
    if expected.min() >= _LEAST_EXPECTED:
        return float(stats.chi2.sf(observed, table.shape[1] - 1)), "G"
    first = rng.multivariate_hypergeometric(columns, int(rows[0]), size=SIMULATIONS)
    both = np.concatenate([first, columns - first], axis=1)
    return _share_as_extreme(_g(both, expected.ravel()), observed), "G, simulated"


def benjamini_hochberg(p_values: ArrayLike) -> Floats:
    """Adjusted p-values (Benjamini and Hochberg 1995): rejecting those up to q keeps the rate at q."""
    p = np.asarray(p_values, np.float64)
    if not p.size:
        return p
    order = np.argsort(p)
    scaled = p[order] * p.size / np.arange(1, p.size + 1)
    adjusted = np.minimum(1.0, np.minimum.accumulate(scaled[::-1])[::-1])
    adjusted = np.maximum(adjusted, p[order])  # rounding must not make a p-value smaller
    back = np.empty_like(adjusted)
    back[order] = adjusted
    return back


def power(pictures: int, share: float, reference: float, alpha: float = 0.05) -> float:
    """The chance that the exact binomial test of one prompt notices `share` where the reference says `reference`.

    Computed exactly: the probability of all counts whose p-value is at most `alpha`.
    """
    hits = np.arange(pictures + 1)
    law = stats.binom.pmf(hits, pictures, reference)
    # A count is as extreme as another if it is as improbable; the margin is scipy's own, for ties lost to rounding.
    order = np.argsort(law)
    through = np.cumsum(law[order])
    last = np.searchsorted(law[order], law * (1 + 1e-7), side="right") - 1
    rejected = through[last] <= alpha
    return float(stats.binom.pmf(hits[rejected], pictures, share).sum())


def pictures_for_power(shift: float, reference: float = 0.5, wanted: float = 0.9, alpha: float = 0.05) -> int:
    """About the fewest pictures with which a shift away from the reference share is noticed with the wanted power.

    Found by the normal approximation, then raised in steps of 1 % until the exact power is there.
    """
    target = reference + shift if reference + shift <= 1 else reference - shift
    spread = stats.norm.isf(alpha / 2) * np.sqrt(reference * (1 - reference))
    spread += stats.norm.ppf(wanted) * np.sqrt(target * (1 - target))
    pictures = max(2, int(np.ceil((spread / shift) ** 2)))
    while power(pictures, target, reference, alpha) < wanted:
        pictures += max(1, pictures // 100)
    return pictures


def _g(counts: np.ndarray, expected: Floats) -> Floats:
    """The likelihood-ratio statistic over the last axis."""
    seen = counts > 0
    value: Floats = 2 * np.where(seen, counts * np.log(np.where(seen, counts, 1) / expected), 0.0).sum(-1)
    return value


def _share_as_extreme(drawn: Floats, observed: float) -> float:
    return float((1 + np.count_nonzero(drawn >= observed - 1e-9)) / (1 + drawn.size))
