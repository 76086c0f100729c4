"""The frozen shapes everybody shares. Imports nothing of ours, and no torch, gradio or sqlalchemy.

Three picture types stand for the three doors of the one road: RawImage (pixels, engine process only), CheckedImage
(made only by safety.inspect) and SealedImage (made only by safety.seal). Faces accept SealedImage and Record alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

Pixels = NDArray[np.uint8]
"""uint8, (height, width, 3), sRGB."""

Bucket = Literal[1, 2, 4, 8]
JobState = Literal["queued", "running", "sealing", "done", "cancelled", "refused", "failed", "interrupted"]
Phase = Literal[
    "queued",
    "loading",
    "encoding",
    "step",
    "decoding",
    "sealing",
    "image",
    "done",
    "cancelled",
    "failed",
    "interrupted",
]
InspectionState = Literal["clean", "flagged", "not-scanned", "scanner-failed"]
Source = Literal["ui", "api", "cli", "mcp", "extension", "share"]


class Shape(BaseModel):
    """Base of everything that crosses a border: immutable, and strict about unknown fields."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class GenerationRequest(Shape):
    """What somebody asks for, complete and valid: made by `backend.requests.checked`, never by hand from raw input.

    `width` and `height` are pixels, `cfg` is the classifier-free guidance scale (1 = off), image number i of `count`
    uses `seed + i`. `bucket` pins the number of rows in a denoiser batch, to repeat an old picture bit by bit;
    None lets the engine choose.
    """

    mode: Literal["txt2img"] = "txt2img"
    prompt: str
    negative: str = ""
    width: int
    height: int
    steps: int
    sampler: str
    schedule: str
    cfg: float
    seed: int
    count: int = 1
    model: str
    bucket: Bucket | None = None
    client_extras: Mapping[str, Any] = {}


@dataclass(frozen=True, slots=True)
class Principal:
    """Who asks. Every call carries one; it is never read from a global."""

    id: str = "owner"
    roles: frozenset[str] = frozenset({"owner"})
    source: Source = "ui"


@dataclass(frozen=True, slots=True)
class ModelInfo:
    """A model of the catalogue. `factor` is the autoencoder's pixels per latent, sizes are pixels, `size` is bytes.

    `modified_ns` is the newest time of its files: a file that was replaced makes another ModelInfo.
    """

    id: str
    title: str
    family: str
    path: str
    layout: Literal["diffusers", "single-file"]
    factor: int
    native_size: int
    size: int
    licence: str = "not stated"
    sha256: str | None = None
    modified_ns: int = 0
    defaults: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class SpokenReason:
    """Why admission spoke: `category`, the `span` of normalised text it rests on, and the `layer` that saw it."""

    category: str
    span: str
    layer: str


@dataclass(frozen=True, slots=True)
class Verdict:
    """What admission decided. Refusals are raised as `Refused`; a Verdict that exists lets the request pass."""

    action: Literal["allow", "note"]
    policy: str
    reasons: tuple[SpokenReason, ...] = ()


@dataclass(frozen=True, slots=True)
class Job:
    """A request on its way. Times are UTC; `attempt` counts starts; `images` counts pictures already in the history."""

    id: str
    request: GenerationRequest
    principal: Principal
    state: JobState
    created: datetime
    updated: datetime
    verdict: Verdict
    attempt: int = 0
    images: int = 0
    problem: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class Event:
    """One thing that happened to a job. `seq` grows by one per job; replays start after a given `seq`.

    `fraction` is 0..1 of the whole job, `eta` seconds left, `preview` the version of the newest preview picture,
    `record_id` the picture that just entered the history, `position` the place in the queue (0 = next).
    """

    job_id: str
    seq: int
    phase: Phase
    step: int = 0
    steps: int = 0
    fraction: float | None = None
    eta: float | None = None
    preview: int | None = None
    position: int | None = None
    record_id: str | None = None
    message: str = ""
    problem: Mapping[str, Any] | None = None


class DetectorResult(Shape):
    """One detector's word on one picture. `model_sha256` names the exact weights; `score` is 0..1."""

    name: str
    state: InspectionState
    score: float | None = None
    threshold: float | None = None
    model_sha256: str | None = None
    detail: str = ""


class Inspection(Shape):
    state: InspectionState
    detectors: tuple[DetectorResult, ...] = ()


class ModelFacts(Shape):
    id: str
    title: str
    family: str
    licence: str
    sha256: str | None


class EngineFacts(Shape):
    """What else shaped the pixels: repeat these and the picture repeats bit by bit."""

    app: str
    torch: str
    diffusers: str
    device: str
    dtype: str
    attention: str
    bucket: Bucket
    seconds: float


@dataclass(frozen=True, slots=True)
class RawImage:
    """A finished picture before inspection. Never leaves the engine process."""

    pixels: Pixels
    job_id: str
    index: int
    seed: int
    request: GenerationRequest
    infotext: str
    model: ModelFacts
    engine: EngineFacts
    verdict: Verdict


@dataclass(frozen=True, slots=True)
class CheckedImage:
    """A picture with its inspection. Only safety.inspect makes one."""

    raw: RawImage
    inspection: Inspection


class WatermarkFacts(Shape):
    """The mark as embedded and read back at once: `mark_id` is 48 bits as 12 hex digits, `p_value` the chance that an
    unmarked picture would look so marked, `psnr_db` the change it made to the pixels."""

    method: str
    mark_id: str
    p_value: float
    psnr_db: float


class CredentialFacts(Shape):
    """The C2PA manifest: `state` as a validator reports it here; `trusted` only for a public trust list."""

    manifest_id: str
    state: Literal["valid", "invalid"]
    trusted: bool
    signer: str


class Passport(Shape):
    """All a stranger needs to judge and to repeat the picture. `sha256` is of the exact signed bytes."""

    record_id: str
    sha256: str
    media_type: str
    width: int
    height: int
    created: datetime
    request: GenerationRequest
    seed: int
    model: ModelFacts
    engine: EngineFacts
    inspection: Inspection
    watermark: WatermarkFacts
    credential: CredentialFacts
    policy: str
    admission: Literal["allow", "note"]


@dataclass(frozen=True, slots=True)
class SealedImage:
    """Bytes that may be shown, with their Passport. Only safety.seal makes one.

    `thumbnail` is a small WebP made from the marked pixels, None where the picture itself is small enough.
    """

    data: bytes
    media_type: str
    passport: Passport
    infotext: str
    index: int
    thumbnail: bytes | None = None


class Record(Shape):
    """One picture of the history. `path` is relative to the outputs folder."""

    id: str
    job_id: str
    index: int
    path: str
    thumbnail_path: str | None = None
    passport: Passport
    infotext: str
    rating: int = 0
    tags: tuple[str, ...] = ()


class HistoryQuery(Shape):
    """A page of history, newest first.

    `text` searches prompts word by word (the last word as a prefix), `before` is the cursor of the previous page,
    dates are inclusive UTC, `rating` is the least number of stars.
    """

    text: str = ""
    model: str | None = None
    sampler: str | None = None
    rating: int | None = None
    since: datetime | None = None
    until: datetime | None = None
    before: str | None = None
    limit: int = 50


class HistoryPage(Shape):
    records: tuple[Record, ...]
    next: str | None


class CredentialReport(Shape):
    """What a file's Content Credentials say. `failures` are C2PA validation codes."""

    state: Literal["valid", "invalid", "absent"]
    trusted: bool = False
    ours: bool = False
    actions: tuple[str, ...] = ()
    digital_source_type: str | None = None
    generator: str | None = None
    signer: str | None = None
    failures: tuple[str, ...] = ()


class WatermarkReport(Shape):
    """What was read from the pixels. `p_value` is corrected for everything that was tried; 1.0 means no evidence."""

    found: bool
    record_id: str | None = None
    p_value: float = 1.0
    method: str | None = None


class HistoryMatch(Shape):
    match: Literal["exact", "watermark", "none"]
    record_id: str | None = None


class VerifyReport(Shape):
    """The honest answer about any file."""

    c2pa: CredentialReport
    watermark: WatermarkReport
    infotext: str | None
    history: HistoryMatch
    summary: str
