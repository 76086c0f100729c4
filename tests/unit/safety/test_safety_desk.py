from __future__ import annotations

import pickle
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import fields, replace
from functools import partial
from pathlib import Path

import pytest

from backend.errors import Unavailable
from backend.images import decode, encode_jpeg, encode_png, encode_thumbnail
from backend.ports import SafetyDesk, Verifier
from backend.settings import Settings
from backend.types import RawImage, Verdict
from safety.desk import Desk, DeskConfig, open_desk, open_verifier
from safety.drawn import Drawn
from safety.inspect import Finding, NotInspected
from safety.nsfw import OpenNsfw
from tests.support import scanners
from tests.unit.safety.samples import History, picture
from webui.compose import desk_config

Make = Callable[..., RawImage]


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> DeskConfig:
    return DeskConfig(tmp_path_factory.mktemp("desk") / "keys")


@pytest.fixture(scope="module")
def desk(config: DeskConfig) -> Desk:
    opened = pickle.loads(pickle.dumps(partial(open_desk, config, encode_png, encode_thumbnail, encode_jpeg)))()
    assert isinstance(opened, Desk)
    return opened


def test_what_the_desk_seals_the_verifier_of_the_same_installation_knows(
    desk: SafetyDesk, config: DeskConfig, raw: Make
) -> None:
    sealed = desk.seal(desk.inspect(raw(picture(128))))
    history = History()
    history.add(sealed)
    verifier: Verifier = open_verifier(config, history)
    opened = decode(sealed.data, max_pixels=10**6)
    report = verifier.verify(sealed.data, sealed.media_type, opened.pixels, opened.text)
    assert (report.c2pa.ours, report.watermark.found, report.history.match) == (True, True, "exact")


def test_another_watermark_setting_does_not_make_verify_deny_the_earlier_pictures(
    desk: SafetyDesk, config: DeskConfig, raw: Make
) -> None:
    sealed = desk.seal(desk.inspect(raw(picture(256))))
    history = History()
    history.add(sealed)
    pixels = decode(sealed.data, max_pixels=10**6).pixels
    copy = encode_png(pixels)
    report = open_verifier(replace(config, watermark="dwtDct"), history).verify(copy, "image/png", pixels, None)
    assert (report.watermark.method, report.history.match) == ("signet-tile", "watermark")


def test_every_setting_that_the_desk_knows_reaches_it(tmp_path: Path) -> None:
    chosen = {
        "watermark": "dwtDct",
        "nsfw_threshold": 0.5,
        "drawn_threshold": 0.6,
        "nudenet": True,
        "training_use": "allowed",
        "prompt_in_credentials": True,
        "prompt_in_infotext": False,
        "label_metadata": False,
        "timestamp_url": "https://stamps.example",
        "timestamp_optional": True,
        "offline": True,
    }
    shared = {field.name for field in fields(DeskConfig)} & set(Settings.model_fields) - {"threads"}  # the engine's
    config = desk_config(Settings(data=tmp_path, **chosen))
    assert {name: getattr(config, name) for name in shared} == chosen


def test_nudenet_without_its_package_is_said_at_the_start(config: DeskConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "nudenet", None)
    with pytest.raises(Unavailable, match="NudeNet is switched on but not installed"):
        open_desk(replace(config, nudenet=True), encode_png, encode_thumbnail, encode_jpeg)


def test_two_threads_share_a_desk(desk: Desk, raw: Make) -> None:
    with ThreadPoolExecutor(2) as pool:
        sealed = list(pool.map(lambda i: desk.seal(desk.inspect(raw(picture(64, i), index=i))), range(6)))
    assert [each.passport.record_id for each in sealed] == [f"job-{i}" for i in range(6)]


def test_a_scanner_that_crashes_lets_nothing_out(desk: Desk, raw: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    def crash(self: OpenNsfw, pixels: object) -> Finding:
        raise MemoryError

    monkeypatch.setattr(OpenNsfw, "look", crash)
    with pytest.raises(NotInspected, match="open-nsfw"):
        desk.seal(desk.inspect(raw()))


def test_without_a_scanner_there_is_no_desk(config: DeskConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> Path:
        from importlib.metadata import PackageNotFoundError

        raise PackageNotFoundError(name)

    monkeypatch.setattr("safety.nsfw.distribution", missing)
    with pytest.raises(Unavailable, match="not installed"):
        open_desk(config, encode_png, encode_thumbnail, encode_jpeg)


def test_two_independent_scanners_look_at_every_picture_by_default(desk: Desk, raw: Make) -> None:
    inspection = desk.inspect(raw()).inspection
    assert [(each.name, each.state, each.threshold) for each in inspection.detectors] == [
        ("open-nsfw", "clean", 0.8),
        ("nsfwjs", "clean", 0.8),
    ]
    assert len({each.model_sha256 for each in inspection.detectors}) == 2


def test_the_second_scanner_crashing_lets_nothing_out_either(
    desk: Desk, raw: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Drawn, "look", lambda self, pixels: 1 / 0)
    with pytest.raises(NotInspected, match="nsfwjs: ZeroDivisionError"):
        desk.seal(desk.inspect(raw()))


def test_without_the_second_scanner_there_is_no_desk(
    config: DeskConfig, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def gone(threshold: float, *, threads: int) -> Drawn:
        return Drawn(threshold, threads=threads, weights=tmp_path / "gone")

    monkeypatch.setattr("safety.desk.Drawn", gone)
    with pytest.raises(Unavailable, match="nsfwjs are missing"):
        open_desk(config, encode_png, encode_thumbnail, encode_jpeg)


# ---- with the scanners of the tests


def _desk(config: DeskConfig, opened: Callable[[DeskConfig], object]) -> Desk:
    made = partial(open_desk, config, encode_png, encode_thumbnail, encode_jpeg, scanners=opened)
    desk = pickle.loads(pickle.dumps(made))()
    assert isinstance(desk, Desk)
    return desk


def test_a_flagged_picture_is_sealed_but_says_that_it_has_to_be_covered(config: DeskConfig, raw: Make) -> None:
    desk = _desk(config, scanners.everything)
    for flagged in ("blur", "withhold"):
        one = replace(raw(picture(128)), verdict=Verdict("allow", "test-1", flagged=flagged))
        checked = desk.inspect(one)
        assert (checked.inspection.state, checked.handling) == ("flagged", flagged)
        assert desk.seal(checked).passport.inspection.state == "flagged"


def test_a_failing_scanner_beside_a_working_one_closes_the_road(config: DeskConfig, raw: Make) -> None:
    desk = _desk(config, scanners.failing)
    with pytest.raises(NotInspected, match="failing: RuntimeError"):
        desk.inspect(raw())
    assert not desk.harmless(picture(), Verdict("allow", "test-1"))


def test_a_desk_without_any_scanner_does_not_open(config: DeskConfig) -> None:
    with pytest.raises(Unavailable, match="No picture scanner"):
        _desk(config, scanners.none)


def test_previews_are_looked_at_by_the_fastest_scanner_alone(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    verdict = Verdict("allow", "test-1")
    monkeypatch.setattr(OpenNsfw, "look", lambda self, pixels: 1 / 0)
    assert desk.harmless(picture(), verdict)
    assert not desk.harmless(picture(), replace(verdict, flag_from=0.0))
    monkeypatch.setattr(Drawn, "look", lambda self, pixels: 1 / 0)
    assert not desk.harmless(picture(), verdict)
