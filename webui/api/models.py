"""Routes of the catalogue: cards of every kind, one model, its preview picture, the user's notes."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Protocol, get_args
from urllib.parse import quote

from fastapi import APIRouter, Depends, Query
from fastapi.responses import Response
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from backend import images
from backend.errors import NotFound, Problem, SignetError, UnreadableImage
from backend.models.cards import Sort
from backend.models.sidecars import Notes
from backend.types import ModelCard, ModelInfo, ModelKind
from webui.api.body import json_object
from webui.api.replies import Reply
from webui.api.shapes import ModelOut, RefusedModelOut, refused_model_out
from webui.messages import clean, from_validation

KINDS: tuple[str, ...] = get_args(ModelKind)
MAX_PREVIEW = 16 << 20
"""Bytes of a preview picture that is sent."""


class ModelDesk(Protocol):
    """What these routes ask of the front desk. Every method may be called from any thread and raises SignetError."""

    def cards(
        self, kind: ModelKind, text: str = "", folder: str | None = None, sort: Sort = "name"
    ) -> tuple[ModelCard, ...]: ...
    def card(self, name: str, kind: ModelKind = "checkpoint") -> ModelCard: ...
    def model(self, name: str, kind: ModelKind = "checkpoint") -> ModelInfo: ...
    def why_not(self, addition: ModelInfo, model: ModelInfo) -> str: ...
    def model_preview(self, name: str, kind: ModelKind) -> Path | None: ...
    def save_notes(self, name: str, kind: ModelKind, notes: Notes) -> ModelCard: ...
    def refused_models(self) -> Mapping[str, Problem]: ...
    def models_version(self) -> int: ...


class CardOut(ModelOut):
    """A model with what people are shown about it. Every text is a stranger's and plain."""

    kind: ModelKind
    variant: str
    pipeline: str | None
    width: int | None = Field(description="Of the text that cross-attention takes.")
    autov3: str | None
    has_vae: bool = Field(description="Whether an autoencoder lies beside the checkpoint.")
    folder: str
    description: str
    author: str
    source: str
    base_model: str
    triggers: list[str]
    notes: str
    preferred_weight: float | None
    preview: str | None = Field(description="Address of a picture.")
    why_not: str = Field("", description="Why it cannot be used with the checkpoint named in `fits`.")


class TagOut(BaseModel):
    tag: str
    count: int


class FullCardOut(CardOut):
    tags: list[TagOut]
    metadata: dict[str, str]


class VersionOut(BaseModel):
    version: int


class NotesIn(BaseModel):
    """Nothing leaves a field as it is. Kept in A1111's x.json beside the model."""

    model_config = ConfigDict(extra="forbid")

    notes: str | None = Field(None, max_length=20_000)
    description: str | None = Field(None, max_length=20_000)
    activation_text: str | None = Field(None, max_length=2_000)
    negative_text: str | None = Field(None, max_length=2_000)
    preferred_weight: float | None = Field(None, ge=-10, le=10, allow_inf_nan=False)


_NOTES_BODY = {"requestBody": {"content": {"application/json": {"schema": NotesIn.model_json_schema()}}}}
_SHOWN = ("kind", "variant", "pipeline", "width", "autov3", "id", "title", "family", "layout", "factor")
_SAID = ("folder", "description", "author", "source", "base_model", "notes", "preferred_weight")


def card_out(card: ModelCard, why_not: str = "") -> dict[str, Any]:
    """Without any path: where models lie on the disk is nobody's business outside."""
    info = card.info
    return {
        **{name: getattr(info, name) for name in (*_SHOWN, "native_size", "size", "licence", "sha256")},
        **{name: getattr(card, name) for name in _SAID},
        "defaults": dict(info.defaults),
        "has_vae": info.vae is not None,
        "triggers": list(card.triggers),
        "preview": f"/api/v1/models/preview/{info.kind}?id={_quoted(info.id)}" if card.preview else None,
        "why_not": why_not,
    }


def full_card_out(card: ModelCard) -> dict[str, Any]:
    tags = [{"tag": tag, "count": count} for tag, count in card.tags]
    return {**card_out(card), "tags": tags, "metadata": dict(card.metadata)}


def _quoted(ident: str) -> str:
    return quote(ident, safe="", errors="replace")


def _kind(name: str) -> Any:
    if name not in KINDS:
        raise NotFound("kind of model", clean(name, 80))
    return name


def _ident(text: str) -> str:
    if not text or len(text) > 300 or "\x00" in text:
        raise NotFound("model", clean(text.replace("\x00", " "), 80))
    return text


def model_routes(desk: ModelDesk) -> APIRouter:
    router = APIRouter(tags=["models"])

    @router.get("/models", response_model=list[CardOut], summary="Models of one kind on this machine")
    def models(
        kind: Annotated[ModelKind, Query()] = "checkpoint",
        text: Annotated[str, Query(max_length=200, description="Words, all of which must occur.")] = "",
        folder: Annotated[str | None, Query(max_length=300)] = None,
        sort: Annotated[Sort, Query()] = "name",
        fits: Annotated[str | None, Query(max_length=300, description="Id of a checkpoint: adds `why_not`.")] = None,
    ) -> Reply:
        checkpoint = desk.model(_ident(fits)) if fits else None
        found = desk.cards(kind, text, folder, sort)
        reasons = (desk.why_not(card.info, checkpoint) if checkpoint else "" for card in found)
        return Reply([card_out(card, why) for card, why in zip(found, reasons, strict=True)])

    @router.get("/models/refused", response_model=list[RefusedModelOut], summary="Models that cannot be used, and why")
    def refused_models() -> Reply:
        return Reply([refused_model_out(name, problem) for name, problem in desk.refused_models().items()])

    @router.get("/models/version", response_model=VersionOut, summary="A number that grows when models change")
    def version() -> Reply:
        return Reply({"version": desk.models_version()})

    @router.get("/models/preview/{kind}", response_class=Response, summary="The picture beside a model")
    def preview(kind: str, id: Annotated[str, Query(max_length=300)]) -> Response:
        path = desk.model_preview(_ident(id), _kind(kind))
        if path is None:
            raise NotFound("preview of model", clean(id, 80))
        return _picture(path)

    @router.get("/models/{kind}/{ident:path}", response_model=FullCardOut, summary="Everything about one model")
    def model(kind: str, ident: str) -> Reply:
        return Reply(full_card_out(desk.card(_ident(ident), _kind(kind))))

    @router.patch(
        "/models/{kind}/{ident:path}", response_model=FullCardOut, summary="Write notes", openapi_extra=_NOTES_BODY
    )
    def write(kind: str, ident: str, body: Annotated[dict[str, Any], Depends(json_object)]) -> Reply:
        try:
            notes = NotesIn.model_validate(body)
        except ValidationError as error:
            raise SignetError(from_validation(error.errors())) from error
        return Reply(full_card_out(desk.save_notes(_ident(ident), _kind(kind), Notes(**notes.model_dump()))))

    return router


def _picture(path: Path) -> Response:
    """A stranger's file, sent only if its first bytes are those of a picture, and as nothing but a picture."""
    try:
        if path.stat().st_size > MAX_PREVIEW:
            raise NotFound("preview", path.name)
        data = path.read_bytes()[: MAX_PREVIEW + 1]
        kind = images.media_type(data[:32])
    except (OSError, UnreadableImage) as error:
        raise NotFound("preview", clean(path.name, 80)) from error
    return Response(
        data,
        media_type=kind,
        headers={
            "X-Content-Type-Options": "nosniff",
            "Content-Disposition": "inline",
            "Content-Security-Policy": "default-src 'none'; sandbox",
            "Cache-Control": "private, max-age=60",
        },
    )
