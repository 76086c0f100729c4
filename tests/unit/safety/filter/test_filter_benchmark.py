"""The trust table's part about prompts, with judges that are known beforehand."""

from __future__ import annotations

import random

import pytest

from benchmarks.trust import Options
from benchmarks.trust.evasions import DISGUISES
from benchmarks.trust.prompts import Outcome, catches, evasions, kept_back, latency
from training.filter import sources

QUICK = Options(quick=True)


def never(_: str) -> Outcome:
    return Outcome(False, False)


def always(_: str) -> Outcome:
    return Outcome(True, True)


def test_only_what_was_kept_back_is_measured() -> None:
    rows = kept_back(QUICK)
    assert rows and all(sources.part(each.group) == "test" for some in rows.values() for each in some)
    assert any(row.startswith("harmful") for row in rows) and any(row.startswith("harmless") for row in rows)


def test_a_gate_that_sees_nothing_catches_nothing() -> None:
    found = catches(QUICK, never)
    assert all(" 0.0 %" in f" {row[1]}" and " 0.0 %" in f" {row[2]}" for row in found.rows)


def test_a_gate_that_stops_everything_has_every_false_positive() -> None:
    assert all(row[2].startswith("100.0 %") for row in catches(QUICK, always).rows)


def test_without_a_folder_the_table_says_what_is_missing() -> None:
    assert any("No folder" in limit for limit in catches(QUICK, never).limits)


def test_a_gate_that_reads_only_plain_words_loses_to_some_disguises() -> None:
    plain = {each.text for some in kept_back(QUICK).values() for each in some}
    found = evasions(QUICK, lambda text: Outcome(text in plain, False))
    shares = {row[0]: row[1] for row in found.rows}
    assert shares["base64"].startswith("0.0 %")
    assert set(shares) == set(DISGUISES)


@pytest.mark.parametrize("name", DISGUISES)
def test_a_disguise_changes_a_text_and_is_the_same_every_time(name: str) -> None:
    text = "A quiet village by the lake"
    once, again = (DISGUISES[name](text, random.Random(4)) for _ in range(2))
    assert once == again != text


def test_time_is_measured_for_every_length() -> None:
    assert len(latency(QUICK, never).rows) == 7
