"""What the tests of safety work on: small pictures, requests, and stand-ins for the mark, a scanner and the history."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from backend.images import resize
from backend.types import GenerationRequest, Pixels, Record, SealedImage, SourceImage
from backend.types.pictures import Relation
from safety.inspect import Finding
from safety.manifest import Wording
from safety.watermark import Detection, mark_id_of

WORDING = Wording(app="Signet", version="0.1.0", training_use="notAllowed", prompt=False)


class CornerMark:
    """Writes the mark id into the first pixels: readable, visible, fast, and of no use outside tests."""

    name = "corner"

    def embed(self, pixels: Pixels, mark_id: int) -> Pixels:
        marked = pixels.copy()
        marked.reshape(-1)[:6] = list(mark_id.to_bytes(6, "big"))
        return marked

    def detect(self, pixels: Pixels, known: Iterable[tuple[str, int]]) -> Detection:
        seen = int.from_bytes(pixels.reshape(-1)[:6].tobytes(), "big")
        for record_id, mark_id in known:
            if mark_id == seen:
                return Detection(True, 1e-12, record_id, mark_id, self.name)
        return Detection(False, 1.0, None, None, self.name)


class MemoryMark:
    """Knows what it marked by its look: outlives every format, fast, and of no use outside tests."""

    name = "memory"

    def __init__(self) -> None:
        self.marked: list[tuple[Pixels, int]] = []

    def embed(self, pixels: Pixels, mark_id: int) -> Pixels:
        self.marked.append((self._look(pixels), mark_id))
        return pixels.copy()

    def detect(self, pixels: Pixels, known: Iterable[tuple[str, int]]) -> Detection:
        look, names = self._look(pixels), {mark_id: record_id for record_id, mark_id in known}
        alike = [mark_id for seen, mark_id in self.marked if np.abs(seen.astype(int) - look).mean() < 4]
        if not alike:
            return Detection(False, 1.0, None, None, self.name)
        best = next((mark_id for mark_id in alike if mark_id in names), alike[0])
        return Detection(True, 1e-12, names.get(best), best, self.name)

    @staticmethod
    def _look(pixels: Pixels) -> Pixels:
        return resize(pixels, 8, 8, "stretch")


class LostMark(CornerMark):
    """A mark that cannot be read back."""

    def detect(self, pixels: Pixels, known: Iterable[tuple[str, int]]) -> Detection:
        return Detection(False, 0.5, None, None, self.name)


class Fixed:
    """A detector with one answer, or one exception."""

    def __init__(self, answer: float | Finding | Exception, name: str = "fixed", threshold: float = 0.8) -> None:
        self.name, self.threshold, self.model_sha256 = name, threshold, "00"
        self._answer = answer

    def look(self, pixels: object) -> Finding:
        if isinstance(self._answer, Exception):
            raise self._answer
        return self._answer if isinstance(self._answer, Finding) else Finding(self._answer)


@dataclass
class History:
    """As much of the history as verification sees."""

    records: dict[str, Record] = field(default_factory=dict)
    known: list[tuple[str, int]] = field(default_factory=list)
    files: dict[str, bytes] = field(default_factory=dict)

    def by_sha256(self, sha256: str) -> Record | None:
        return self.records.get(sha256)

    def marks(self) -> Iterable[tuple[str, int]]:
        return self.known

    def sealed(self, record_id: str) -> bytes | None:
        return self.files.get(record_id)

    def add(self, sealed: SealedImage) -> None:
        passport = sealed.passport
        record = Record(
            id=passport.record_id,
            job_id="job",
            index=sealed.index,
            path="x.png",
            passport=passport,
            infotext=sealed.infotext,
        )
        self.records[passport.sha256] = record
        self.files[record.id] = sealed.data
        self.known.append((record.id, mark_id_of(record.id)))


def picture(side: int = 64, seed: int = 0) -> Pixels:
    """Soft coloured waves, uint8 (side, side, 3)."""
    y, x = np.mgrid[0:side, 0:side] / side * 2 * np.pi
    waves = [np.sin(x * (2 + c) + seed) * np.cos(y * (3 - c)) for c in range(3)]
    return (np.stack(waves, axis=2) * 100 + 128).astype(np.uint8)


def request(prompt: str = "a lighthouse", side: int = 64) -> GenerationRequest:
    return GenerationRequest(
        prompt=prompt,
        negative="fog",
        width=side,
        height=side,
        steps=4,
        sampler="Euler",
        schedule="normal",
        cfg=5.0,
        seed=11,
        model="starter",
    )


def source(folder: Path, data: bytes, relation: Relation = "parent", media_type: str = "image/png") -> SourceImage:
    """The bytes as an uploaded picture, named by their hash."""
    name = hashlib.sha256(data).hexdigest()
    (folder / name).write_bytes(data)
    return SourceImage(name, str(folder / name), media_type, relation)


def tampered(signed: bytes) -> bytes:
    """A signed PNG with one changed byte inside its compressed pixels."""
    changed = bytearray(signed)
    changed[signed.rindex(b"IDAT") + 40] ^= 1
    return bytes(changed)
