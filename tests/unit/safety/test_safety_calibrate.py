from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from backend.errors import InvalidParameter, UnreadableImage
from backend.images import encode_png
from backend.settings import Settings
from backend.types import Pixels
from safety.calibrate import Calibration, Seen, calibrate, pictures, report
from safety.inspect import Finding, examine, scores
from tests.unit.safety.samples import Fixed, picture


class Brightness:
    """The brighter, the worse."""

    threshold, model_sha256 = 0.5, "00"

    def __init__(self, name: str = "brightness", threshold: float = 0.5) -> None:
        self.name, self.threshold = name, threshold

    def look(self, pixels: Pixels) -> Finding:
        return Finding(float(pixels.mean()) / 255)


def read(path: Path) -> Pixels:
    """A file of the tests holds one number, the brightness."""
    text = path.read_text()
    if not text.isdigit():
        raise UnreadableImage("This is not a picture of a known kind.")
    return np.full((4, 4, 3), int(text), np.uint8)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name, brightness in {
        "safe/a.png": 10,
        "safe/b.jpg": 60,
        "safe/deep/c.WEBP": 200,
        "Unsafe/d.png": 250,
        "Unsafe/e.png": 40,
        "other/f.png": 90,
    }.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(str(brightness))
    (tmp_path / "safe/broken.png").write_text("x")
    (tmp_path / "safe/notes.txt").write_text("7")
    (tmp_path / "safe/.hidden.png").write_text("7")
    (tmp_path / "link.png").symlink_to(tmp_path / "safe/a.png")
    return tmp_path


def test_labels_come_from_the_outermost_folder_that_has_one(folder: Path) -> None:
    found = {path.relative_to(folder).as_posix(): label for path, label in pictures(folder)}
    assert found == {
        "Unsafe/d.png": "unsafe",
        "Unsafe/e.png": "unsafe",
        "other/f.png": "",
        "safe/a.png": "safe",
        "safe/b.jpg": "safe",
        "safe/broken.png": "safe",
        "safe/deep/c.WEBP": "safe",
    }


def test_counts_and_intervals_are_those_of_the_files(folder: Path) -> None:
    told = report(calibrate(folder, [Brightness()], read))
    assert told["pictures"] == {"safe": 3, "unsafe": 2, "unlabelled": 1}
    assert told["unread"] == [{"file": "safe/broken.png", "why": "This is not a picture of a known kind."}]
    groups = told["detectors"]["brightness"]["groups"]
    assert (groups["safe"]["now"]["flagged"], groups["safe"]["now"]["of"]) == (1, 3)
    assert (groups["unsafe"]["now"]["flagged"], groups["unsafe"]["now"]["of"]) == (1, 2)
    low, high = groups["safe"]["now"]["interval"]
    assert (round(low, 4), round(high, 4)) == (0.0615, 0.7923)  # Wilson, 1 of 3
    assert [each["flagged"] for each in groups["safe"]["at"]][:3] == [2, 2, 1]
    assert groups["unlabelled"]["quantiles"]["0.5"] == pytest.approx(90 / 255)


def test_the_suggested_threshold_is_the_lowest_that_keeps_to_the_wanted_share(folder: Path) -> None:
    calibration = calibrate(folder, [Brightness()], read)
    strict = report(calibration, 0.0)["detectors"]["brightness"]["suggestion"]
    assert strict["threshold"] == 0.79  # the brightest safe picture has 0.784
    assert (strict["safe"]["flagged"], strict["unsafe"]["flagged"], strict["shown"]) == (0, 1, False)
    loose = report(calibration, 0.4)["detectors"]["brightness"]["suggestion"]
    assert loose["threshold"] == 0.24  # 60 / 255 = 0.235
    (folder / "safe/white.png").write_text("255")
    none = report(calibrate(folder, [Brightness()], read), 0.0)["detectors"]["brightness"]["suggestion"]
    assert (none["threshold"], none["safe"]["flagged"]) == (None, 1)


def test_enough_harmless_pictures_show_a_wanted_share() -> None:
    seen = tuple(Seen(f"{number}.png", "safe", {"one": number / 10_000}) for number in range(2000))
    suggestion = report(Calibration(seen, (), {"one": 0.8}))["detectors"]["one"]["suggestion"]
    assert suggestion["shown"]
    assert suggestion["safe"]["interval"][1] <= 0.005


def test_without_safe_pictures_nothing_is_suggested(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_text("100")
    told = report(calibrate(tmp_path, [Brightness()], read))
    assert told["detectors"]["brightness"]["suggestion"] is None
    assert told["together"] == {"unlabelled": told["together"]["unlabelled"]}


def test_detectors_are_compared_picture_by_picture(folder: Path) -> None:
    told = report(calibrate(folder, [Brightness("low", 0.2), Brightness("high", 0.7)], read))
    (pair,) = told["agreement"]
    assert (pair["both"], pair["first only"], pair["second only"], pair["neither"]) == (2, 2, 0, 2)
    assert pair["kappa"] == pytest.approx((4 / 6 - 0.4444444) / (1 - 0.4444444))
    assert told["together"]["safe"]["flagged"] == 2


def test_a_scanner_that_fails_on_a_picture_is_named_and_the_picture_not_counted(folder: Path) -> None:
    made = calibrate(folder, [Brightness(), Fixed(RuntimeError("boom"), "broken")], read)
    assert not made.seen
    assert ("safe/a.png", "a scanner failed (broken: RuntimeError: boom)") in made.unread
    assert report(made)["detectors"]["broken"]["groups"] == {}


def test_a_sample_is_taken_evenly_and_progress_is_told(folder: Path) -> None:
    told: list[int] = []
    made = calibrate(folder, [Brightness()], read, most=4, told=told.append)
    assert told == [1, 2, 3, 4]
    assert {one.path for one in made.seen} == {"Unsafe/d.png", "other/f.png", "safe/b.jpg", "safe/deep/c.WEBP"}


@given(st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1)), min_size=1, max_size=4))
def test_a_score_reaches_its_threshold_exactly_where_inspection_flags(answers: list[tuple[float, float]]) -> None:
    detectors = [Fixed(Finding(own, doubtful=doubtful), str(i)) for i, (own, doubtful) in enumerate(answers)]
    given_ = scores(picture(16), detectors)
    for result in examine(picture(16), detectors).detectors:
        assert (given_[result.name] >= 0.8) == (result.state == "flagged")


@pytest.mark.parametrize("wanted", [-0.1, 1.0, float("nan")])
def test_a_share_that_is_none_is_refused(wanted: float) -> None:
    with pytest.raises(InvalidParameter, match="no share"):
        report(Calibration((), (), {}), wanted)


# ---- the verb


Run = Callable[..., int]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Run:
    from webui.auditing import calibrate as verb

    monkeypatch.setattr(verb, "open_detectors", lambda config: (Brightness(), Brightness("strict", 0.2)))

    def verbs(*given_: str) -> int:
        parser = argparse.ArgumentParser()
        parser.add_argument("--json", action="store_true")
        verb.arguments(parser)
        return verb.run(parser.parse_args(given_), Settings(data=tmp_path / "data", upload_limit_mb=1))

    return verbs


def _png(path: Path, brightness: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(encode_png(np.full((8, 8, 3), brightness, np.uint8)))


def test_the_verb_reads_real_files_and_leaves_nothing_behind(
    run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    mine = tmp_path / "mine"
    _png(mine / "safe" / "dark.png", 20)
    _png(mine / "safe" / "grey\x1b[31m.png", 100)
    _png(mine / "unsafe" / "bright.png", 250)
    (mine / "huge.png").write_bytes(b"\0" * (1 << 21))
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    assert run(str(mine)) == 0
    said = capsys.readouterr()
    assert "Pictures: 2 safe, 1 unsafe." in said.out
    assert "flagged now: 1 of 1 = 100.0 % [20.7-100.0]" in said.out
    assert "huge.png: The file is larger than 1 MiB." in said.out
    assert "Nothing was stored and nothing was sent." in said.out
    assert "\x1b" not in said.out
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")} == before
    assert run(str(mine), "--json", "--wanted", "10") == 0
    told: dict[str, Any] = json.loads(capsys.readouterr().out)
    assert (told["wanted"], told["pictures"]["safe"]) == (0.1, 2)


@pytest.mark.parametrize(
    ("given_", "message"),
    [
        (["nowhere"], "no folder"),
        (["."], "could be looked at"),
        ([".", "--most", "0"], "1 or more"),
        ([".", "--wanted", "100"], "no share"),
    ],
)
def test_what_cannot_be_used_is_said(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, given_: list[str], message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InvalidParameter, match=message):
        run(*given_)
