"""Routes for "See how it works": the film of a picture, where its words looked, and the path of a sampler."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Annotated, Any

from fastapi import APIRouter, Query
from fastapi.responses import Response
from pydantic import BaseModel, Field

from backend import samplers
from backend.errors import NotFound
from backend.explain import path
from backend.requests.values import whole
from backend.wire import Frame, Maps
from webui.api.records import checked_id
from webui.api.replies import Reply
from webui.desk import Desk
from webui.messages import clean

_UNKEPT = {"Cache-Control": "no-store"}
_Name = Annotated[str, Query(max_length=300)]


class FrameOut(BaseModel):
    index: int = Field(description="Which picture of the job.")
    step: int
    url: str = Field(description="The estimate of the finished picture after this step.")
    noisy: str = Field(description="What the model was given at this step.")
    sigma: float = Field(description="Noise level at the beginning of the step.")
    moved: float = Field(description="How far the step took the sample (RMS, in latents).")
    changed: float | None = Field(description="How far the estimate is from that of the step before (RMS, in latents).")


class WordMapOut(BaseModel):
    index: int
    step: int
    number: int = Field(description="Place of the word in the prompt.")
    word: str
    share: float = Field(description="Of all the attention that went to words; all words of a step make 1.")
    url: str


class AskOut(BaseModel):
    step: int
    sigma: float
    timestep: float


class PathOut(BaseModel):
    sampler: str
    schedule: str
    model: str
    sigmas: list[float] = Field(description="Noise level at the beginning of every step, and at the end of the last.")
    timesteps: list[float] = Field(description="Training timestep at the beginning of every step; may be fractional.")
    moves: list[int] = Field(description="Forwards of the model per step.")
    snr: list[float] = Field(description="1 / sigma^2 at the beginning of every step.")
    asks: list[AskOut] = Field(description="Every forward of the model, in order.")
    sigma_min: float
    sigma_max: float
    note: str


def explain_routes(desk: Desk) -> APIRouter:
    router = APIRouter(tags=["explain"])

    @router.get("/explain/path", response_model=PathOut, summary="The noise levels a sampler will visit")
    def the_path(
        sampler: _Name = "Euler", schedule: _Name = samplers.AUTOMATIC, steps: int = 20, model: _Name = ""
    ) -> Reply:
        info = desk.library.model(model or desk.settings.default_model)
        return Reply(asdict(path(sampler, schedule, whole("steps", steps, 1, desk.settings.max_steps), info)))

    @router.get("/jobs/{job_id}/frames", response_model=list[FrameOut], summary="Frames of the film, if one was asked")
    def frames(job_id: str) -> Reply:
        found = desk.frames(checked_id("job", job_id))
        return Reply([_frame_out(found[key]) for key in sorted(found)])

    @router.get("/jobs/{job_id}/frames/{index}/{step}", response_class=Response, summary="The estimate (JPEG)")
    def frame(job_id: str, index: int, step: int) -> Response:
        return _jpeg(_frame(desk, job_id, index, step).jpeg)

    @router.get("/jobs/{job_id}/frames/{index}/{step}/noisy", response_class=Response, summary="What went in (JPEG)")
    def noisy(job_id: str, index: int, step: int) -> Response:
        return _jpeg(_frame(desk, job_id, index, step).noisy)

    @router.get("/jobs/{job_id}/maps", response_model=list[WordMapOut], summary="Where the words of the prompt looked")
    def maps(job_id: str) -> Reply:
        found = desk.maps(checked_id("job", job_id))
        return Reply([out for key in sorted(found) for out in _maps_out(found[key])])

    @router.get("/jobs/{job_id}/maps/{index}/{step}/{number}", response_class=Response, summary="One heat map (PNG)")
    def heat(job_id: str, index: int, step: int, number: int) -> Response:
        found = desk.maps(checked_id("job", job_id)).get((index, step))
        if found is None or not 0 <= number < len(found.words):
            raise NotFound("map", f"{index}/{step}/{number}")
        return Response(found.words[number].png, media_type="image/png", headers=_UNKEPT)

    return router


def _frame(desk: Desk, job_id: str, index: int, step: int) -> Frame:
    found = desk.frames(checked_id("job", job_id)).get((index, step))
    if found is None:
        raise NotFound("frame", f"{index}/{step}")
    return found


def _jpeg(data: bytes) -> Response:
    return Response(data, media_type="image/jpeg", headers=_UNKEPT)


def _frame_out(frame: Frame) -> Mapping[str, Any]:
    url = f"/api/v1/jobs/{frame.job_id}/frames/{frame.index}/{frame.step}"
    numbers = {name: getattr(frame, name) for name in ("index", "step", "sigma", "moved", "changed")}
    return {**numbers, "url": url, "noisy": url + "/noisy"}


def _maps_out(maps: Maps) -> list[Mapping[str, Any]]:
    base = f"/api/v1/jobs/{maps.job_id}/maps/{maps.index}/{maps.step}"
    where = {"index": maps.index, "step": maps.step}
    return [
        {**where, "number": number, "word": clean(one.word, 100), "share": one.share, "url": f"{base}/{number}"}
        for number, one in enumerate(maps.words)
    ]
