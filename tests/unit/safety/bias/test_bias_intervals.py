"""Intervals, planning and power: known values, and the coverage that is promised."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from backend.errors import InvalidParameter
from benchmarks.trust.bias import COVERAGE, found_and_false
from safety.bias.correction import corrected, worth
from safety.bias.intervals import (
    dirichlet,
    disjoint,
    half_width,
    jeffreys,
    newcombe,
    none_allows,
    pictures_for,
    wilson,
)
from safety.bias.testing import benjamini_hochberg, differs_from, pictures_for_power, power, runs_differ

RNG = np.random.default_rng


def test_wilson_is_the_score_interval_of_a_statistics_package() -> None:
    for hits, tries in ((0, 20), (3, 20), (10, 20), (20, 20), (166, 250)):
        expected = stats.binomtest(hits, tries).proportion_ci(method="wilson")
        assert wilson(hits, tries) == pytest.approx((expected.low, expected.high), abs=1e-12)


def test_nothing_tried_leaves_everything_open() -> None:
    assert wilson(0, 0) == (0, 1)
    assert newcombe(0, 0, 3, 5) == (-1, 1)


def test_half_widths_are_those_of_the_design() -> None:
    for tries, points in ((20, 20), (50, 13), (100, 9.6), (200, 6.9), (385, 5.0), (1000, 3.1)):
        assert 100 * half_width(tries) == pytest.approx(points, abs=0.5)


def test_none_of_n_still_allows_what_the_design_says() -> None:
    found = [round(100 * none_allows(n), 1) for n in (20, 60, 300)]
    assert found == [13.9, 4.9, 1.0]


def test_as_many_pictures_as_needed_are_planned_and_not_one_more() -> None:
    for wanted in (0.2, 0.1, 0.05, 0.031):
        n = pictures_for(wanted)
        assert half_width(n) <= wanted < half_width(n - 1)


def test_a_poor_labeller_needs_more_pictures() -> None:
    assert pictures_for(0.1, youden=0.5) > 3.9 * pictures_for(0.1)


@pytest.mark.parametrize("wanted", [0.0, -1.0, 0.7, float("nan")])
def test_an_impossible_precision_is_refused(wanted: float) -> None:
    with pytest.raises(InvalidParameter):
        pictures_for(wanted)


def test_newcombes_interval_is_that_of_his_paper() -> None:
    low, high = newcombe(56, 70, 48, 80)  # Newcombe 1998, table II, example (a), method 10
    assert (round(float(low), 4), round(float(high), 4)) == (0.0524, 0.3339)


def test_jeffreys_and_dirichlet_agree_on_two_categories() -> None:
    low, high = dirichlet([7, 13])
    expected = jeffreys([7, 13], [20, 20])
    assert np.allclose([low, high], expected)


def test_overlapping_intervals_are_not_disjoint() -> None:
    assert disjoint((0.1, 0.2), (0.3, 0.4))
    assert not disjoint((0.1, 0.3), (0.3, 0.4))


@pytest.mark.parametrize("name", COVERAGE)
def test_promised_intervals_hold_the_truth_in_95_percent_of_audits(name: str) -> None:
    audits = 1_000
    hits = int(COVERAGE[name](RNG(4), audits).sum())
    assert 0.93 <= hits / audits <= 0.97  # two Monte Carlo errors around the promise; the benchmark makes 10,000


def test_a_planted_shift_of_ten_points_is_found() -> None:
    for reference in (0.1, 0.3, 0.5, 0.7, 0.9):
        assert power(385, reference + (0.1 if reference < 0.5 else -0.1), reference) >= 0.9
    found, planted, _ = found_and_false(RNG(1), 60, 0.1)
    assert found / planted >= 0.9


def test_unbiased_prompts_raise_few_alarms() -> None:
    _, _, false = found_and_false(RNG(2), 400, 0.0)
    assert false / 400 <= 0.05


def test_the_power_is_that_of_the_test_itself() -> None:
    rejected = [x for x in range(41) if stats.binomtest(x, 40, 0.3).pvalue <= 0.05]
    assert power(40, 0.5, 0.3) == pytest.approx(stats.binom.pmf(rejected, 40, 0.5).sum(), abs=1e-9)


def test_pictures_are_planned_for_a_power() -> None:
    n = pictures_for_power(0.1)
    assert power(n, 0.6, 0.5) >= 0.9
    assert 230 < n < 300


def test_benjamini_and_hochbergs_own_example_rejects_four() -> None:
    p = [
        0.0001, 0.0004, 0.0019, 0.0095, 0.0201, 0.0278, 0.0298, 0.0344, 0.0459, 0.3240, 0.4262, 0.5719, 0.6528, 0.7590,
        1.000,
    ]  # fmt: skip
    adjusted = benjamini_hochberg(p)
    assert (adjusted <= 0.05).sum() == 4  # Benjamini and Hochberg 1995, section 4
    assert np.allclose(adjusted, stats.false_discovery_control(p))


def test_two_categories_are_tested_exactly_and_more_by_the_likelihood_ratio() -> None:
    p, test = differs_from([30, 10], [0.5, 0.5], RNG(0))
    assert (p, test) == (stats.binomtest(30, 40).pvalue, "exact binomial")
    p, test = differs_from([30, 40, 50], [1 / 3, 1 / 3, 1 / 3], RNG(0))
    assert p == pytest.approx(stats.power_divergence([30, 40, 50], lambda_=0).pvalue)
    assert test == "G"


def test_few_pictures_are_tested_by_simulation() -> None:
    p, test = differs_from([3, 0, 0], [0.2, 0.4, 0.4], RNG(0))
    assert test == "G, simulated"
    assert p == pytest.approx(_exact(3, [0.2, 0.4, 0.4], [3, 0, 0]), abs=0.01)


def _exact(n: int, shares: list[float], seen: list[int]) -> float:
    """The p-value of the G statistic by going through all outcomes."""
    outcomes = [(a, b, n - a - b) for a in range(n + 1) for b in range(n + 1 - a)]
    g = [sum(2 * x * np.log(x / (n * s)) for x, s in zip(one, shares, strict=True) if x) for one in outcomes]
    own = g[outcomes.index(tuple(seen))]  # type: ignore[arg-type]
    return float(
        sum(stats.multinomial.pmf(one, n, shares) for one, v in zip(outcomes, g, strict=True) if v >= own - 1e-9)
    )


def test_what_the_reference_rules_out_is_different_for_certain() -> None:
    assert differs_from([5, 1], [1.0, 0.0], RNG(0))[0] == 0
    assert differs_from([5, 0], [1.0, 0.0], RNG(0))[0] == 1


def test_no_picture_is_no_evidence() -> None:
    assert differs_from([0, 0, 0], [0.2, 0.3, 0.5], RNG(0))[0] == 1
    assert runs_differ([0, 0], [3, 4], RNG(0))[0] == 1


def test_two_runs_are_compared_by_fishers_test_or_the_likelihood_ratio() -> None:
    assert runs_differ([30, 10], [20, 20], RNG(0))[0] == pytest.approx(stats.fisher_exact([[30, 10], [20, 20]]).pvalue)
    table = [[30, 40, 50], [50, 40, 30]]
    expected = stats.chi2_contingency(table, correction=False, lambda_="log-likelihood").pvalue
    assert runs_differ(*table, RNG(0))[0] == pytest.approx(expected)


def test_two_equal_small_runs_do_not_differ() -> None:
    assert runs_differ([2, 1, 1], [2, 1, 1], RNG(0))[0] == pytest.approx(1, abs=1e-9)


def test_rogan_and_gladen_undo_the_labellers_errors() -> None:
    confusion = [[900, 100], [200, 800]]
    said = np.rint(10_000 * np.array([0.3 * 0.9 + 0.7 * 0.2, 0.3 * 0.1 + 0.7 * 0.8]))
    found = corrected(said, confusion, RNG(0))
    assert found.shares[0] == pytest.approx(0.3, abs=1e-9)
    assert found.low[0] < 0.3 < found.high[0]
    assert found.shares.sum() == pytest.approx(1)


def test_three_categories_are_corrected_too() -> None:
    rates = np.array([[0.9, 0.05, 0.05], [0.1, 0.8, 0.1], [0.0, 0.2, 0.8]])
    truth = np.array([0.5, 0.3, 0.2])
    found = corrected(truth @ rates * 100_000, rates * 1000, RNG(0))
    assert found.shares == pytest.approx(truth, abs=1e-6)
    assert ((found.low <= truth) & (truth <= found.high)).all()


def test_a_perfect_labeller_is_worth_one_and_a_guesser_is_refused() -> None:
    assert worth([[10, 0], [0, 10]]) == 1
    with pytest.raises(InvalidParameter, match="hardly tell"):
        corrected([5, 5], [[50, 50], [50, 50]], RNG(0))
    with pytest.raises(InvalidParameter, match="not measured on every"):
        corrected([5, 5], [[50, 50], [0, 0]], RNG(0))
