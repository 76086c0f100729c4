from __future__ import annotations

import pytest

from benchmarks.trust import Options, inspection, inspection_faults, inspection_pictures
from safety.inspect import harmless, inspect
from tests.unit.safety.samples import Fixed, picture


def test_every_fault_closes_the_road_in_words() -> None:
    closed = inspection_faults.closed()
    assert len(closed) >= 35
    assert [name for name, shut in closed.items() if not shut] == []


def test_the_count_of_faults_would_notice_a_road_that_is_open() -> None:
    raw = inspection_faults._raw(picture())
    assert not inspection_faults._is_closed(lambda: inspect(raw, [Fixed(0.0)]))
    assert not inspection_faults._is_closed(lambda: harmless(picture(), [Fixed(0.0)]) or inspection_faults._shut())


def test_the_table_is_made_of_what_was_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    few = [("drawn here", (picture(64, number) for number in range(3)))]
    monkeypatch.setattr(inspection_pictures, "groups", lambda options, drawings: iter(few))
    section = inspection.section(Options(quick=True))
    assert section.held
    assert section.data["flagged"]["personal"] == {"drawn here": [0, 3]}
    assert all(tries == 6 for _, tries, _ in section.data["changes"].values())
    assert "Recall is not measured" in section.markdown()
    assert "the sample is small" in section.markdown()


def test_drawings_are_pictures_of_many_kinds_and_the_same_for_a_seed() -> None:
    import numpy as np

    one, again = (
        [inspection_pictures.draw(rng) for _ in range(3)]
        for rng in (np.random.default_rng(4), np.random.default_rng(4))
    )
    assert all(np.array_equal(a, b) for a, b in zip(one, again, strict=True))
    assert not np.array_equal(one[0], one[1])
    assert one[0].dtype == np.uint8
