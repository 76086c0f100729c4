"""The pictures that went into a picture, opened and proven to be those that were used.

Each is read once, and only these bytes are hashed, read and carried on: a file that changes meanwhile changes nothing.
Credentials that a picture brought along are kept whole in the new one, broken ones too, because dropping them would
hide where it comes from. Those that cannot be kept are named by the hash of their picture, with the reason.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from backend.types import CredentialReport, GenerationRequest, SourceFacts, SourceImage
from safety import labels
from safety.errors import Unsealable

CARRIED_AT_MOST = 4 * 2**20
"""Bytes of strangers' credentials that one picture takes over, all its sources together."""
_CHANGES_A_PICTURE = ("img2img", "inpaint", "upscale", "convert")
_NO_PLACE = "Its credentials are larger than what a picture takes over from others (4 MB); they stay with the source."
_NO_WAY = "Its credentials are too damaged to be taken over; they stay with the source."
_NO_READER = "Credentials cannot be read from a file of this kind."
_ELSEWHERE = "Its credentials lie on a remote server, which is never asked."


class Reader(Protocol):
    """The part of safety.provenance.Credentials that is needed here."""

    def reads(self, media_type: str) -> bool: ...

    def read(self, data: bytes, media_type: str) -> CredentialReport: ...

    def weight(self, data: bytes, media_type: str) -> int | None: ...


@dataclass(frozen=True, slots=True)
class Ingredient:
    """One source. `data` are its bytes if its credentials come along, None if it is recorded by its hash alone.
    `declared` is what it is said to be (IPTC's digital source type), by its credentials or, without any, by its labels.
    """

    facts: SourceFacts
    media_type: str
    data: bytes | None = None
    declared: str | None = None


def ingredients(request: GenerationRequest, sources: Sequence[SourceImage], reader: Reader) -> tuple[Ingredient, ...]:
    """Every source once, the picture that was changed first.

    Raises Unsealable if a file is gone or is not what its name says, or if the sources do not fit the request: a
    picture that was changed must never be declared as made from nothing.
    """
    related = {_related(request, source): source for source in sources}
    _check(request, tuple(related))
    return tuple(_opened(related, reader))


def _related(request: GenerationRequest, source: SourceImage) -> SourceFacts:
    relation = "component" if request.mode == "grid" else source.relation
    return SourceFacts(sha256=source.sha256.lower(), relation=relation)


def _check(request: GenerationRequest, related: Sequence[SourceFacts]) -> None:
    parents = sum(facts.relation == "parent" for facts in related)
    wanted = 1 if request.mode in _CHANGES_A_PICTURE else min(parents, 1)
    if parents != wanted or (request.mode == "grid" and not related):
        detail = f"It is not known which picture this one was made from ({request.mode}); it is withheld."
        raise Unsealable(detail, "Run the request again.")


def _opened(related: Mapping[SourceFacts, SourceImage], reader: Reader) -> Iterator[Ingredient]:
    left = CARRIED_AT_MOST
    for facts, source in sorted(related.items(), key=lambda each: each[0].relation != "parent"):
        data = _proven(source)
        if not reader.reads(source.media_type):
            yield Ingredient(
                facts.model_copy(update={"note": _NO_READER}), source.media_type, None, labels.declared(data)
            )
            continue
        report = reader.read(data, source.media_type)
        if report.state == "absent":
            note = _ELSEWHERE if report.failures else ""
            yield Ingredient(facts.model_copy(update={"note": note}), source.media_type, None, labels.declared(data))
            continue
        declared = _declared(report) or labels.declared(data)
        known = facts.model_copy(update={"credentials": report.state})
        size = reader.weight(data, source.media_type)
        if size is None or size > left:
            note = _NO_WAY if size is None else _NO_PLACE
            yield Ingredient(known.model_copy(update={"note": note}), source.media_type, None, declared)
            continue
        left -= size
        yield Ingredient(known.model_copy(update={"carried": True}), source.media_type, data, declared)


def _declared(report: CredentialReport) -> str | None:
    """What intact credentials say; where their own actions are silent, what those of the opened picture say."""
    if report.state != "valid":
        return None
    opened = (each.digital_source_type for each in report.ingredients if each.relation == "parentOf")
    return report.digital_source_type or next(opened, None)


def _proven(source: SourceImage) -> bytes:
    try:
        data = Path(source.path).read_bytes()
    except OSError as error:
        detail = f"The picture {source.sha256[:12]} that this one was made from is gone; the new one is withheld."
        raise Unsealable(detail, "Upload it again and run the request again.") from error
    if hashlib.sha256(data).hexdigest() != source.sha256.lower():
        detail = f"The picture {source.sha256[:12]} that this one was made from has changed; the new one is withheld."
        raise Unsealable(detail, "Upload it again and run the request again.")
    return data
