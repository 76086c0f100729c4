from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from backend.errors import SignetError
from backend.images import decode
from backend.types import CheckedImage, CredentialReport, Passport, Pixels, RawImage
from safety.errors import Unsealable
from safety.inspect import inspect
from safety.passport import psnr_db
from safety.provenance import Credentials
from safety.seal import Encoders, seal
from safety.watermark import mark_id_of, open_watermark
from tests.unit.safety.samples import CornerMark, Fixed, LostMark, picture

Make = Callable[..., RawImage]


def checked(raw: RawImage, score: float = 0.0) -> CheckedImage:
    return inspect(raw, [Fixed(score)])


def test_a_sealed_picture_is_marked_signed_and_described(
    raw: Make, mark: CornerMark, credentials: Credentials, encoders: Encoders
) -> None:
    sealed = seal(checked(raw(index=2)), watermark=mark, credentials=credentials, encoders=encoders)
    passport, opened = sealed.passport, decode(sealed.data, max_pixels=10**6)
    assert passport.record_id == "job-2"
    assert passport.sha256 == hashlib.sha256(sealed.data).hexdigest()
    assert (passport.width, passport.height, passport.media_type) == (64, 64, "image/png")
    assert (passport.seed, passport.policy, passport.admission) == (13, "personal-1", "allow")
    assert passport.watermark.mark_id == f"{mark_id_of('job-2'):012x}"
    assert mark.detect(opened.pixels, [("job-2", mark_id_of("job-2"))]).found
    assert opened.text == sealed.infotext == raw().infotext
    assert (passport.credential.state, passport.credential.trusted) == ("valid", False)
    assert credentials.read(sealed.data, sealed.media_type).ours
    assert sealed.thumbnail is None
    assert Passport.model_validate_json(passport.model_dump_json()) == passport


def test_parameters_can_stay_out_of_the_file(
    raw: Make, mark: CornerMark, credentials: Credentials, encoders: Encoders
) -> None:
    sealed = seal(checked(raw()), watermark=mark, credentials=credentials, encoders=encoders, infotext=False)
    assert decode(sealed.data, max_pixels=10**6).text is None
    assert b"lighthouse" not in sealed.data
    assert sealed.infotext == raw().infotext


def test_thumbnails_show_the_marked_pixels_of_large_pictures(
    raw: Make, mark: CornerMark, credentials: Credentials, encoders: Encoders
) -> None:
    shown: list[Pixels] = []

    def thumbnail(pixels: Pixels) -> bytes:
        shown.append(pixels)
        return b"webp"

    spying = replace(encoders, thumbnail=thumbnail)
    sealed = seal(checked(raw(picture(320))), watermark=mark, credentials=credentials, encoders=spying)
    assert sealed.thumbnail == b"webp"
    assert np.array_equal(shown[0], decode(sealed.data, max_pixels=10**6).pixels)
    assert b"c2pa.thumbnail.claim" in sealed.data


def test_a_flagged_picture_is_sealed_with_its_flag_and_without_a_thumbnail_in_its_credentials(
    raw: Make, mark: CornerMark, credentials: Credentials, encoders: Encoders
) -> None:
    sealed = seal(checked(raw(picture(320)), 0.9), watermark=mark, credentials=credentials, encoders=encoders)
    assert sealed.passport.inspection.state == "flagged"
    assert b"c2pa.thumbnail" not in sealed.data


@pytest.mark.parametrize("state", ["not-scanned", "scanner-failed"])
def test_what_was_not_inspected_is_not_sealed(
    raw: Make, mark: CornerMark, credentials: Credentials, encoders: Encoders, state: str
) -> None:
    good = checked(raw())
    forged = replace(good, inspection=good.inspection.model_copy(update={"state": state}))
    with pytest.raises(Unsealable, match="not inspected"):
        seal(forged, watermark=mark, credentials=credentials, encoders=encoders)


def test_a_mark_that_cannot_be_read_back_closes_the_road(
    raw: Make, lost_mark: LostMark, credentials: Credentials, encoders: Encoders
) -> None:
    with pytest.raises(Unsealable, match="does not hold the invisible mark") as caught:
        seal(checked(raw()), watermark=lost_mark, credentials=credentials, encoders=encoders)
    assert caught.value.problem.status == 422


def test_a_signature_that_does_not_hold_closes_the_road(
    raw: Make, mark: CornerMark, credentials: Credentials, encoders: Encoders, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = CredentialReport(state="invalid", failures=("assertion.dataHash.mismatch",))
    monkeypatch.setattr(Credentials, "read", lambda self, data, media_type: broken)
    with pytest.raises(Unsealable, match=r"assertion\.dataHash\.mismatch"):
        seal(checked(raw()), watermark=mark, credentials=credentials, encoders=encoders)


def test_the_shipped_mark_survives_the_whole_road(
    raw: Make, credentials: Credentials, encoders: Encoders, keys: object
) -> None:
    watermark = open_watermark("signet-dct", b"0123456789abcdef0123456789abcdef")
    sealed = seal(checked(raw(picture(128))), watermark=watermark, credentials=credentials, encoders=encoders)
    assert sealed.passport.watermark.p_value <= 1e-6
    assert sealed.passport.watermark.psnr_db > 38
    with pytest.raises(SignetError, match="too small"):
        seal(checked(raw(picture(32))), watermark=watermark, credentials=credentials, encoders=encoders)


def test_psnr_is_finite_for_equal_pictures_and_right_for_others() -> None:
    flat = np.full((8, 8, 3), 100, np.uint8)
    assert psnr_db(flat, flat) == 99.0
    assert psnr_db(flat, flat + 1) == pytest.approx(48.13, abs=0.01)


@pytest.mark.parametrize(("kind", "suffix"), [("jpeg", "image/jpeg"), ("webp", "image/webp")])
def test_other_formats_are_marked_and_signed_alike(
    raw: Make, credentials: Credentials, encoders: Encoders, kind: str, suffix: str
) -> None:
    watermark = open_watermark("signet-dct", b"k" * 32)
    full = raw(picture(256))
    asked = replace(full, request=full.request.model_copy(update={"format": kind, "quality": 95}))
    sealed = seal(checked(asked), watermark=watermark, credentials=credentials, encoders=encoders)
    opened = decode(sealed.data, max_pixels=10**6)
    assert (sealed.media_type, sealed.passport.media_type, opened.media_type) == (suffix,) * 3
    assert opened.text == sealed.infotext
    assert credentials.read(sealed.data, suffix).ours
    record_id = sealed.passport.record_id
    assert watermark.detect(opened.pixels, [(record_id, mark_id_of(record_id))]).found
    assert sealed.passport.watermark.psnr_db == psnr_db(asked.pixels, opened.pixels)


def test_a_file_in_which_the_mark_would_be_lost_is_not_made(
    raw: Make, mark: CornerMark, credentials: Credentials, encoders: Encoders
) -> None:
    full = raw()
    asked = replace(full, request=full.request.model_copy(update={"format": "jpeg", "quality": 50}))
    with pytest.raises(Unsealable, match="Choose PNG"):
        seal(checked(asked), watermark=mark, credentials=credentials, encoders=encoders)
