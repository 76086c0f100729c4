"""Figures of count tables: known answers, definitions, abstentions, ranking, two runs."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial import distance

from backend.errors import InvalidParameter
from benchmarks.trust import Options
from benchmarks.trust.bias import EXPECTED, fair_diffusion, fair_diffusion_figures, section
from safety.bias.comparing import compared
from safety.bias.counts import UNIFORM, Counts, Reference, counts_of
from safety.bias.rules import Rules
from safety.bias.spread import entropy, jensen_shannon, mixed_within, shares, total_variation
from safety.bias.statistics import may_rank, statistics_of


def table(*rows: tuple[str, int, int]) -> Counts:
    return counts_of([one for name, a, b in rows for one in ((name, "a", a), (name, "b", b))])


def test_the_figures_of_fair_diffusion_come_out_to_three_decimals() -> None:
    found = fair_diffusion_figures()
    assert {name: round(value, 3) for name, value in found.items()} == EXPECTED


def test_editing_evened_the_spread_out_and_the_comparison_says_so() -> None:
    found = compared(fair_diffusion("generated"), fair_diffusion("edited"), ("generated", "edited"))
    assert found.mean_entropy_difference == pytest.approx(0.559 - 0.946, abs=0.001)
    assert found.mean_entropy_interval is not None and found.mean_entropy_interval[1] < -0.3
    assert found.differ > 100


def test_entropy_is_one_for_an_even_spread_and_zero_for_one_category() -> None:
    assert entropy([1 / 3] * 3) == pytest.approx(1)
    assert entropy([1.0, 0, 0]) == 0
    assert math.copysign(1, entropy([1.0, 0, 0])) == 1
    assert entropy([0.25, 0.75]) == pytest.approx(0.8112781244591328)


@given(st.lists(st.integers(0, 50), min_size=3, max_size=3), st.lists(st.integers(0, 50), min_size=3, max_size=3))
def test_distances_are_those_of_other_packages(one: list[int], other: list[int]) -> None:
    p, q = shares(one), shares(other)
    assert jensen_shannon(p, q) == pytest.approx(distance.jensenshannon(p, q, base=2) ** 2, abs=1e-12)
    assert total_variation(p, q) == pytest.approx(np.abs(p - q).max() if len(p) == 2 else np.abs(p - q).sum() / 2)
    assert 0 <= jensen_shannon(p, q) <= total_variation(p, q) + 1e-12


def test_the_chance_of_a_mixed_twenty_is_hypergeometric() -> None:
    assert mixed_within([20, 0], 20) == 0
    assert mixed_within([39, 1], 20) == pytest.approx(0.5)
    assert mixed_within([1, 1], 20) == pytest.approx(1)
    assert mixed_within([0, 0], 20) == 0


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 30), st.integers(0, 30), st.integers(0, 30)), min_size=1, max_size=4))
def test_every_estimate_lies_in_its_interval(rows: list[tuple[int, int, int]]) -> None:
    counts = counts_of(
        [(f"p{i}", name, count) for i, row in enumerate(rows) for name, count in zip("abc", row, strict=True)]
    )
    found = statistics_of(counts, rules=Rules(bootstrap=100))
    for one in found.prompts:
        if one.shares is None:
            assert one.n == 0
            continue
        assert sum(one.shares.values()) == pytest.approx(1)
        assert all(low <= one.shares[name] <= high for name, (low, high) in one.intervals.items())
        assert one.entropy is not None and one.entropy_interval[0] <= one.entropy <= one.entropy_interval[1]
        held = one.references["uniform"]
        assert held.total_variation_interval[0] <= held.total_variation <= held.total_variation_interval[1]
        assert held.p <= held.p_adjusted <= 1


def test_abstentions_are_counted_apart_and_bound_what_could_be() -> None:
    counts = counts_of([("p", "a", 6), ("p", "b", 2), ("p", "Unknown", 2), ("q", "abstain", 5)])
    found = statistics_of(counts)
    one, other = found.prompts
    assert (one.total, one.n, one.abstained) == (10, 8, 2)
    assert one.shares == {"a": 0.75, "b": 0.25}
    assert one.bounds["a"] == (0.6, 0.8)
    assert other.shares is None and other.flags == ("no labelled picture", "many abstentions")
    assert found.overall.measured == 1 and found.overall.abstained_share == pytest.approx(7 / 15)


def test_flags_name_what_is_notable() -> None:
    found = statistics_of(table(("one side", 400, 2), ("even", 200, 202), ("only", 30, 0)))
    flags = {one.prompt: set(one.flags) for one in found.prompts}
    assert flags["one side"] == {"one-sided", "differs from uniform"}
    assert flags["even"] == set()
    assert flags["only"] == {"one-sided", "one category only", "differs from uniform", "imprecise"}


def test_prompts_are_ranked_only_where_intervals_do_not_overlap() -> None:
    close = statistics_of(table(("x", 60, 40), ("y", 62, 38), ("z", 395, 5)))
    places = {one.prompt: one.rank for one in close.prompts}
    assert close.overall.ranking.startswith("Refused")
    assert places == {"x": (2, 3), "y": (2, 3), "z": (1, 1)}
    assert not may_rank(close.prompts[0], close.prompts[1], "uniform")
    far = statistics_of(table(("x", 500, 500), ("y", 700, 300), ("z", 990, 10)))
    assert "the order holds" in far.overall.ranking
    assert [one.rank for one in far.prompts] == [(3, 3), (2, 2), (1, 1)]


def test_a_reference_of_ones_own_is_used_prompt_by_prompt() -> None:
    reference = Reference("mine", {"p": {"a": 0.9, "b": 0.1}, "": {"a": 0.2, "b": 0.8}}, "made up, 2026")
    found = statistics_of(table(("p", 90, 10), ("q", 90, 10)), [reference, UNIFORM])
    one, other = (prompt.references["mine"] for prompt in found.prompts)
    assert not one.differs and one.total_variation == pytest.approx(0)
    assert one.total_variation_interval[0] == pytest.approx(0)
    assert other.differs and other.ratios == {"a": pytest.approx(4.5), "b": pytest.approx(0.125)}
    assert one.amplification == pytest.approx(1) and other.amplification == pytest.approx(0.125)
    assert found.overall.references[0].about == "made up, 2026"


def test_a_reference_about_something_else_is_refused() -> None:
    with pytest.raises(InvalidParameter, match="none of the categories"):
        statistics_of(table(("p", 1, 2)), [Reference("odd", {"": {"x": 1.0}})])
    with pytest.raises(InvalidParameter, match="none of the prompts"):
        statistics_of(table(("p", 1, 2)), [Reference("odd", {"r": {"a": 1.0}})])


def test_one_category_alone_cannot_be_audited() -> None:
    with pytest.raises(InvalidParameter, match="fewer than two"):
        statistics_of(counts_of([("p", "a", 3)]))


def test_equal_seeds_give_equal_figures_whatever_else_is_in_the_table() -> None:
    one = statistics_of(counts_of([("p", "a", 5), ("p", "b", 9), ("p", "c", 2)]), rules=Rules(seed=3))
    two = statistics_of(counts_of([("p", "a", 5), ("p", "b", 9), ("p", "c", 2), ("q", "a", 1)]), rules=Rules(seed=3))
    assert one.prompts[0].entropy_interval == two.prompts[0].entropy_interval
    assert one == statistics_of(counts_of([("p", "a", 5), ("p", "b", 9), ("p", "c", 2)]), rules=Rules(seed=3))


def test_a_measured_confusion_gives_corrected_shares_beside_the_counted() -> None:
    confusion = {"a": {"a": 90, "b": 10}, "b": {"a": 20, "b": 80}}
    found = statistics_of(table(("p", 41, 59)), confusion=confusion)
    (one,) = found.prompts
    assert one.shares == {"a": 0.41, "b": 0.59}
    assert one.corrected is not None and one.corrected.shares["a"] == pytest.approx(0.3)


def test_figures_are_plain_json() -> None:
    found = statistics_of(table(("p", 0, 0), ("q", 3, 1))).model_dump(mode="json")
    assert json.loads(json.dumps(found, allow_nan=False)) == json.loads(json.dumps(found))
    assert "Jensen-Shannon divergence in bits" in found["definitions"]["jensen_shannon"]


@pytest.mark.parametrize("rules", [{"q": 0.0}, {"q": 2.0}, {"bootstrap": 5}, {"seed": -1}])
def test_rules_that_mean_nothing_are_refused(rules: dict[str, float]) -> None:
    with pytest.raises(InvalidParameter):
        Rules(**rules)  # type: ignore[arg-type]


def test_runs_without_a_common_prompt_cannot_be_compared() -> None:
    with pytest.raises(InvalidParameter, match="no prompt in common"):
        compared(table(("p", 1, 2)), table(("q", 1, 2)))


def test_two_runs_are_matched_by_name_in_any_order() -> None:
    one = counts_of([("p", "a", 80), ("p", "b", 20), ("q", "a", 5), ("q", "b", 5)])
    other = counts_of([("q", "b", 5), ("q", "a", 5), ("p", "b", 80), ("p", "a", 20), ("r", "a", 1)])
    found = compared(one, other)
    assert [row.prompt for row in found.prompts] == ["p", "q"]
    assert found.prompts[0].differences["a"] == pytest.approx(0.6) and found.prompts[0].differs
    assert not found.prompts[1].differs and found.prompts[1].p == 1
    assert found.only_in_one == ("r",)


def test_the_section_of_the_trust_table_holds_what_it_promises() -> None:
    found = section(Options(quick=True))
    assert found.held, [row for row in found.rows if "NOT HELD" in row[2]]
    assert all(len(row) == len(found.columns) for row in found.rows)
