"""The rows of the trust table about marks: smallest samples, real figures."""

from __future__ import annotations

import numpy as np

from benchmarks.trust import Options
from benchmarks.trust.marks import LEVELS, Null, null, robustness
from benchmarks.watermark import DRAWN, drawn, ssim, starter


def test_the_quick_table_holds_and_shows_every_method_of_ours() -> None:
    ours, others = robustness(Options(quick=True))
    assert ours.held is True and others.held is None
    assert ours.columns == ("", "starter, 128 px", "icons, 128 px")
    assert [name.partition(":")[0] for name in others.columns[1:]] == ["signet-dct"] * 2
    for section in (ours, others):
        assert [row[0] for row in section.rows][-3:] == ["none", "JPEG 50", "crop to 75 %"]
        assert all(len(row) == len(section.columns) for row in section.rows)


def test_the_quick_null_is_calibrated_and_an_eager_one_would_not_be(monkeypatch) -> None:
    monkeypatch.setattr("benchmarks.trust.marks.QUICK_KEYED", 40)
    monkeypatch.setattr("benchmarks.trust.marks.QUICK_SEARCHED", 2)
    section = null(Options(quick=True))
    assert section.held is True and len(section.rows) == 3
    assert not Null("too many alarms", 1000, (150, 30, 12)).calibrated()
    assert Null("as claimed", 1000, tuple(round(1000 * level) for level in LEVELS)).calibrated()


def test_pictures_are_drawn_the_same_every_time_and_differ() -> None:
    for kind in DRAWN:
        first, second = drawn(kind, 64, 2)
        assert np.array_equal(first, drawn(kind, 64, 1)[0]) and not np.array_equal(first, second)
    assert len(starter(32)) == 32 and {picture.shape for picture in starter(32)} == {(128, 128, 3)}


def test_similarity_is_one_for_the_same_and_less_for_noise() -> None:
    picture = starter(1)[0]
    noisy = np.clip(picture + np.random.default_rng(0).normal(0, 10, picture.shape), 0, 255).astype(np.uint8)
    assert ssim(picture, picture) == 1.0 and ssim(picture, noisy) < 0.9
