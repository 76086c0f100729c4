"""Routes for what people bring along: pictures, texts to read, styles, token counts, previews of control hints."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated, Any, TypeVar

from fastapi import APIRouter, Depends, Query
from fastapi.responses import FileResponse, Response
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from backend.errors import SignetError
from backend.inputs import Input
from backend.library import ReadPicture
from backend.preprocessors import PREPROCESSORS, Slider
from backend.prompts.styles import Style
from backend.requests.values import part
from backend.types import ControlUnit, Principal
from backend.upscalers import LATENT, PIXEL
from webui.api import records
from webui.api.body import json_object, picture
from webui.api.replies import Reply
from webui.desk import Desk
from webui.messages import clean, from_validation

T = TypeVar("T", bound=BaseModel)
_LONGEST = 4000
_BINARY = {"type": "string", "format": "binary"}
_KINDS = ("image/png", "image/jpeg", "image/webp", "image/avif", "application/octet-stream")
_PICTURE = {"requestBody": {"required": True, "content": {kind: {"schema": _BINARY} for kind in _KINDS}}}


class _In(BaseModel):
    model_config = ConfigDict(extra="forbid")


class TextIn(_In):
    text: str = Field(max_length=1 << 20)


class TokensIn(_In):
    text: str = Field(max_length=100_000)
    model: str = ""
    steps: int = Field(20, ge=1, le=1000)
    negative: bool = False


class StyleIn(_In):
    name: str = Field(min_length=1, max_length=200)
    prompt: str = Field("", max_length=20_000)
    negative: str = Field("", max_length=20_000)


class InputOut(BaseModel):
    id: str = Field(description="The sha256 of the bytes; names the picture in requests.")
    width: int
    height: int
    media_type: str
    url: str


class TokensOut(BaseModel):
    tokens: int
    chunks: int
    limit: int


class ReadOut(BaseModel):
    """What a file says about itself. Every text is a stranger's."""

    program: str
    prompt: str
    negative: str
    parameters: dict[str, str]
    unknown: dict[str, str]
    fields: dict[str, Any] = Field(description="As a request would name them.")
    ignored: list[str]
    notes: list[str]


class StyleOut(BaseModel):
    name: str
    prompt: str
    negative: str


class SliderOut(BaseModel):
    label: str
    lowest: float
    highest: float
    default: float
    step: float


class PreprocessorOut(BaseModel):
    name: str
    label: str
    about: str
    low: SliderOut | None
    high: SliderOut | None
    missing: str = Field(description="What has to be installed first; empty if it works.")


def library_routes(desk: Desk, caller: Principal) -> APIRouter:
    router = APIRouter(tags=["library"])
    router.include_router(_picture_routes(desk, caller))
    router.include_router(_word_routes(desk))
    router.include_router(_control_routes(desk))
    return router


def _picture_routes(desk: Desk, caller: Principal) -> APIRouter:
    router = APIRouter()

    @router.post(
        "/inputs", status_code=201, response_model=InputOut, openapi_extra=_PICTURE, summary="Bring a picture along"
    )
    def put(data: Annotated[bytes, Depends(picture)]) -> Reply:
        return Reply(input_out(desk.library.put(data)), 201)

    @router.post("/inputs/from-record/{record_id}", status_code=201, response_model=InputOut, summary="Take your own")
    def take(
        record_id: str, reveal: Annotated[bool, Query(description="Take it although it is covered.")] = False
    ) -> Reply:
        data = desk.file(records.checked_id("record", record_id), caller, reveal=reveal).read_bytes()
        return Reply(input_out(desk.library.put(data)), 201)

    @router.get("/inputs/{ident}", response_model=InputOut, summary="A picture that was brought along")
    def one(ident: str) -> Reply:
        return Reply(input_out(desk.library.input(records.checked_id("picture", ident))))

    @router.get("/inputs/{ident}/file", response_class=FileResponse, summary="Its bytes, as they came")
    def file(ident: str) -> FileResponse:
        found = desk.library.input(records.checked_id("picture", ident))
        desk.trust.check_brought(found.id)
        headers = {
            "Cache-Control": "no-store",  # one of ours may be withheld later
            "X-Content-Type-Options": "nosniff",
            "Content-Security-Policy": "default-src 'none'; sandbox",
        }
        return FileResponse(found.path, media_type=found.media_type, headers=headers)

    @router.post("/read", response_model=ReadOut | None, openapi_extra=_PICTURE, summary="How a picture was made")
    def read(data: Annotated[bytes, Depends(picture)]) -> Reply:
        return Reply(read_out(desk.library.read(data)))

    @router.post("/read-text", response_model=ReadOut | None, summary="The same for pasted text")
    def read_text(body: Annotated[dict[str, Any], Depends(json_object)]) -> Reply:
        return Reply(read_out(desk.library.read_text(_valid(TextIn, body).text)))

    return router


def _word_routes(desk: Desk) -> APIRouter:
    router = APIRouter()

    @router.post("/tokens", response_model=TokensOut, summary="How much of the model's context a prompt takes")
    def tokens(body: Annotated[dict[str, Any], Depends(json_object)]) -> Reply:
        asked = _valid(TokensIn, body)
        return Reply(asdict(desk.library.tokens(asked.text, asked.model, asked.steps, negative=asked.negative)))

    @router.get("/styles", response_model=list[StyleOut], summary="Saved styles")
    def styles() -> Reply:
        return Reply([asdict(style) for style in desk.library.styles().values() if not style.divides])

    @router.post("/styles", status_code=201, response_model=StyleOut, summary="Save a style, or change it")
    def save(body: Annotated[dict[str, Any], Depends(json_object)]) -> Reply:
        asked = _valid(StyleIn, body)
        desk.library.save_style(Style(asked.name, asked.prompt, asked.negative))
        return Reply(asked.model_dump(), 201)

    @router.delete("/styles/{name:path}", status_code=204, summary="Delete a style; a .bak file keeps the list before")
    def delete(name: str) -> Response:
        desk.library.delete_style(name)
        return Response(status_code=204)

    @router.get("/wildcards", response_model=list[str], summary="Names that __name__ may use")
    def wildcards() -> Reply:
        return Reply(list(desk.library.wildcards()))

    @router.get("/upscalers", response_model=dict[str, list[str]], summary="Names of upscalers")
    def upscalers() -> Reply:
        own = [info.id for info in desk.library.catalog.all("upscaler")]
        return Reply({"pixel": [*PIXEL, *own], "latent": list(LATENT)})

    return router


def _control_routes(desk: Desk) -> APIRouter:
    router = APIRouter()

    @router.get("/control/preprocessors", response_model=list[PreprocessorOut], summary="Ways to make a control hint")
    def preprocessors() -> Reply:
        return Reply(
            [
                {
                    "name": one.name,
                    "label": one.label,
                    "about": one.about,
                    "low": _slider(one.low),
                    "high": _slider(one.high),
                    "missing": desk.library.missing(one.name),
                }
                for one in PREPROCESSORS.values()
            ]
        )

    @router.post("/control/hint", response_class=Response, summary="What a control unit will see (PNG)")
    def hint(body: Annotated[dict[str, Any], Depends(json_object)]) -> Response:
        unit = part("unit", {"model": "none", **body}, ControlUnit)
        desk.trust.check_brought(unit.image)
        return Response(desk.library.hint(unit), media_type="image/png", headers={"Cache-Control": "no-store"})

    return router


def _valid(shape: type[T], body: dict[str, Any]) -> T:
    try:
        return shape.model_validate(body)
    except ValidationError as error:
        raise SignetError(from_validation(error.errors())) from error


def _slider(found: Slider | None) -> dict[str, Any] | None:
    if found is None:
        return None
    return {name: getattr(found, name) for name in ("label", "lowest", "highest", "default", "step")}


def input_out(found: Input) -> dict[str, Any]:
    shown = {name: getattr(found, name) for name in ("id", "width", "height", "media_type")}
    return {**shown, "url": f"/api/v1/inputs/{found.id}/file"}


def read_out(found: ReadPicture | None) -> dict[str, Any] | None:
    """Cut to lengths a page can show."""
    if found is None:
        return None
    return {
        "program": clean(found.program, 100),
        "prompt": clean(found.prompt, _LONGEST * 4),
        "negative": clean(found.negative, _LONGEST * 4),
        "parameters": {clean(key, 100): clean(value, _LONGEST) for key, value in found.parameters.items()},
        "unknown": {clean(key, 100): clean(value, _LONGEST) for key, value in found.unknown.items()},
        "fields": dict(found.fields),
        "ignored": [clean(name, 100) for name in found.ignored],
        "notes": list(found.notes),
    }
