from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np
import pytest

from backend.errors import InvalidParameter
from backend.images import decode, encode_jpeg, encode_png
from backend.types import CredentialReport, Pixels, RawImage, SealedImage, VerifyReport
from safety.inspect import inspect
from safety.provenance import Credentials
from safety.seal import Encoders, seal
from safety.verify import FileVerifier
from safety.watermark import Detection, open_watermark
from tests.unit.safety.samples import CornerMark, Fixed, History, picture

Make = Callable[..., RawImage]
PNG = "image/png"


@pytest.fixture
def history() -> History:
    return History()


@pytest.fixture
def sealed(raw: Make, mark: CornerMark, credentials: Credentials, encoders: Encoders) -> SealedImage:
    return seal(inspect(raw(), [Fixed(0.0)]), watermark=mark, credentials=credentials, encoders=encoders)


@pytest.fixture
def verifier(credentials: Credentials, mark: CornerMark, history: History) -> FileVerifier:
    return FileVerifier(credentials, [mark], history)


@pytest.fixture
def verify(verifier: FileVerifier) -> Callable[..., VerifyReport]:
    def run(data: bytes, media_type: str = PNG) -> VerifyReport:
        opened = decode(data, max_pixels=10**6)
        return verifier.verify(data, media_type, opened.pixels, opened.text)

    return run


def test_our_own_file_is_recognised_by_all_three_witnesses(
    verify: Callable[..., VerifyReport], sealed: SealedImage, history: History
) -> None:
    history.add(sealed)
    report = verify(sealed.data)
    assert report.c2pa.ours
    assert report.watermark.record_id == "job-0"
    assert (report.history.match, report.history.record_id) == ("exact", "job-0")
    assert report.infotext == sealed.infotext
    assert "signed by this installation, which is not on a trust list" in report.summary
    assert "byte for byte the picture job-0" in report.summary
    assert "plain text, which anybody can write" in report.summary


def test_a_re_saved_copy_is_found_by_its_mark_alone(
    verify: Callable[..., VerifyReport], sealed: SealedImage, history: History
) -> None:
    history.add(sealed)
    report = verify(encode_png(decode(sealed.data, max_pixels=10**6).pixels))
    assert report.c2pa.state == "absent"
    assert (report.history.match, report.history.record_id) == ("watermark", "job-0")
    assert "carries no Content Credentials" in report.summary
    assert "differs from the stored one" in report.summary
    assert "not proof that its content is unchanged" in report.summary


def test_a_foreign_picture_is_never_called_free_of_ai(verify: Callable[..., VerifyReport]) -> None:
    report = verify(encode_jpeg(picture(seed=3), 64), "image/jpeg")
    assert (report.watermark.found, report.history.match) == (False, "none")
    assert "No mark of this studio was found; that does not mean that it is not AI-made." in report.summary


def test_a_changed_file_is_called_broken_and_its_claims_are_not_repeated(
    verify: Callable[..., VerifyReport], sealed: SealedImage, history: History
) -> None:
    history.add(sealed)
    # Any valid PNG with our manifest in it will do: here the manifest of the sealed file in another picture.
    start = sealed.data.index(b"caBX") - 4
    chunk = sealed.data[start : start + 12 + int.from_bytes(sealed.data[start : start + 4], "big")]
    other = encode_png(picture(seed=9))
    report = verify(other[:33] + chunk + other[33:])
    assert report.c2pa.state == "invalid"
    assert "are broken: the file was changed after it was signed" in report.summary
    assert "made by AI" not in report.summary
    assert "signed by this installation" not in report.summary


def test_a_stranger_is_named_without_being_believed(
    verify: Callable[..., VerifyReport], raw: Make, mark: CornerMark, other_credentials: Credentials, encoders: Encoders
) -> None:
    theirs = seal(inspect(raw(), [Fixed(0.0)]), watermark=mark, credentials=other_credentials, encoders=encoders)
    report = verify(theirs.data)
    assert (report.c2pa.state, report.c2pa.ours) == ("valid", False)
    assert "unknown here and not on a trust list: anybody can sign under any name" in report.summary
    assert "The signer declares it made by AI with Signet." in report.summary


class Faint(CornerMark):
    def detect(self, pixels: Pixels, known: Iterable[tuple[str, int]]) -> Detection:
        return Detection(True, 1e-9, None, 5, self.name)


class Picky(CornerMark):
    def detect(self, pixels: Pixels, known: Iterable[tuple[str, int]]) -> Detection:
        raise InvalidParameter("pixels", "too small")


def test_a_mark_without_a_record_says_that_the_picture_is_gone(credentials: Credentials, history: History) -> None:
    report = FileVerifier(credentials, [Faint()], history).verify(b"", PNG, picture(), None)
    assert (report.watermark.found, report.history.match) == (True, "none")
    assert "no longer in the history" in report.summary


def test_a_picture_that_cannot_be_tested_is_not_called_unmarked(credentials: Credentials, history: History) -> None:
    report = FileVerifier(credentials, [Picky()], history).verify(b"", PNG, picture(8), None)
    assert not report.watermark.found
    assert "cannot be tested for the mark" in report.summary


def test_the_credentials_of_a_picture_too_damaged_to_decode_are_still_read(
    verifier: FileVerifier, sealed: SealedImage
) -> None:
    report = verifier.verify(sealed.data[:-2000], PNG, None, None)
    assert report.c2pa.state == "invalid"
    assert "cannot be tested for the mark" in report.summary


class Sure(CornerMark):
    """Finds a record with a given p-value, whatever it is shown."""

    name = "sure"

    def __init__(self, p_value: float) -> None:
        self.p_value = p_value

    def detect(self, pixels: Pixels, known: Iterable[tuple[str, int]]) -> Detection:
        return Detection(True, self.p_value, "job-7", 7, self.name)


def test_every_method_is_looked_for_and_the_p_value_pays_for_it(
    credentials: Credentials, mark: CornerMark, history: History
) -> None:
    report = FileVerifier(credentials, [mark, Sure(1e-9)], history).verify(b"", PNG, picture(), None)
    assert report.watermark.found
    assert (report.watermark.method, report.watermark.record_id) == ("sure", "job-7")
    assert report.watermark.p_value == pytest.approx(2e-9)


def test_two_looks_are_not_twice_the_chance_of_a_false_alarm(
    credentials: Credentials, mark: CornerMark, history: History
) -> None:
    report = FileVerifier(credentials, [mark, Sure(0.9e-6)], history).verify(b"", PNG, picture(), None)
    assert not report.watermark.found
    assert (report.watermark.method, report.watermark.record_id) == (None, None)


def test_a_method_that_cannot_test_a_picture_does_not_silence_the_others(
    credentials: Credentials, history: History
) -> None:
    report = FileVerifier(credentials, [Picky(), Sure(1e-9)], history).verify(b"", PNG, picture(), None)
    assert report.watermark.found


@pytest.mark.parametrize("shape", [(1, 1), (1, 300), (20, 20), (63, 64)])
def test_pictures_too_small_for_the_shipped_mark_are_answered(
    credentials: Credentials, history: History, shape: tuple[int, int]
) -> None:
    verifier = FileVerifier(credentials, [open_watermark("signet-dct", bytes(32))], history)
    pixels = np.zeros((*shape, 3), np.uint8)
    report = verifier.verify(encode_png(pixels), PNG, pixels, None)
    assert not report.watermark.found
    assert "does not mean" in report.summary


@pytest.mark.parametrize(
    ("report", "words"),
    [
        (CredentialReport(state="absent", failures=("manifest.inaccessible",)), "remote server, which is never asked"),
        (
            CredentialReport(state="invalid", failures=("signingCredential.expired",)),
            "certificate of the signer has run",
        ),
        (
            CredentialReport(state="valid", trusted=True, signer="Example Co"),
            '"Example Co", whose authority is on your trust list',
        ),
        (CredentialReport(state="valid"), "signed by an unnamed signer"),
    ],
)
def test_every_state_of_credentials_has_its_own_words(
    credentials: Credentials,
    mark: CornerMark,
    history: History,
    report: CredentialReport,
    words: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(Credentials, "read", lambda self, data, media_type: report)
    assert words in FileVerifier(credentials, [mark], history).verify(b"", PNG, picture(), None).summary
