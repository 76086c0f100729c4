"""Routes for presets: named sets of form fields."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Depends
from fastapi.responses import Response
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from backend.errors import SignetError
from webui.api.body import described, json_object
from webui.api.replies import Reply
from webui.desk import Desk
from webui.messages import from_validation


class PresetIn(BaseModel):
    model_config = ConfigDict(extra="forbid")

    fields: dict[str, Any] = Field(description="As a request would name them.")


class PresetOut(BaseModel):
    name: str
    fields: dict[str, Any]


_BODY = described(PresetIn)


def preset_routes(desk: Desk) -> APIRouter:
    router = APIRouter(tags=["presets"])

    @router.get("/presets", response_model=list[PresetOut], summary="Presets, by name")
    def presets() -> Reply:
        return Reply([{"name": name, "fields": fields} for name, fields in desk.library.presets.all().items()])

    @router.put(
        "/presets/{name:path}", response_model=PresetOut, openapi_extra=_BODY, summary="Save a preset, or change it"
    )
    def save(name: str, body: Annotated[dict[str, Any], Depends(json_object)]) -> Reply:
        try:
            fields = PresetIn.model_validate(body).fields
        except ValidationError as error:
            raise SignetError(from_validation(error.errors())) from error
        desk.library.presets.put(name, fields)
        return Reply({"name": name.strip(), "fields": fields})

    @router.delete("/presets/{name:path}", status_code=204, summary="Delete a preset")
    def delete(name: str) -> Response:
        desk.library.presets.delete(name)
        return Response(status_code=204)

    return router
