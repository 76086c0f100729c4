"""The paired ratios of the benchmarks and their goals."""

from __future__ import annotations

import pytest

from benchmarks._pairs import Ratio, compare


def test_a_comparison_is_the_median_of_paired_ratios() -> None:
    calls: list[str] = []
    ratio = compare(lambda: calls.append("ours"), lambda: calls.append("theirs"), rounds=3)
    assert calls == ["ours", "theirs"] * 4, "one warm-up and three rounds, taking turns"
    assert 0 < ratio.least <= ratio.ratio <= ratio.most
    assert ratio.goal is None and not ratio.missed


@pytest.mark.parametrize(("ratio", "missed"), [(1.04, False), (1.05, False), (1.06, True)])
def test_a_ratio_above_its_goal_is_a_miss_and_says_so(ratio: float, missed: bool) -> None:
    measured = Ratio(1.0, 1.0, ratio, 1.0, 2.0, goal=1.05)
    assert measured.missed is missed
    assert ("MISSED" in measured.line("steps")) is missed
    assert "goal <= 1.05" in measured.line("steps")
