"""The table of goals: what holds, what does not, and what has no figure."""

from __future__ import annotations

import importlib.util
import subprocess
from dataclasses import asdict

import pytest

from benchmarks import goals
from benchmarks._goals import Verdict, at_least, at_most, not_measured, stated
from benchmarks._pairs import of_pairs

TWICE_AS_FAST = of_pairs([(1.0, 2.0), (1.0, 1.6), (1.0, 2.5)])


def test_a_ratio_turned_round_keeps_its_range_in_order() -> None:
    turned = TWICE_AS_FAST.turned
    assert (turned.least, turned.ratio, turned.most) == pytest.approx((1.6, 2.0, 2.5))


@pytest.mark.parametrize(("limit", "word"), [(0.5, "holds"), (0.49, "does not hold")])
def test_time_has_a_most(limit: float, word: str) -> None:
    assert at_most("C1", "steps", TWICE_AS_FAST, limit).word == word


@pytest.mark.parametrize(("limit", "word"), [(2.0, "holds"), (2.1, "does not hold")])
def test_throughput_has_a_least(limit: float, word: str) -> None:
    verdict = at_least("C4", "users", TWICE_AS_FAST, limit)
    assert verdict.word == word
    assert "2.000 x [1.600 .. 2.500]" in verdict.line()


def test_what_has_no_goal_is_stated_and_what_has_no_figure_is_not_measured() -> None:
    assert stated("-", "more", TWICE_AS_FAST).word == "stated"
    nothing = not_measured("C4", "users", "12 GB of memory are missing")
    assert nothing.word == "not measured" and not nothing.missed
    assert "12 GB" in nothing.line()


@pytest.mark.parametrize(
    ("said", "error", "word"),
    [
        ("", "gate: a picture is wrong", "does not hold"),
        ("", "MemoryError", "not measured"),
        (
            'gate: fine\nverdicts: [{"goal": "C1", "what": "x", "wanted": "1", "figure": "1", "holds": true}]',
            "",
            "holds",
        ),
    ],
)
def test_a_section_that_fails_says_why(monkeypatch: pytest.MonkeyPatch, said: str, error: str, word: str) -> None:
    done = subprocess.CompletedProcess([], 1, said, f"a warning\n{error}")
    monkeypatch.setattr(goals.subprocess, "run", lambda *args, **options: done)
    (verdict,) = goals._measured("C1", full=False)
    assert verdict.word == word
    assert error in verdict.line()
    assert Verdict(**asdict(verdict)) == verdict


@pytest.mark.parametrize("name", [name for name, _ in goals.SECTIONS.values()])
def test_every_section_is_a_benchmark(name: str) -> None:
    assert importlib.util.find_spec(f"benchmarks.{name}") is not None
