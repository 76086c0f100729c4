"""Durable credentials: what is known of a copy that has lost everything but its mark."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from backend import images
from backend.errors import Unavailable
from backend.images import decode, encode_jpeg, encode_png
from backend.types import Pixels, RawImage, SealedImage, VerifyReport, WatermarkReport
from safety import labels
from safety.inspect import inspect
from safety.keys import Keys
from safety.likeness import compare
from safety.provenance import Credentials
from safety.seal import Encoders, seal
from safety.verify import FileVerifier
from safety.watermark import mark_id_of, open_watermark
from tests.unit.safety.samples import Fixed, History, picture, tampered

PNG = "image/png"


@pytest.fixture
def history() -> History:
    return History()


@pytest.fixture
def sealed(
    raw: Callable[..., RawImage], keys: Keys, credentials: Credentials, encoders: Encoders, history: History
) -> SealedImage:
    mark = open_watermark("signet-dct", keys.watermark_key)
    made = seal(inspect(raw(picture(256)), [Fixed(0.0)]), watermark=mark, credentials=credentials, encoders=encoders)
    history.add(made)
    return made


@pytest.fixture
def verify(keys: Keys, credentials: Credentials, history: History) -> Callable[..., VerifyReport]:
    verifier = FileVerifier(credentials, [open_watermark("signet-dct", keys.watermark_key)], history)

    def run(data: bytes) -> VerifyReport:
        opened = decode(data, max_pixels=10**7)
        return verifier.verify(data, opened.media_type, opened.pixels, opened.text)

    return run


def pixels_of(sealed: SealedImage) -> Pixels:
    return decode(sealed.data, max_pixels=10**6).pixels


COPIES: dict[str, Callable[[Pixels], bytes]] = {
    "saved anew": encode_png,
    "jpeg 60": lambda pixels: images.encode_jpeg_file(pixels, None, 60),
    "webp 70": lambda pixels: images.encode_webp_file(pixels, None, 70),
    "larger": lambda pixels: encode_png(images.resize(pixels, 384, 384, "stretch")),
    "brighter": lambda pixels: encode_png(np.clip(pixels * 1.1, 0, 255).astype(np.uint8)),
}


@pytest.mark.parametrize("copy", COPIES)
def test_a_stripped_copy_is_given_its_credentials_back(
    verify: Callable[..., VerifyReport], sealed: SealedImage, copy: str
) -> None:
    report = verify(COPIES[copy](pixels_of(sealed)))
    assert report.c2pa.state == "absent"
    found = report.recovered
    assert found is not None
    assert (found.record_id, found.likeness) == ("job-0", "same")
    assert (found.credentials.state, found.credentials.ours) == ("valid", True)
    assert (found.psnr_db or 0) > 25
    assert "The stored picture job-0 has intact credentials of this installation." in report.summary
    assert "shows the same picture" in report.summary
    assert "made by AI" in report.summary


def test_a_changed_file_is_given_the_credentials_of_the_stored_one_too(
    verify: Callable[..., VerifyReport], sealed: SealedImage
) -> None:
    donor = encode_png(pixels_of(sealed), "other text")
    start = sealed.data.index(b"caBX") - 4
    chunk = sealed.data[start : start + 12 + int.from_bytes(sealed.data[start : start + 4], "big")]
    report = verify(donor[:33] + chunk + donor[33:])
    assert report.c2pa.state == "invalid"
    assert report.recovered is not None
    assert report.recovered.credentials.state == "valid"


def test_an_intact_file_needs_no_recovery(verify: Callable[..., VerifyReport], sealed: SealedImage) -> None:
    report = verify(sealed.data)
    assert (report.history.match, report.recovered) == ("exact", None)


def test_a_mark_laid_over_another_picture_is_noticed(
    verify: Callable[..., VerifyReport], keys: Keys, sealed: SealedImage
) -> None:
    """The same mark in something else: what somebody gets who carries it over from one of our pictures."""
    spots = np.random.default_rng(3).integers(0, 255, (14, 14, 3), dtype=np.uint8)
    other = images.resize(spots, 256, 256, "stretch")
    other = open_watermark("signet-dct", keys.watermark_key).embed(other, mark_id_of("job-0"))
    report = verify(encode_png(other))
    assert report.watermark.record_id == "job-0"
    assert report.recovered is not None
    assert report.recovered.likeness == "different"
    assert "The picture differs: this file does not show what the stored one shows." in report.summary
    assert "made by AI" not in report.summary, "nothing of those credentials is said of this picture"


def test_a_copy_that_was_painted_over_is_told_with_its_share(
    verify: Callable[..., VerifyReport], sealed: SealedImage
) -> None:
    pixels = pixels_of(sealed).copy()
    pixels[96:160, 64:144] = 255 - pixels[96:160, 64:144]
    report = verify(encode_png(pixels))
    assert report.recovered is not None
    assert report.recovered.likeness == "changed"
    assert 0.03 < (report.recovered.changed or 0) < 0.2
    assert "The picture differs: about" in report.summary


def test_a_stored_file_that_was_damaged_vouches_for_nothing(
    verify: Callable[..., VerifyReport], sealed: SealedImage, history: History
) -> None:
    copy = encode_png(pixels_of(sealed))
    history.files["job-0"] = tampered(sealed.data)
    assert verify(copy).recovered is None
    history.files["job-0"] = b"gone bad"
    assert verify(copy).recovered is None
    del history.files["job-0"]
    report = verify(copy)
    assert (report.recovered, report.history.match) == (None, "watermark")


def test_the_stored_file_of_somebody_else_is_not_believed(
    verify: Callable[..., VerifyReport],
    sealed: SealedImage,
    history: History,
    other_credentials: Credentials,
) -> None:
    from tests.unit.safety.test_safety_provenance import statement

    history.files["job-0"] = other_credentials.sign(encode_png(pixels_of(sealed)), PNG, statement())[0]
    assert verify(encode_png(pixels_of(sealed))).recovered is None


# ---- comparing


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_everyday_copies_are_the_same_picture_and_cut_outs_a_part_of_it(seed: int) -> None:
    stored = picture(256, seed)
    noise = np.random.default_rng(seed).normal(0, 12, stored.shape)
    for copy in (
        stored,
        decode(encode_jpeg(stored, 256), max_pixels=10**6).pixels,
        images.resize(stored, 100, 100, "stretch"),
        np.ascontiguousarray(stored[:, ::-1]),
        np.clip(stored + noise, 0, 255).astype(np.uint8),
        (stored * 0.6).astype(np.uint8),
    ):
        assert compare(copy, stored).likeness == "same"
    for cut in (stored[20:236, 20:236], stored[:180, 40:], stored[100:, :200]):
        assert compare(np.ascontiguousarray(cut), stored).likeness == "part"
    rolled = np.random.default_rng(9).integers(0, 255, stored.shape, dtype=np.uint8)
    assert compare(rolled, stored).likeness == "different"


def test_pictures_of_any_shape_are_answered() -> None:
    stored = picture(64)
    for shape in ((1, 1), (1, 500), (500, 3), (9, 9), (640, 8)):
        assert compare(np.zeros((*shape, 3), np.uint8), stored).likeness == "unknown"
        compare(np.full((*shape, 3), 7, np.uint8) + np.arange(shape[1], dtype=np.uint8)[None, :, None], stored)
        assert compare(stored, np.zeros((*shape, 3), np.uint8)).likeness == "unknown"


# ---- further readers, and labels, in the report


class Reader:
    def __init__(self, answer: WatermarkReport | Exception) -> None:
        self.answer = answer

    def read(self, pixels: Pixels) -> WatermarkReport:
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


def reading(credentials: Credentials, history: History, *answers: Any) -> VerifyReport:
    verifier = FileVerifier(credentials, [], history, [Reader(answer) for answer in answers])
    return verifier.verify(encode_png(picture()), PNG, picture(), None)


def test_further_readers_are_asked_and_pay_for_being_several(credentials: Credentials, history: History) -> None:
    sure = WatermarkReport(found=True, record_id="job-4", p_value=1e-9, method="noise")
    report = reading(credentials, history, sure, WatermarkReport(found=True, p_value=0.9e-6, method="rings"))
    assert [(each.found, each.record_id) for each in report.more_marks] == [(True, "job-4"), (False, None)]
    assert report.more_marks[0].p_value == pytest.approx(2e-9)
    assert (report.history.match, report.history.record_id) == ("watermark", "job-4")
    assert "The mark of noise was found too" in report.summary


def test_a_reader_that_cannot_tell_is_not_taken_for_a_no(credentials: Credentials, history: History) -> None:
    report = reading(credentials, history, Unavailable("the model is not loaded"))
    assert not report.more_marks[0].tested
    assert "could not be tested for the mark of another method" in report.summary


def test_labels_of_strangers_are_told_for_what_they_are(verify: Callable[..., VerifyReport]) -> None:
    packet = labels.packet("http://x/trainedAlgorithmicMedia", "r", "Example", "1")
    report = verify(images.encode_jpeg_file(picture(256, seed=3), None, 90, packet))
    assert report.labels[0].aigc["ContentProducer"] == "Example"
    assert "declares it made by AI; anybody can write or remove such a label" in report.summary
    assert "China's AIGC label states that it is made by AI" in report.summary
    camera = labels.packet("http://x/digitalCapture", "r", "Example", "1")
    said = verify(images.encode_jpeg_file(picture(256, seed=3), None, 90, camera)).summary
    assert 'declares its kind as "digitalCapture", which anybody can write' in said


def test_labels_of_our_own_signed_files_are_not_told_twice(
    verify: Callable[..., VerifyReport], sealed: SealedImage
) -> None:
    report = verify(sealed.data)
    assert report.labels
    assert "A label" not in report.summary
