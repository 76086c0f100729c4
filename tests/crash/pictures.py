"""Jobs and sealed pictures made by hand, for tests of what happens to them afterwards."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime, timedelta
from functools import cache

import numpy as np

from backend.images import encode_png
from backend.types import (
    CredentialFacts,
    EngineFacts,
    GenerationRequest,
    Inspection,
    Job,
    JobState,
    ModelFacts,
    Passport,
    Principal,
    Record,
    SealedImage,
    SpokenReason,
    Verdict,
    WatermarkFacts,
)

NOON = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)


def make_request(
    prompt: str = "a red cat", *, negative: str = "", count: int = 1, sampler: str = "Euler"
) -> GenerationRequest:
    return GenerationRequest(
        prompt=prompt,
        negative=negative,
        width=8,
        height=8,
        steps=4,
        sampler=sampler,
        schedule="Automatic",
        cfg=7.0,
        seed=1,
        count=count,
        model="starter",
        client_extras={"note": "kept"},
    )


def make_job(
    job_id: str = "job-1",
    *,
    count: int = 1,
    state: JobState = "queued",
    principal: str = "owner",
    created: datetime = NOON,
    attempt: int = 0,
) -> Job:
    return Job(
        id=job_id,
        request=make_request(count=count),
        principal=Principal(principal, frozenset({"owner", "user"}), "api"),
        state=state,
        created=created,
        updated=created,
        verdict=Verdict("note", "standard", (SpokenReason("violence", "red", "words"),)),
        attempt=attempt,
    )


@cache
def png(number: int) -> bytes:
    """Tiny, and different for every number."""
    pixels = np.random.default_rng(number).integers(0, 256, (8, 8, 3), dtype=np.uint8)
    return encode_png(pixels, f"picture {number}")


def make_sealed(
    number: int = 0,
    *,
    index: int = 0,
    request: GenerationRequest | None = None,
    model: str = "starter",
    created: datetime | None = None,
    data: bytes | None = None,
    thumbnail: bytes | None = b"a thumbnail",
) -> SealedImage:
    """Picture `number`, unlike every other; created that many minutes after noon."""
    made = png(number) if data is None else data
    wanted = request or make_request()
    passport = Passport(
        record_id=f"rec-{number:06d}",
        sha256=hashlib.sha256(made).hexdigest(),
        media_type="image/png",
        width=8,
        height=8,
        created=created or NOON + timedelta(minutes=number),
        request=wanted,
        seed=wanted.seed + index,
        model=ModelFacts(id=model, title=model.title(), family="sd", licence="not stated", sha256=None),
        engine=EngineFacts(
            app="0", torch="0", diffusers="0", device="cpu", dtype="float32", attention="sdpa", bucket=1, seconds=0.5
        ),
        inspection=Inspection(state="clean"),
        watermark=WatermarkFacts(method="signet-dct", mark_id=f"{2**47 + number:012x}", p_value=1e-9, psnr_db=45.0),
        credential=CredentialFacts(manifest_id=f"urn:{number}", state="valid", trusted=False, signer="test"),
        policy="standard",
        admission="allow",
    )
    return SealedImage(made, "image/png", passport, f"{wanted.prompt}\nSteps: 4", index, thumbnail)


def make_record(number: int = 0, *, job_id: str | None = None, **changes: object) -> Record:
    """The row of picture `number`, each of a job of its own unless told otherwise."""
    from backend.journal import record_of

    return record_of(make_sealed(number, **changes), job_id or f"job-{number}")  # type: ignore[arg-type]
