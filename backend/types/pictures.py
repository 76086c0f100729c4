"""Pictures on the one road, and what is written down about them.

Three picture types stand for the three doors: RawImage (pixels, engine process only), CheckedImage (made only by
safety.inspect) and SealedImage (made only by safety.seal). Faces accept SealedImage and Record alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from backend.types.jobs import Verdict
from backend.types.models import ModelKind
from backend.types.request import Bucket, GenerationRequest, Shape, Words

Pixels = NDArray[np.uint8]
"""uint8, (height, width, 3), sRGB."""

InspectionState = Literal["clean", "flagged", "not-scanned", "scanner-failed"]
Handling = Literal["show", "blur", "withhold"]
"""How a picture may be shown: at once, blurred until somebody asks for it, or only to the owner in the review."""


class Box(Shape):
    """Something a detector saw, in pixels of the picture."""

    label: str
    score: float
    left: int
    top: int
    width: int
    height: int


class Reason(Shape):
    """A finding of admission, as it stands in a Passport; see backend.types.jobs.SpokenReason."""

    category: str
    layer: str
    score: float = 1.0


class DetectorResult(Shape):
    """One detector's word on one picture. `model_sha256` names the exact weights; `score` is 0..1."""

    name: str
    state: InspectionState
    score: float | None = None
    threshold: float | None = None
    model_sha256: str | None = None
    detail: str = ""
    boxes: tuple[Box, ...] = ()


class Inspection(Shape):
    state: InspectionState
    detectors: tuple[DetectorResult, ...] = ()


class ModelFacts(Shape):
    id: str
    title: str
    family: str
    licence: str
    sha256: str | None


class NetworkFacts(Shape):
    """Something that was added to the model: a LoRA, embedding, ControlNet, VAE, upscaler or refiner."""

    kind: ModelKind
    id: str
    weight: float = 1.0
    sha256: str | None = None
    autov3: str | None = None
    licence: str = "not stated"


Relation = Literal["parent", "input", "component"]
"""What became of a picture that went in: a "parent" was changed, an "input" guided, a "component" lies on a sheet."""


class SourceFacts(Shape):
    """A picture that went in. `credentials` is what its own file states; `carried` tells whether the new picture holds
    them too, and `note` why it does not where there were some."""

    sha256: str
    relation: Relation
    credentials: Literal["valid", "invalid", "absent"] = "absent"
    carried: bool = False
    note: str = ""


class EngineFacts(Shape):
    """What else shaped the pixels: repeat these and the picture repeats bit by bit.

    `measures` are the steps taken for want of memory, such as "vae tiled"; `solver` says where a sampler is no exact
    equal of its namesake.
    """

    app: str
    torch: str
    diffusers: str
    device: str
    dtype: str
    attention: str
    bucket: Bucket
    seconds: float
    measures: tuple[str, ...] = ()
    solver: str = ""


@dataclass(frozen=True, slots=True)
class SourceImage:
    """A picture that went into another: the original bytes lie at `path`, so that its credentials can be kept."""

    sha256: str
    path: str
    media_type: str
    relation: Relation


@dataclass(frozen=True, slots=True)
class RawImage:
    """A finished picture before inspection. Never leaves the engine process.

    `words` is the text of this picture, `networks` what was added to the model, `sources` the pictures that went in,
    `latent_mark` the method of the mark in the noise it was made from, "" without one.
    """

    pixels: Pixels
    job_id: str
    index: int
    seed: int
    request: GenerationRequest
    infotext: str
    model: ModelFacts
    engine: EngineFacts
    verdict: Verdict
    words: Words | None = None
    networks: tuple[NetworkFacts, ...] = ()
    sources: tuple[SourceImage, ...] = ()
    latent_mark: str = ""


@dataclass(frozen=True, slots=True)
class CheckedImage:
    """A picture with its inspection and what follows from it. Only safety.inspect makes one."""

    raw: RawImage
    inspection: Inspection
    handling: Handling = "show"


class WatermarkFacts(Shape):
    """The mark as embedded and read back at once: `mark_id` is 48 bits as 12 hex digits, `p_value` the chance that an
    unmarked picture would look so marked, `psnr_db` the change it made to the pixels. With `kept` it is the mark that
    the picture brought along, which leads to the picture it was first put in."""

    method: str
    mark_id: str
    p_value: float
    psnr_db: float
    kept: bool = False


class CredentialFacts(Shape):
    """The C2PA manifest: `state` as a validator reports it here; `trusted` only for a trust list. `time_stamp` is
    "failed" where one was asked for, the authority did not answer, and the owner allows that."""

    manifest_id: str
    state: Literal["valid", "invalid"]
    trusted: bool
    signer: str
    time_stamp: Literal["none", "made", "failed"] = "none"


class Passport(Shape):
    """All a stranger needs to judge and to repeat the picture. `sha256` is of the exact signed bytes.

    `handling` is what policy, admission and inspection together came to; `reasons` are what admission found, without
    the words. `audit_head` is the newest entry of the audit log when the picture was admitted ("number:hash"), so that
    every exported picture is a witness of the log.
    """

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
    admission: Literal["allow", "note", "blur", "withhold"]
    words: Words | None = None
    networks: tuple[NetworkFacts, ...] = ()
    sources: tuple[SourceFacts, ...] = ()
    handling: Handling = "show"
    reasons: tuple[Reason, ...] = ()
    audit_head: str = ""
    latent_mark: str = ""


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


class SourceLook(Shape):
    """What a picture that is to go into another shows. `people` counts faces; `nsfw` is a detector's score, 0..1; with
    `problem` it could not be looked at, and is treated as a picture of a person."""

    people: int = 0
    nsfw: float = 0.0
    problem: str = ""
