"""Any picture: what its credentials, its pixels and our history say about it, in honest words.

Three independent witnesses. Credentials prove that picture and text are unchanged and by whom they were signed, but are
lost when a picture is saved anew. The mark survives that, and is evidence that a holder of the key processed the
picture, not that it made it. The history knows our own files by their hash. None of them can show that a picture is not
AI-made.

Where the credentials are lost and the mark leads to a stored picture, those of the stored picture are read in their
place, and the pixels of both are compared: a mark alone could have been laid over anything.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from typing import Protocol

from backend import images
from backend.errors import SignetError
from backend.types import (
    CredentialReport,
    HistoryMatch,
    Pixels,
    Record,
    RecoveredCredential,
    VerifyReport,
    WatermarkReport,
)
from safety import labels
from safety.keys import Keys
from safety.likeness import compare
from safety.provenance import Credentials
from safety.verify_words import summary
from safety.watermark import FOUND_LEVEL, Detection, Watermark, open_watermark
from safety.watermark.evidence import corrected

_LARGEST = 100_000_000  # pixels of a picture of our own


class Lookups(Protocol):
    """The part of the history that verification needs."""

    def by_sha256(self, sha256: str) -> Record | None: ...

    def marks(self) -> Iterable[tuple[str, int]]:
        """(record id, mark id) of every picture that is in the history."""
        ...

    def sealed(self, record_id: str) -> bytes | None:
        """The stored file of a record, None if there is none."""
        ...


class MarkReader(Protocol):
    """Another way to read a mark, such as from the noise a picture was made from. The `p_value` of its report is that
    of its own tries; the verifier corrects for there being several readers."""

    def read(self, pixels: Pixels) -> WatermarkReport:
        """With `tested` False where it cannot tell, for instance because the model is not loaded. May raise
        SignetError."""
        ...


def every_mark(methods: Iterable[str], keys: Keys) -> tuple[Watermark, ...]:
    """Each method under each key that was ever in force here, so that old marks stay readable."""
    return tuple(open_watermark(method, key) for method in dict.fromkeys(methods) for key in keys.watermark_keys)


class FileVerifier:
    """Implements backend.ports.Verifier. Changes nothing and never opens a connection.

    `watermarks` and `readers` are the ways to look for a mark, each a chance to be wrong: the p-value is corrected for
    their number.
    """

    def __init__(
        self,
        credentials: Credentials,
        watermarks: Sequence[Watermark],
        lookups: Lookups,
        readers: Sequence[MarkReader] = (),
    ) -> None:
        self._credentials = credentials
        self._watermarks = tuple(watermarks)
        self._lookups = lookups
        self._readers = tuple(readers)

    def verify(self, data: bytes, media_type: str, pixels: Pixels | None, infotext: str | None) -> VerifyReport:
        """`data` are the bytes as they came, `pixels` and `infotext` what backend.images read from them.

        `pixels` is None for a picture that is too damaged to decode; its credentials are read all the same.
        """
        c2pa = self._credentials.read(data, media_type)
        mark = self._mark(pixels)
        more = tuple(self._more(reader, pixels) for reader in self._readers)
        history = self._match(data, (mark, *more))
        recovered = self._recovered(c2pa, history, pixels)
        declared = labels.read(data)
        return VerifyReport(
            c2pa=c2pa,
            watermark=mark,
            infotext=infotext,
            history=history,
            summary=summary(c2pa, declared, mark, more, history, recovered, infotext),
            recovered=recovered,
            labels=declared,
            more_marks=more,
        )

    def _mark(self, pixels: Pixels | None) -> WatermarkReport:
        """What the marks say, corrected for the number of looks; not `tested` where none could look."""
        seen = list(self._looks(pixels)) if pixels is not None else []
        if not seen:
            return WatermarkReport(found=False, tested=False)
        best = min(seen, key=lambda detection: detection.p_value)
        p_value = self._corrected(best.p_value)
        found = best.found and p_value <= FOUND_LEVEL
        return WatermarkReport(
            found=found,
            record_id=best.record_id if found else None,
            p_value=p_value,
            method=best.method if found else None,
        )

    def _looks(self, pixels: Pixels) -> Iterator[Detection]:
        known = tuple(self._lookups.marks())
        for watermark in self._watermarks:
            with suppress(SignetError, ValueError):  # too small for the method, or not a shape that it can take
                yield watermark.detect(pixels, known)

    def _more(self, reader: MarkReader, pixels: Pixels | None) -> WatermarkReport:
        if pixels is None:
            return WatermarkReport(found=False, tested=False)
        try:
            seen = reader.read(pixels)
        except (SignetError, ValueError):
            return WatermarkReport(found=False, tested=False)
        p_value = self._corrected(seen.p_value)
        found = seen.found and p_value <= FOUND_LEVEL
        record_id = seen.record_id if found else None
        return seen.model_copy(update={"found": found, "p_value": p_value, "record_id": record_id})

    def _corrected(self, p_value: float) -> float:
        return corrected(p_value, len(self._watermarks) + len(self._readers))

    def _match(self, data: bytes, marks: Sequence[WatermarkReport]) -> HistoryMatch:
        if record := self._lookups.by_sha256(hashlib.sha256(data).hexdigest()):
            return HistoryMatch(match="exact", record_id=record.id)
        for mark in marks:
            if mark.found and mark.record_id:
                return HistoryMatch(match="watermark", record_id=mark.record_id)
        return HistoryMatch(match="none")

    def _recovered(
        self, c2pa: CredentialReport, history: HistoryMatch, pixels: Pixels | None
    ) -> RecoveredCredential | None:
        """The credentials of the stored picture to which the mark leads, for a copy that has none that hold."""
        if c2pa.state == "valid" or history.match != "watermark" or not history.record_id:
            return None
        stored = self._lookups.sealed(history.record_id)
        if stored is None:
            return None
        try:
            opened = images.decode(stored, max_pixels=_LARGEST)
        except SignetError:  # our own file has been damaged since; it must not vouch for anything
            return None
        report = self._credentials.read(stored, opened.media_type)
        if report.state != "valid" or not report.ours:
            return None
        if pixels is None:
            return RecoveredCredential(record_id=history.record_id, credentials=report)
        seen = compare(pixels, opened.pixels)
        return RecoveredCredential(
            record_id=history.record_id,
            credentials=report,
            likeness=seen.likeness,
            psnr_db=seen.psnr_db,
            changed=seen.changed,
        )
