"""Content Credentials, measured: sealed and read back in every mode and format, carried, recovered, and tampered with.

No model runs: pixels are drawn, and everything behind them is the real road (inspection apart, whose answer is given).
The public conformance rubric is not part of this repository and is not run here.
"""

from __future__ import annotations

import hashlib
import statistics
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from backend import images
from backend.types import (
    CheckedImage,
    EngineFacts,
    GenerationRequest,
    Grid,
    Inspection,
    ModelFacts,
    NetworkFacts,
    Pixels,
    RawImage,
    Record,
    SealedImage,
    SourceImage,
    Upscale,
    Verdict,
)
from backend.types.pictures import Relation
from backend.version import VERSION
from benchmarks.trust import Options, Section, share
from safety.keys import Keys, open_keys
from safety.manifest import Wording
from safety.provenance import Credentials
from safety.seal import MEDIA_TYPES, Encoders, seal
from safety.verify import FileVerifier
from safety.watermark import METHODS, mark_id_of, open_watermark

SIDE = 256
_MODEL = ModelFacts(id="drawn", title="Drawn", family="none", licence="not stated", sha256="ab" * 32)
_ENGINE = EngineFacts(app=VERSION, torch="", diffusers="", device="cpu", dtype="", attention="", bucket=1, seconds=0.0)
_LORA = NetworkFacts(kind="lora", id="ink", sha256="cd" * 32)
_MODES: Mapping[str, tuple[dict[str, Any], Relation | None]] = {
    "txt2img": ({}, None),
    "txt2img with a guide": ({}, "input"),
    "img2img": ({"mode": "img2img"}, "parent"),
    "inpaint": ({"mode": "inpaint"}, "parent"),
    "upscale": ({"mode": "upscale", "upscale": Upscale()}, "parent"),
    "upscale, diffusion": ({"mode": "upscale", "upscale": Upscale(diffusion=True)}, "parent"),
    "convert": ({"mode": "convert"}, "parent"),
    "grid": ({"mode": "grid", "grid": Grid(cells=("a",), columns=1)}, "component"),
}
_COPIES: Mapping[str, Callable[[Pixels], bytes]] = {
    "saved anew as PNG": images.encode_png,
    "JPEG 80": lambda pixels: images.encode_jpeg_file(pixels, None, 80),
    "JPEG 50": lambda pixels: images.encode_jpeg_file(pixels, None, 50),
    "WebP 50": lambda pixels: images.encode_webp_file(pixels, None, 50),
    "half the size": lambda pixels: images.encode_png(images.resize(pixels, SIDE // 2, SIDE // 2, "stretch")),
    "90 % cut out": lambda pixels: images.encode_png(np.ascontiguousarray(pixels[13:-13, 13:-13])),
}


@dataclass
class _History:
    """What the verifier needs to know of the pictures made here."""

    files: dict[str, bytes] = field(default_factory=dict)

    def by_sha256(self, sha256: str) -> Record | None:
        return None

    def marks(self) -> Iterable[tuple[str, int]]:
        return [(name, mark_id_of(name)) for name in self.files]

    def sealed(self, record_id: str) -> bytes | None:
        return self.files.get(record_id)


@dataclass
class _Bench:
    """One installation, its pictures, and how long each took."""

    keys: Keys
    folder: Path
    rng: np.random.Generator
    made: int = 0
    seconds: list[float] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.mark = open_watermark(METHODS[0], self.keys.watermark_key)
        self.credentials = Credentials(self.keys, Wording("Signet", VERSION, "notAllowed", prompt=False))
        self.encoders = Encoders(images.encode_png, images.encode_thumbnail, images.encode_jpeg)

    def draw(self) -> Pixels:
        """Soft blots and some grain, different each time."""
        blots = self.rng.integers(0, 256, (9, 9, 3), dtype=np.uint8)
        soft = images.resize(blots, SIDE, SIDE, "stretch").astype(np.float64) * 0.8 + 25
        return np.clip(soft + self.rng.normal(0, 6, soft.shape), 0, 255).astype(np.uint8)

    def make(self, *sources: SourceImage, pixels: Pixels | None = None, **changes: Any) -> SealedImage:
        self.made += 1
        request = GenerationRequest(
            prompt="drawn", width=SIDE, height=SIDE, steps=1, sampler="Euler", schedule="Automatic", cfg=1.0,
            seed=self.made, model="drawn",
        ).model_copy(update=changes)  # fmt: skip
        raw = RawImage(
            self.draw() if pixels is None else pixels, f"job{self.made}", 0, self.made, request, "drawn\nSteps: 1",
            _MODEL, _ENGINE, Verdict("allow", "benchmark"), sources=sources,
            networks=(_LORA,) if request.paints else (),
        )  # fmt: skip
        checked = CheckedImage(raw, Inspection(state="clean"))
        began = time.perf_counter()
        sealed = seal(checked, watermark=self.mark, credentials=self.credentials, encoders=self.encoders)
        self.seconds.append(time.perf_counter() - began)
        return sealed

    def put(self, sealed: SealedImage, relation: Relation) -> SourceImage:
        name = hashlib.sha256(sealed.data).hexdigest()
        (self.folder / name).write_bytes(sealed.data)
        return SourceImage(name, str(self.folder / name), sealed.media_type, relation)


@dataclass(frozen=True, slots=True)
class _Count:
    what: str
    hits: int
    tries: int
    least: float | None = None
    """The share that was promised, None where nothing was."""

    @property
    def held(self) -> bool:
        return self.least is None or (self.tries > 0 and self.hits / self.tries >= self.least)

    @property
    def row(self) -> tuple[str, str, str]:
        promised = "" if self.least is None else f"at least {100 * self.least:g} %"
        return self.what, share(self.hits, self.tries), promised


def section(options: Options) -> Section:
    """Every count with its 95 % interval. `held` is whether all that is promised was reached."""
    each, copies, flips = (1, 2, 60) if options.quick else (4, 25, 1000)
    with tempfile.TemporaryDirectory() as name:
        keys = open_keys(Path(name) / "keys")
        bench = _Bench(keys, Path(name), np.random.default_rng(options.seed))
        counts = [*_roads(bench, each), *_recovered(bench, copies), *_tampered(bench, flips)]
        times = _times(bench)
    rows = (*(count.row for count in counts), *times)
    return Section(
        title="Content Credentials",
        columns=("what", "share (95 % interval) or time", "promised"),
        rows=rows,
        limits=(
            f"Drawn pictures of 256 pixels, marked by {METHODS[0]}, no model.",
            "Times are of this machine, with whatever else it did.",
            "Validity is what the C2PA library says that also signed; the public conformance rubric is not run here.",
            "Recovery needs the history of the same installation, and rests on how much the mark survives.",
            "A byte counts as unnoticed wherever it stands; what no hash covers is padding and the names of boxes.",
        ),
        held=all(count.held for count in counts),
        data=[{"what": each.what, "hits": each.hits, "tries": each.tries} for each in counts],
    )


def _roads(bench: _Bench, each: int) -> Iterator[_Count]:
    valid = {kind: 0 for kind in MEDIA_TYPES if kind != "avif" or images.writes_avif()}
    carried = kept = with_source = converted = labelled = 0
    for kind in valid:
        for mode, (changes, relation) in _MODES.items():
            for _ in range(each):
                first = bench.make()
                sources = [bench.put(first, relation)] if relation else []
                pixels = images.decode(first.data, max_pixels=SIDE * SIDE).pixels if mode == "convert" else None
                sealed = bench.make(*sources, pixels=pixels, format=kind, **changes)
                report = bench.credentials.read(sealed.data, sealed.media_type)
                valid[kind] += report.state == "valid" and report.ours
                labelled += b"DigitalSourceType" in sealed.data
                if relation:
                    with_source += 1
                    files = [found for found in report.ingredients if found.kind == "file"]
                    carried += [found.state for found in files] == ["valid"]
                if mode == "convert":
                    converted += 1
                    kept += sealed.passport.watermark.mark_id == first.passport.watermark.mark_id
    tries = len(_MODES) * each
    for kind, hits in valid.items():
        yield _Count(f"{kind}: sealed in {len(_MODES)} ways, read back valid and ours", hits, tries, 1.0)
    yield _Count("credentials of the source carried, and valid", carried, with_source, 1.0)
    yield _Count("conversion keeps the mark of its source", kept, converted, 1.0)
    yield _Count("label in plain metadata", labelled, tries * len(valid), 1.0)


def _recovered(bench: _Bench, number: int) -> Iterator[_Count]:
    history = _History()
    for _ in range(number):
        sealed = bench.make()
        history.files[sealed.passport.record_id] = sealed.data
    verifier = FileVerifier(bench.credentials, [bench.mark], history)
    total = 0
    for what, copy in _COPIES.items():
        hits = sum(_leads_back(verifier, name, copy(_pixels(data))) for name, data in history.files.items())
        total += hits
        yield _Count(f"stripped copy, {what}: credentials recovered", hits, number)
    yield _Count("stripped copies together", total, number * len(_COPIES), 0.99)
    noticed = 0
    for name in history.files:
        pasted = images.encode_png(bench.mark.embed(bench.draw(), mark_id_of(name)))
        noticed += not _leads_back(verifier, name, pasted)
    yield _Count("mark laid over another picture, noticed", noticed, number, 1.0)


def _pixels(data: bytes) -> Pixels:
    return images.decode(data, max_pixels=SIDE * SIDE).pixels


def _leads_back(verifier: FileVerifier, record_id: str, copy: bytes) -> bool:
    opened = images.decode(copy, max_pixels=SIDE * SIDE)
    found = verifier.verify(copy, opened.media_type, opened.pixels, None).recovered
    return found is not None and found.record_id == record_id and found.likeness in ("same", "part")


def _tampered(bench: _Bench, flips: int) -> Iterator[_Count]:
    """One byte of the file is changed; it counts as noticed when the file is not valid any more."""
    for kind, places in (("png", _png_parts), ("jpeg", _whole)):
        sealed = bench.make(format=kind)
        for part, choices in places(sealed.data).items():
            noticed = 0
            for place in bench.rng.choice(choices, flips):
                changed = bytearray(sealed.data)
                changed[place] ^= int(bench.rng.integers(1, 256))
                noticed += bench.credentials.read(bytes(changed), sealed.media_type).state != "valid"
            least = 1.0 if part == "pixels" else None
            yield _Count(f"{kind}: a changed byte in {part}, noticed", noticed, flips, least)


def _png_parts(data: bytes) -> Mapping[str, Sequence[int]]:
    begin, signature = data.index(b"caBX") + 4, data.rindex(b"c2pa.signature")
    return {
        "pixels": range(data.index(b"IDAT") + 4, len(data)),
        "statements": range(begin, signature),
        "the whole file": range(len(data)),
    }


def _whole(data: bytes) -> Mapping[str, Sequence[int]]:
    return {"the whole file": range(len(data))}


def _times(bench: _Bench) -> list[tuple[str, str, str]]:
    sealed = bench.make()
    reading = [_timed(lambda: bench.credentials.read(sealed.data, sealed.media_type)) for _ in range(20)]
    unsigned = images.encode_png(bench.draw())
    signing = [_timed(lambda: bench.credentials.weight(unsigned, "image/png")) for _ in range(20)]
    return [
        ("sealing a picture, median", f"{1000 * statistics.median(bench.seconds):.0f} ms", ""),
        ("of that: one signature", f"{1000 * statistics.median(signing):.1f} ms", ""),
        ("reading credentials, median", f"{1000 * statistics.median(reading):.1f} ms", ""),
    ]


def _timed(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


if __name__ == "__main__":
    print(section(Options()).markdown())
