"""Any picture: what its credentials, its pixels and our history say about it, in honest words.

Three independent witnesses. Credentials prove that bytes are unchanged and by whom they were signed, but are lost when
a picture is saved anew. The mark survives that, and is evidence that a holder of the key processed the picture, not
that it made it. The history knows our own files by their hash. None of them can show that a picture is not AI-made.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import Protocol

from backend.errors import SignetError
from backend.types import (
    CredentialReport,
    HistoryMatch,
    Pixels,
    Record,
    VerifyReport,
    WatermarkReport,
)
from safety.provenance import Credentials
from safety.watermark import Watermark

_MADE_BY_AI = ("trainedAlgorithmicMedia", "compositeWithTrainedAlgorithmicMedia")


class Lookups(Protocol):
    """The part of the history that verification needs; backend.ports.HistoryStore has it."""

    def by_sha256(self, sha256: str) -> Record | None: ...

    def marks(self) -> Iterable[tuple[str, int]]:
        """(record id, mark id) of every picture that is in the history."""
        ...


class FileVerifier:
    """Implements backend.ports.Verifier. Changes nothing and never opens a connection."""

    def __init__(self, credentials: Credentials, watermark: Watermark, lookups: Lookups) -> None:
        self._credentials = credentials
        self._watermark = watermark
        self._lookups = lookups

    def verify(self, data: bytes, media_type: str, pixels: Pixels | None, infotext: str | None) -> VerifyReport:
        """`data` are the bytes as they came, `pixels` and `infotext` what backend.images read from them.

        `pixels` is None for a picture that is too damaged to decode; its credentials are read all the same.
        """
        c2pa = self._credentials.read(data, media_type)
        mark, tested = self._mark(pixels)
        history = self._match(data, mark)
        return VerifyReport(
            c2pa=c2pa,
            watermark=mark,
            infotext=infotext,
            history=history,
            summary=" ".join([*_on_credentials(c2pa), *_on_mark(mark, tested), *_on_history(history, mark, infotext)]),
        )

    def _mark(self, pixels: Pixels | None) -> tuple[WatermarkReport, bool]:
        """What the pixels carry, and whether they could be tested at all."""
        if pixels is None:
            return WatermarkReport(found=False), False
        try:
            seen = self._watermark.detect(pixels, self._lookups.marks())
        except (SignetError, ValueError):  # too small for the method, or not a shape that it can take
            return WatermarkReport(found=False), False
        method = seen.method if seen.found else None
        return WatermarkReport(found=seen.found, record_id=seen.record_id, p_value=seen.p_value, method=method), True

    def _match(self, data: bytes, mark: WatermarkReport) -> HistoryMatch:
        if record := self._lookups.by_sha256(hashlib.sha256(data).hexdigest()):
            return HistoryMatch(match="exact", record_id=record.id)
        if mark.found and mark.record_id:
            return HistoryMatch(match="watermark", record_id=mark.record_id)
        return HistoryMatch(match="none")


def _on_credentials(report: CredentialReport) -> list[str]:
    if report.state == "absent" and report.failures:
        return ["Its Content Credentials lie on a remote server, which is never asked; nothing is known of them."]
    if report.state == "absent":
        return ["The file carries no Content Credentials; most programs drop them when they save a picture anew."]
    if report.state == "invalid":
        return [_broken(report)]
    return [_intact(report), *_declared(report)]


def _broken(report: CredentialReport) -> str:
    if "signingCredential.expired" in report.failures:
        return "Its Content Credentials cannot be relied on: the certificate of the signer has run out."
    return (
        "Its Content Credentials are broken: the file was changed after it was signed, or they belong to another "
        "file. Do not rely on what they say."
    )


def _intact(report: CredentialReport) -> str:
    if report.ours:
        return "Unchanged since it was signed by this installation, which is not on a trust list."
    who = f'"{report.signer}"' if report.signer else "an unnamed signer"
    if report.trusted:
        return f"Unchanged since it was signed by {who}, who is on the trust list."
    return (
        f"Unchanged since it was signed by {who}, who is unknown here and not on a trust list: anybody can sign under "
        "any name."
    )


def _declared(report: CredentialReport) -> list[str]:
    kind = (report.digital_source_type or "").rsplit("/", 1)[-1]
    if kind not in _MADE_BY_AI:
        return []
    how = "made by AI" if kind == _MADE_BY_AI[0] else "made partly by AI"
    return [f"The signer declares it {how}" + (f" with {report.generator}." if report.generator else ".")]


def _on_mark(mark: WatermarkReport, tested: bool) -> list[str]:
    if not tested:
        return ["This picture cannot be tested for the mark of this studio; that does not mean that it is not AI-made."]
    if not mark.found:
        return ["No mark of this studio was found; that does not mean that it is not AI-made."]
    return [
        f"The mark of this studio was found (p = {mark.p_value:.0e}): evidence that it passed through here, not proof "
        "that its content is unchanged."
    ]


def _on_history(history: HistoryMatch, mark: WatermarkReport, infotext: str | None) -> list[str]:
    said = []
    if history.match == "exact":
        said.append(f"It is byte for byte the picture {history.record_id} of the history.")
    elif history.match == "watermark":
        said.append(
            f"The mark leads to the picture {history.record_id} of the history; this file differs from the stored one."
        )
    elif mark.found:
        said.append("The picture it belongs to is no longer in the history.")
    if infotext:
        said.append("It contains generation parameters as plain text, which anybody can write.")
    return said
