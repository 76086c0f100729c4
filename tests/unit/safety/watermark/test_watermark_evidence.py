"""Bounds and tails against sums that can be counted or sampled."""

from __future__ import annotations

from itertools import pairwise, product

import numpy as np
import pytest

from safety.watermark.evidence import coin_tail, corrected, sign_tail


def test_the_bound_is_never_below_the_true_probability() -> None:
    random = np.random.default_rng(4)
    signs = np.array(list(product((-1, 1), repeat=12)))
    for _ in range(20):
        weights = random.exponential(size=12)
        sums = signs @ weights
        for total in np.quantile(sums, [0.5, 0.9, 0.99, 1.0]):
            assert sign_tail(weights, float(total)) >= (sums >= total).mean() - 1e-9


def test_full_agreement_of_equal_chips_is_as_rare_as_that_many_coins() -> None:
    assert sign_tail(np.ones(96), 96.0) == pytest.approx(2.0**-96, rel=1e-3)


def test_the_bound_is_at_least_as_sharp_as_hoeffding() -> None:
    weights = np.random.default_rng(2).uniform(0.2, 1.0, 96)
    for share in (0.3, 0.5, 0.8):
        total = share * weights.sum()
        assert sign_tail(weights, total) <= 1.02 * np.exp(-(total**2) / (2 * (weights @ weights)))


def test_the_bound_falls_as_agreement_grows_and_does_not_depend_on_scale() -> None:
    weights = np.random.default_rng(3).uniform(0.0, 1.0, 64)
    bounds = [sign_tail(weights, total) for total in np.linspace(0.1, weights.sum(), 40)]
    assert all(later <= earlier for earlier, later in pairwise(bounds))
    assert sign_tail(weights * 1e-6, 10e-6) == pytest.approx(sign_tail(weights, 10.0), rel=1e-6)


def test_no_agreement_and_no_signal_are_no_evidence() -> None:
    assert sign_tail(np.ones(8), -3.0) == 1.0
    assert sign_tail(np.zeros(8), 0.0) == 1.0


def test_p_values_never_reach_zero() -> None:
    assert sign_tail(np.ones(2000), 2000.0) == 1e-300
    assert corrected(1e-300, 1) == 1e-300
    assert corrected(0.0, 5) == 1e-300
    assert corrected(0.4, 5) == 1.0


def test_coins_are_counted_exactly() -> None:
    assert coin_tail(32, 32) == 2.0**-32
    assert coin_tail(0, 32) == 1.0
    assert coin_tail(2, 3) == 0.5
