"""Routes about trust: the policy in force, the review, the passport page, and the audit log."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query
from fastapi.responses import FileResponse
from pydantic import BaseModel, ConfigDict, Field

from backend.errors import InvalidParameter, NotFound
from backend.types import Principal
from webui.api import records
from webui.api.body import described, json_object
from webui.api.replies import Reply
from webui.api.shapes import PageOut, RecordOut, record_out
from webui.desk import Desk


class PolicyOut(BaseModel):
    """The policy in force; every category with what it means and what follows from it."""

    model_config = ConfigDict(extra="allow")

    id: str
    name: str


class PolicyIn(BaseModel):
    """What to change; the rest stays. Only the owner may, and what is refused for everybody stays refused."""

    model_config = ConfigDict(extra="forbid")

    profile: str | None = Field(None, description="Start anew from personal, shared or classroom.")
    actions: dict[str, str] | None = Field(None, description="Category to allow, note, blur, withhold or refuse.")
    roles: dict[str, dict[str, str]] | None = Field(None, description="Stricter for some: role to such a table.")
    flagged: str | None = Field(None, description="What becomes of a flagged picture: blur or withhold.")
    flag_from: float | None = Field(None, description="A score below the detectors' own from which they flag.")
    previews: str | None = Field(None, description="show, blur or none.")


class DecisionIn(BaseModel):
    model_config = ConfigDict(extra="forbid")

    decision: str = Field(description="released, withheld or false-alarm.")
    note: str = ""


class PassportOut(BaseModel):
    rows: list[dict[str, Any]] = Field(description="What is known, each with a state and a reason.")
    duties: list[dict[str, Any]] = Field(description="What law and codes ask for, and whether it is met.")


class LogOut(BaseModel):
    entries: list[dict[str, Any]]
    next: int | None = Field(description="Cursor for `before`.")
    head: str


def trust_routes(desk: Desk, caller: Principal) -> APIRouter:
    router = APIRouter(tags=["trust"])

    @router.get("/policy", response_model=PolicyOut, summary="The policy in force")
    def policy() -> Reply:
        return Reply(dict(desk.trust.policy()))

    @router.put("/policy", response_model=PolicyOut, summary="Change the policy", openapi_extra=described(PolicyIn))
    def change(body: Annotated[dict[str, Any], Depends(json_object)]) -> Reply:
        return Reply(dict(desk.trust.change_policy(body, caller)))

    @router.get("/review", response_model=PageOut, summary="Covered pictures that wait for a decision")
    def waiting(
        before: Annotated[str | None, Query(description="Cursor: `next` of the page before.")] = None,
        limit: Annotated[int, Query(ge=1, le=200)] = 50,
    ) -> Reply:
        found = desk.trust.waiting(before, limit)
        return Reply({"records": [record_out(record) for record in found.records], "next": found.next})

    @router.post(
        "/review/{record_id}", response_model=RecordOut, summary="Decide about one", openapi_extra=described(DecisionIn)
    )
    def decide(record_id: str, body: Annotated[dict[str, Any], Depends(json_object)]) -> Reply:
        decision, note = body.get("decision"), body.get("note", "")
        if not isinstance(decision, str) or not isinstance(note, str):
            raise InvalidParameter("decision", "A decision is a word, and a note is text.")
        return Reply(
            record_out(desk.trust.decide(records.checked_id("picture", record_id), decision, note.strip(), caller))
        )

    @router.get("/review/{record_id}/file", response_class=FileResponse, summary="The picture, for the owner")
    def file(record_id: str) -> FileResponse:
        found = desk.record(records.checked_id("picture", record_id))
        kind = found.passport.media_type
        path = desk.trust.reviewed_file(found.id, caller)
        if kind not in records.SERVED or not path.is_file():
            raise NotFound("file of picture", record_id)
        return FileResponse(path, media_type=kind, headers={"Cache-Control": "no-store"})

    @router.get("/records/{record_id}/passport", response_model=PassportOut, summary="The Passport, row by row")
    def passport(record_id: str) -> Reply:
        record = desk.record(records.checked_id("picture", record_id))
        return Reply(dict(desk.trust.passport(record, None)))

    @router.get("/audit-log", response_model=LogOut, summary="What was decided, newest first")
    def log(
        before: Annotated[int | None, Query(ge=1, description="Cursor: `next` of the page before.")] = None,
        limit: Annotated[int, Query(ge=1, le=500)] = 100,
    ) -> Reply:
        return Reply(dict(desk.trust.log_page(before, limit, caller)))

    @router.get("/audit-log/verify", response_model=dict[str, Any], summary="Check the whole chain")
    def verified() -> Reply:
        return Reply(dict(desk.trust.log_verified(caller)))

    return router
