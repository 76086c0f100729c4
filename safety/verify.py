"""Any picture: what its credentials, its pixels and our history say about it, in honest words.

Three independent witnesses. Credentials prove that picture and text are unchanged and by whom they were signed, but are
lost when a picture is saved anew. The mark survives that, and is evidence that a holder of the key processed the
picture, not that it made it. The history knows our own files by their hash. None of them can show that a picture is not
AI-made.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Literal, Protocol

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
from safety.watermark import FOUND_LEVEL, Detection, Watermark
from safety.watermark.evidence import corrected

_MADE_BY_AI = ("trainedAlgorithmicMedia", "compositeWithTrainedAlgorithmicMedia")
State = Literal["valid", "invalid", "absent"]
_OWN: Mapping[State, str] = {
    "valid": "whose own credentials were valid",
    "invalid": "whose own credentials were broken",
    "absent": "of which it holds no credentials",
}
_SOME: Mapping[State, str] = {
    "valid": "valid credentials",
    "invalid": "broken credentials",
    "absent": "none that it holds",
}


class Lookups(Protocol):
    """The part of the history that verification needs; backend.ports.HistoryStore has it."""

    def by_sha256(self, sha256: str) -> Record | None: ...

    def marks(self) -> Iterable[tuple[str, int]]:
        """(record id, mark id) of every picture that is in the history."""
        ...


class FileVerifier:
    """Implements backend.ports.Verifier. Changes nothing and never opens a connection.

    `watermarks` are the methods to look for, each a chance to be wrong: the p-value is corrected for their number.
    """

    def __init__(self, credentials: Credentials, watermarks: Sequence[Watermark], lookups: Lookups) -> None:
        self._credentials = credentials
        self._watermarks = tuple(watermarks)
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
        looks = list(self._looks(pixels)) if pixels is not None else []
        if not looks:
            return WatermarkReport(found=False), False
        best = min(looks, key=lambda look: look.p_value)
        p_value = corrected(best.p_value, len(self._watermarks))
        if not best.found or p_value > FOUND_LEVEL:
            return WatermarkReport(found=False, p_value=p_value), True
        return WatermarkReport(found=True, record_id=best.record_id, p_value=p_value, method=best.method), True

    def _looks(self, pixels: Pixels) -> Iterator[Detection]:
        known = tuple(self._lookups.marks())
        for watermark in self._watermarks:
            with suppress(SignetError, ValueError):  # too small for the method, or not a shape that it can take
                yield watermark.detect(pixels, known)

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
    return [_intact(report), *_declared(report), *_made_from(report)]


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


def _made_from(report: CredentialReport) -> list[str]:
    """About the pictures that went in. That they fitted their credentials is the word of whoever signed this one."""
    count = len(report.ingredients)
    if not count:
        return []
    states = Counter(each.state for each in report.ingredients)
    what = "picture" if report.ours else "file"  # other programs name models and fonts too
    if len(states) == 1:
        whose = _OWN[report.ingredients[0].state]
        said = f"It was made from {count} other {what}{'s' if count > 1 else ''}, {whose}."
    else:
        parts = ", ".join(f"{states[state]} with {words}" for state, words in _SOME.items() if states[state])
        said = f"It was made from {count} other {what}s: {parts}."
    ai = any(_is_ai(each.digital_source_type) and each.state == "valid" for each in report.ingredients)
    if ai and not _is_ai(report.digital_source_type):
        return [said, "What it was made from is declared made by AI, at least in part."]
    return [said]


def _is_ai(source_type: str | None) -> bool:
    return (source_type or "").rsplit("/", 1)[-1] in _MADE_BY_AI


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
