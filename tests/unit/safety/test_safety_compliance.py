"""The checklist of duties and the rows of the Passport page, on our own pictures and on strangers'."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from backend import images
from backend.images import decode, encode_png
from backend.types import Passport, RawImage, SealedImage, SourceImage, Upscale, VerifyReport
from safety import compliance, labels
from safety.actions import FULLY_GENERATED
from safety.compliance import Duty, duties
from safety.inspect import inspect
from safety.passport_page import UNKNOWN, Row, rows
from safety.provenance import Credentials
from safety.seal import MEDIA_TYPES, Encoders, seal
from safety.verify import FileVerifier
from safety.watermark import Watermark
from tests.unit.safety.samples import Fixed, History, MemoryMark, picture, source

Seal = Callable[..., SealedImage]
Verify = Callable[[bytes], VerifyReport]
FORMATS = [kind for kind in MEDIA_TYPES if kind != "avif" or images.writes_avif()]


@pytest.fixture
def watermark() -> Watermark:
    return MemoryMark()


@pytest.fixture
def history() -> History:
    return History()


@pytest.fixture
def make(
    raw: Callable[..., RawImage], watermark: Watermark, credentials: Credentials, encoders: Encoders, history: History
) -> Seal:
    def run(*sources: SourceImage, pixels: Any = None, index: int = 0, **changes: Any) -> SealedImage:
        plain = raw(picture(192) if pixels is None else pixels, index=index)
        verdict = replace(plain.verdict, audit_head="3:ab")
        full = replace(plain, request=plain.request.model_copy(update=changes), sources=sources, verdict=verdict)
        checked = inspect(full, [Fixed(0.0)])
        sealed = seal(checked, watermark=watermark, credentials=credentials, encoders=encoders)
        history.add(sealed)
        return sealed

    return run


@pytest.fixture
def verify(credentials: Credentials, watermark: Watermark, history: History) -> Verify:
    verifier = FileVerifier(credentials, [watermark], history)

    def run(data: bytes) -> VerifyReport:
        opened = decode(data, max_pixels=10**7)
        return verifier.verify(data, opened.media_type, opened.pixels, opened.text)

    return run


def told(passport: Passport | None, report: VerifyReport | None) -> dict[str, Row]:
    return {row.name: row for row in rows(passport, report)}


def judged(passport: Passport | None, report: VerifyReport | None) -> dict[str, Duty]:
    return {duty.what: duty for duty in duties(passport, report)}


@pytest.mark.parametrize("kind", FORMATS)
@pytest.mark.parametrize("mode", ["txt2img", "img2img", "upscale", "convert"])
def test_every_row_is_filled_for_every_picture_of_ours(
    make: Seal, verify: Verify, tmp_path: Path, kind: str, mode: str
) -> None:
    first = make(index=7)
    changes: dict[str, Any] = {"mode": mode, "format": kind}
    if mode == "upscale":
        changes["upscale"] = Upscale()
    sources = [] if mode == "txt2img" else [source(tmp_path, first.data)]
    sealed = make(*sources, pixels=decode(first.data, max_pixels=10**6).pixels, **changes)
    found = told(sealed.passport, verify(sealed.data))
    assert all(row.value and row.reason and row.title for row in found.values())
    assert [row.name for row in found.values() if row.value == UNKNOWN] == []
    assert {row.name for row in found.values() if row.colour == "grey"} <= {"latent_mark"}
    assert found["ai"].value == {"txt2img": "fully", "img2img": "partly"}.get(mode, "as its source")
    assert (found["california"].value, found["training"].value) == ("4 of 4", "notAllowed")
    assert found["layer_1"].colour == found["layer_2"].colour == found["aigc"].colour == "green"
    assert not [duty.what for duty in duties(sealed.passport, verify(sealed.data)) if duty.state == "unknown"]


def test_our_own_picture_meets_what_it_can_and_says_what_it_does_not(make: Seal, verify: Verify) -> None:
    sealed = make()
    found = judged(sealed.passport, verify(sealed.data))
    met = {what for what, duty in found.items() if duty.state == "met"}
    assert met == {
        "Layer 1: digitally signed metadata",
        "Layer 2: an imperceptible watermark",
        "Logging or fingerprinting (optional)",
        "A free detector for layer 1",
        "The content says which detector to use",
        "Screened for intimate imagery and child abuse",
        "A disclosure that people can see",
        "Provider, system and version, time, unique id",
        "The key AIGC in the metadata",
        "Permanent metadata with a unique id",
        "Screened for intimate images without consent",
    }
    assert found["The signature is time-stamped"].state == "not met"
    assert found["A free detector for layer 2"].state == "not met"
    assert found["A visible label"].state == found["A prominent label"].state == "not met"
    assert found["Deep fakes are labelled visibly"].state == "not applicable"
    assert found["Marks of what went in are kept"].state == "not applicable"
    assert all(duty.because and duty.clause and duty.regime for duty in found.values())


def test_the_passport_alone_is_enough_for_most_of_it(make: Seal) -> None:
    found = told(make().passport, None)
    assert found["layer_2"].colour == "green"
    assert (found["layer_1"].colour, found["generator"].colour) == ("amber", "amber"), "the file was not read"
    assert judged(make().passport, None)["Layer 1: digitally signed metadata"].state == "met"


def test_a_stranger_s_picture_has_the_same_rows_and_says_which_are_unknown(verify: Verify) -> None:
    foreign = verify(encode_png(picture(192, seed=4)))
    found = told(None, foreign)
    assert found.keys() == told(None, None).keys()
    assert {name for name, row in found.items() if row.value == UNKNOWN} == {
        "ai", "generator", "models", "created", "ident", "latent_mark", "incoming", "visible", "california", "prompt",
        "pixels", "people", "training", "log",
    }  # fmt: skip
    assert not [row.name for row in found.values() if row.colour == "green"]
    assert {duty.state for duty in duties(None, foreign)} == {"unknown", "not applicable"}


def test_what_a_stranger_signs_is_told_in_amber(
    raw: Callable[..., RawImage],
    watermark: Watermark,
    other_credentials: Credentials,
    encoders: Encoders,
    verify: Verify,
) -> None:
    checked = inspect(raw(picture(192, seed=4)), [Fixed(0.0)])
    theirs = seal(checked, watermark=watermark, credentials=other_credentials, encoders=encoders)
    found = told(None, verify(theirs.data))
    assert (found["ai"].value, found["ai"].colour, found["layer_1"].colour) == ("declared", "amber", "amber")
    assert (found["models"].value, found["generator"].colour) == ("Starter", "amber")
    assert judged(None, verify(theirs.data))["Layer 1: digitally signed metadata"].state == "met"


def test_a_stripped_copy_of_ours_shows_what_it_has_lost_and_what_came_back(make: Seal, verify: Verify) -> None:
    sealed = make()
    report = verify(encode_png(decode(sealed.data, max_pixels=10**6).pixels))
    found = told(sealed.passport, report)
    assert (found["layer_1"].value, found["layer_1"].colour) == ("absent", "amber")
    assert found["history"].value == "job-0, by its mark"
    assert (found["california"].value, found["aigc"].value) == ("4 of 4", "not written")
    duty = judged(sealed.passport, report)
    assert duty["Layer 1: digitally signed metadata"].state == "not met"
    assert duty["Layer 2: an imperceptible watermark"].state == "met"


def test_a_mark_on_another_picture_lends_it_nothing(make: Seal, verify: Verify) -> None:
    report = verify(encode_png(decode(make().data, max_pixels=10**6).pixels))
    assert report.recovered is not None
    pasted = report.model_copy(update={"recovered": report.recovered.model_copy(update={"likeness": "different"})})
    found = told(None, pasted)
    assert (found["ai"].value, found["california"].value) == (UNKNOWN, UNKNOWN)
    assert found["history"].colour == "amber"


def test_labels_alone_are_amber(verify: Verify) -> None:
    packet = labels.packet(FULLY_GENERATED, "r", "Example", "1")
    found = told(None, verify(images.encode_jpeg_file(picture(192, seed=4), None, 90, packet)))
    assert (found["ai"].value, found["aigc"].colour) == ("labelled", "amber")


def test_a_failed_time_stamp_and_lost_credentials_of_sources_are_not_hidden(make: Seal, tmp_path: Path) -> None:
    sealed = make(source(tmp_path, make(index=7).data), mode="img2img")
    facts = sealed.passport.sources[0].model_copy(update={"carried": False, "note": "too large"})
    credential = sealed.passport.credential.model_copy(update={"time_stamp": "failed"})
    passport = sealed.passport.model_copy(update={"sources": (facts,), "credential": credential})
    assert (told(passport, None)["incoming"].colour, told(passport, None)["time_stamp"].value) == ("amber", "failed")
    duty = judged(passport, None)
    assert duty["Marks of what went in are kept"].state == "not met"
    assert "did not answer" in duty["The signature is time-stamped"].because
    kept = judged(sealed.passport, None)["Marks of what went in are kept"]
    assert (kept.state, kept.because.split(";")[0]) == ("met", "1 source(s)")


def test_nothing_raises_for_nothing() -> None:
    assert {row.colour for row in rows(None, None)} <= {"grey", "amber"}
    assert {duty.state for duty in duties(None, None)} == {"unknown", "not applicable"}
    assert compliance.latent_fields(compliance.Evidence(None, None)) == {}
