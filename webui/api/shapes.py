"""What the native API says, as schemas: the OpenAPI description is made from these."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from datetime import datetime
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from backend.errors import Problem
from backend.samplers import Sampler
from backend.trust import why_covered
from backend.types import Event, Handling, Job, JobState, Record
from webui.messages import as_mapping, clean


class JobIn(BaseModel):
    """A request for pictures. Only the prompt is needed; the model fills in the rest.

    Values are checked by the same code for every face, so this schema describes and does not decide.
    """

    model_config = ConfigDict(extra="forbid")

    prompt: str = Field("", examples=["a red apple on a wooden table"])
    mode: str | None = Field(None, description="txt2img (default), img2img, inpaint, upscale, convert or grid.")
    negative: str | None = Field(None, description="What to keep out of the picture.")
    styles: list[str] | None = Field(None, description="Names of saved styles.")
    loras: list[dict[str, Any]] | None = Field(None, description='Beside <lora:...> tags: {"id", "text", "unet"}.')
    width: int | None = Field(None, description="Pixels; a multiple of the model's factor.")
    height: int | None = Field(None, description="Pixels; a multiple of the model's factor.")
    steps: int | None = Field(None, description="Denoising steps.")
    sampler: str | None = None
    schedule: str | None = None
    cfg: float | None = Field(None, description="Guidance scale; 1 switches guidance off.")
    cfg_rescale: float | None = Field(None, description="Against colours burnt by guidance, 0 to 1.")
    cfg_interval: tuple[float, float] | None = Field(None, description="Shares of the steps with guidance.")
    seed: int | None = Field(None, description="Picture i uses seed + i; -1 or nothing draws one.")
    variation: dict[str, Any] | None = Field(None, description='{"seed", "strength"}: towards another seed.')
    resize_from: tuple[int, int] | None = Field(None, description="Width and height the noise is drawn for.")
    count: int | None = Field(None, description="Number of pictures.")
    model: str | None = None
    vae: str | None = None
    clip_skip: int | None = Field(None, description="1 is the text encoder's last layer.")
    emphasis: str | None = Field(None, description="original, no norm, ignore or none.")
    eta: float | None = Field(None, description="Noise of ancestral samplers and DDIM, 0 to 1.")
    churn: dict[str, Any] | None = Field(None, description='{"churn", "tmin", "tmax", "noise"}.')
    tiling: bool | None = Field(None, description="A picture that fits to itself on all sides.")
    init_image: str | None = Field(None, description="Id of a picture sent to /inputs.")
    denoise: float | None = Field(None, description="How much of it is made anew, 0 to 1.")
    resize: str | None = Field(None, description="stretch, crop, fill or latent.")
    noise_multiplier: float | None = None
    inpaint: dict[str, Any] | None = Field(
        None, description='{"mask", "blur", "inverted", "area": whole|masked, "padding", "fill"}.'
    )
    outpaint: dict[str, Any] | None = Field(None, description='Pixels: {"left", "right", "up", "down"}.')
    control: list[dict[str, Any]] | None = Field(
        None, description='Units: {"image", "model", "preprocessor", "weight", "start", "end", "mode", ...}.'
    )
    hires: dict[str, Any] | None = Field(
        None, description='A second pass: {"scale" or "width" and "height", "upscaler", "steps", "denoise", ...}.'
    )
    upscale: dict[str, Any] | None = Field(None, description='{"upscaler", "diffusion", "tile", "overlap"}.')
    refiner: dict[str, Any] | None = Field(None, description='{"model", "switch"}.')
    grid: dict[str, Any] | None = Field(None, description='A sheet: {"cells": job ids, "columns", labels}.')
    film: list[int] | None = Field(None, description="Steps to keep a small frame of, for /jobs/{id}/frames.")
    maps: bool | None = Field(None, description="With film: where each word looked, for /jobs/{id}/maps.")
    format: str | None = Field(None, description="Of the sealed file: png (default), jpeg, webp or avif.")
    quality: int | None = Field(None, description="Of JPEG and WebP, 50 to 100.")
    bucket: int | None = Field(None, description="Rows in a denoiser batch (1, 2, 4, 8), to repeat a picture exactly.")
    policy: str | None = Field(None, description="shared or classroom: a stricter policy for this request alone.")
    consent: bool | None = Field(None, description="The people in the pictures brought agreed to what is made of them.")
    client_extras: dict[str, Any] | None = None


class RatingIn(BaseModel):
    model_config = ConfigDict(extra="forbid")

    rating: int = Field(ge=0, le=5, description="Stars; 0 takes them away.")


class ProblemOut(BaseModel):
    """RFC 9457."""

    type: str
    code: str
    title: str
    status: int
    detail: str
    field: str | None = None
    hint: str | None = None
    retry_after: float | None = None


class JobOut(BaseModel):
    id: str
    state: JobState
    created: datetime
    updated: datetime
    attempt: int
    images: int
    request: dict[str, Any]
    problem: dict[str, Any] | None
    records: list[str] = Field(description="Ids of the pictures that are in the history.")
    last_seq: int = Field(description="Sequence number of the newest event.")


class JobsOut(BaseModel):
    jobs: list[JobOut]


class QueueOut(BaseModel):
    paused: bool
    running: list[JobOut]
    waiting: list[JobOut]


class Links(BaseModel):
    file: str
    download: str
    thumbnail: str


class RecordOut(Record):
    cover: Handling = Field(description="How it is handed out now: show, blur (only with reveal=1) or withhold.")
    covered: str = Field(description="Why it is covered; empty if it is not.")
    urls: Links


class PageOut(BaseModel):
    records: list[RecordOut]
    next: str | None = Field(description="Cursor for `before`; nothing when this was the last page.")


class NearestOut(PageOut):
    scores: list[float] = Field(description="How near each picture is: a cosine, 1 at most.")
    waiting: int = Field(description="Pictures that nobody has looked at yet; they are not found.")


class ModelOut(BaseModel):
    id: str
    title: str
    family: str
    layout: str
    factor: int
    native_size: int
    size: int
    licence: str
    sha256: str | None
    defaults: dict[str, Any]


class RefusedModelOut(BaseModel):
    name: str = Field(description="Of the file or folder.")
    problem: ProblemOut


class SamplerOut(BaseModel):
    name: str
    about: str
    note: str = Field(description="Where it differs from its namesake; empty if it does not.")
    max_steps: int
    schedules: list[str]
    aliases: list[str]


class HealthOut(BaseModel):
    engine: str
    detail: str
    device: str | None
    waiting: int
    running: int
    free_bytes: int
    loaded: list[str]
    memory_used: int = Field(description="Bytes of weights in memory.")
    memory_budget: int
    paused: bool
    version: str
    policy: str
    share: bool
    blur_previews: bool
    by_meaning: bool = Field(description="Whether the history can be searched by what pictures show.")


def job_out(job: Job, records: tuple[Record, ...] = (), last_seq: int = 0) -> dict[str, Any]:
    return {
        "id": job.id,
        "state": job.state,
        "created": job.created.isoformat(),
        "updated": job.updated.isoformat(),
        "attempt": job.attempt,
        "images": job.images,
        "request": job.request.model_dump(mode="json"),
        "problem": None if job.problem is None else dict(job.problem),
        "records": [record.id for record in records],
        "last_seq": last_seq,
    }


def record_out(record: Record) -> dict[str, Any]:
    base = f"/api/v1/records/{record.id}"
    urls = {"file": f"{base}/file", "download": f"{base}/file?download=1", "thumbnail": f"{base}/thumbnail"}
    covered = "" if record.handling == "show" else why_covered(record)
    return {**record.model_dump(mode="json"), "cover": record.handling, "covered": covered, "urls": urls}


def refused_model_out(name: str, problem: Problem) -> dict[str, Any]:
    return {"name": clean(name, 300), "problem": as_mapping(problem)}


def sampler_out(sampler: Sampler) -> dict[str, Any]:
    named = {name: getattr(sampler, name) for name in ("name", "about", "note", "max_steps")}
    return {**named, "schedules": list(sampler.schedules), "aliases": list(sampler.aliases)}


def event_out(event: Event) -> Mapping[str, Any]:
    """Without what is empty: most events are a step and little else."""
    return {key: value for key, value in asdict(event).items() if value is not None and value != ""}
