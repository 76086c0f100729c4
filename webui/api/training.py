"""Routes of trainings, of LoRAs and embeddings: ask for one, watch it, stop it, let it go on."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query
from fastapi.responses import Response
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from backend.errors import NotFound, SignetError
from backend.training import TrainingPicture
from backend.types import Principal
from backend.types.training import Training, TrainingKind, TrainingRequest, TrainingState
from webui.api import records
from webui.api.body import json_object
from webui.api.replies import Reply
from webui.desk import Desk
from webui.messages import clean, from_validation

CALLER = Principal(source="api")
_MOST = 5_000


class PictureIn(BaseModel):
    model_config = ConfigDict(extra="forbid")

    image: str = Field(min_length=64, max_length=64, description="Id of a picture brought along (/inputs).")
    caption: str = Field("", max_length=4_000, description="What it shows; empty takes the trigger.")


class TrainingIn(BaseModel):
    """What is left out takes the defaults of the model. Name pictures, or a folder below the data folder."""

    model_config = ConfigDict(extra="forbid")

    kind: TrainingKind = Field("lora", description="lora, or embedding: a new word for prompts.")
    name: str = Field(min_length=1, max_length=80, description="Of the LoRA, or the word, as prompts will name it.")
    model: str = Field(min_length=1, max_length=300)
    images: list[PictureIn] = Field([], max_length=_MOST)
    folder: str = Field("", max_length=1_000)
    steps: int | None = None
    rank: int | None = None
    alpha: float | None = None
    learning_rate: float | None = None
    resolution: int | None = Field(None, description="Side of the square pictures in pixels.")
    batch: int | None = None
    seed: int | None = None
    targets: str | None = Field(None, description="attention or all (convolutions as well).")
    schedule: str | None = Field(None, description="constant or cosine.")
    flip: bool | None = Field(None, description="Learn from mirrored pictures too.")
    train_text_encoder: bool | None = None
    vectors: int | None = Field(None, description="Of an embedding: how many tokens the word takes, 1 to 8.")
    init_word: str | None = Field(None, description="Of an embedding: words it begins as.")
    save_every: int | None = Field(None, description="Steps between checkpoints.")
    sample_every: int | None = Field(None, description="Steps between sample pictures; 0 for none.")
    sample_prompt: str | None = Field(None, description="Without one, the caption of the first picture.")
    trigger: str | None = None
    licence: str | None = None


class SampleOut(BaseModel):
    step: int
    job: str
    state: str
    records: list[str]
    why: str = Field(description="Why there is no picture; empty if there is one or it is under way.")


class TrainingOut(BaseModel):
    id: str
    kind: TrainingKind
    name: str
    model: str
    state: TrainingState
    step: int
    steps: int
    losses: list[tuple[int, float]] = Field(description="Steps with their mean loss, at most 500.")
    average: float | None = Field(description="Moving average of the loss now.")
    eta: float | None = Field(description="Seconds that are left, where they can be told.")
    samples: list[SampleOut]
    pictures: int
    lora: str = Field(description="Name of the LoRA or embedding file, once it has been written.")
    message: str
    problem: dict[str, Any] | None
    created: str
    updated: str
    settings: dict[str, Any]


_SHOWN = ("id", "state", "step", "average", "pictures", "lora")


def training_routes(desk: Desk) -> APIRouter:
    router = APIRouter(prefix="/training", tags=["training"])

    def found(ident: str) -> Training:
        return desk.trainings.training(records.checked_id("training", ident))

    def shown(one: Training) -> dict[str, Any]:
        return training_out(one, desk)

    @router.post(
        "", status_code=202, response_model=TrainingOut, openapi_extra=_body(), summary="Train a LoRA or embedding"
    )
    def create(body: Annotated[dict[str, Any], Depends(json_object)]) -> Reply:
        asked = _valid(TrainingIn, body)
        given = asked.model_dump(exclude={"images", "folder"}, exclude_none=True)
        request = _valid(TrainingRequest, {**desk.trainings.defaults(asked.model, asked.kind), **given})
        pictures = [TrainingPicture(one.image, one.caption) for one in asked.images]
        made = desk.trainings.create(request, CALLER, pictures, asked.folder)
        return Reply(shown(made), 202, {"Location": f"/api/v1/training/{made.id}"})

    @router.get("", response_model=list[TrainingOut], summary="All trainings, newest first")
    def everything() -> Reply:
        return Reply([shown(one) for one in desk.trainings.trainings()])

    @router.get("/defaults", response_model=dict[str, Any], summary="Settings to start from, for a model")
    def defaults(model: Annotated[str, Query(max_length=300)], kind: TrainingKind = "lora") -> Reply:
        return Reply(dict(desk.trainings.defaults(model, kind)))

    @router.get("/{ident}", response_model=TrainingOut, summary="One training")
    def one(ident: str) -> Reply:
        return Reply(shown(found(ident)))

    @router.post("/{ident}/stop", status_code=202, response_model=TrainingOut, summary="Stop, and keep a checkpoint")
    def stop(ident: str) -> Reply:
        return Reply(shown(desk.trainings.stop(found(ident).id)), 202)

    @router.post("/{ident}/resume", status_code=202, response_model=TrainingOut, summary="Go on from the checkpoint")
    def resume(ident: str) -> Reply:
        return Reply(shown(desk.trainings.resume(found(ident).id)), 202)

    @router.delete("/{ident}", status_code=204, summary="Forget a training; the file it has written stays")
    def delete(ident: str) -> Response:
        desk.trainings.delete(found(ident).id)
        return Response(status_code=204)

    return router


def training_out(training: Training, desk: Desk) -> dict[str, Any]:
    request, left = training.request, training.request.steps - training.step
    running = training.state == "running" and training.seconds is not None
    return {
        **{name: getattr(training, name) for name in _SHOWN},
        "kind": request.kind,
        "name": clean(request.name, 100),
        "model": request.model,
        "steps": request.steps,
        "losses": [[step, round(loss, 6)] for step, loss in training.losses],
        "eta": left * training.seconds if running and training.seconds else None,
        "samples": [_sample_out(sample.step, sample.job_id, sample.why, desk) for sample in training.samples],
        "message": clean(training.message, 500),
        "problem": None if training.problem is None else dict(training.problem),
        "created": training.created.isoformat(),
        "updated": training.updated.isoformat(),
        "settings": request.model_dump(mode="json", exclude={"kind", "name", "model"}),
    }


def _sample_out(step: int, job_id: str, why: str, desk: Desk) -> dict[str, Any]:
    """A sample is a job like any other: what became of it is asked there."""
    if not job_id:
        return {"step": step, "job": "", "state": "refused", "records": [], "why": why}
    try:
        job = desk.job(job_id)
    except NotFound:
        return {"step": step, "job": job_id, "state": "gone", "records": [], "why": "The job is gone."}
    problem = job.problem or {}
    made = [record.id for record in desk.of_job(job_id)]
    return {"step": step, "job": job_id, "state": job.state, "records": made, "why": str(problem.get("detail", why))}


def _body() -> dict[str, Any]:
    """The schema in one piece: its references would lead nowhere inside the description of the whole API."""
    schema = {key: value for key, value in TrainingIn.model_json_schema().items() if key != "$defs"}
    images = {**schema["properties"]["images"], "items": PictureIn.model_json_schema()}
    whole = {**schema, "properties": {**schema["properties"], "images": images}}
    return {"requestBody": {"required": True, "content": {"application/json": {"schema": whole}}}}


def _valid(shape: Any, body: dict[str, Any]) -> Any:
    try:
        return shape.model_validate(body)
    except ValidationError as error:
        raise SignetError(from_validation(error.errors())) from error
