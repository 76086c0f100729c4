"""Routes for bias audits: choose a suite, run it as ordinary jobs, read the report, sign it."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Depends
from fastapi.responses import FileResponse
from pydantic import BaseModel, ConfigDict, Field

from backend.errors import InvalidParameter
from backend.types import Principal
from webui.api import records
from webui.api.body import described, json_object
from webui.api.replies import Reply
from webui.desk import Desk

_SANDBOX = "default-src 'none'; img-src data:; style-src 'unsafe-inline'; sandbox"
"""A report is one file with its own style and pictures; it may run nothing and ask for nothing."""


class OrderIn(BaseModel):
    """What to audit. Either `n` pictures for each prompt, or as many as a half width of the interval asks for."""

    model_config = ConfigDict(extra="forbid")

    suite: str
    model: str | None = None
    lora: str | None = Field(None, description='"name:weight", to audit the model with it.')
    against: str | None = Field(None, description='Another model to compare with, or "base": the same without LoRA.')
    n: int | None = Field(None, description="Pictures for each prompt.")
    half_width: float | None = Field(None, description="Wanted half width of a 95 % interval, such as 0.1.")
    seed: int | None = None
    steps: int | None = None


class SignIn(BaseModel):
    model_config = ConfigDict(extra="forbid")

    name: str = Field(description="Who signs off.")
    note: str = ""


class SuiteOut(BaseModel):
    model_config = ConfigDict(extra="allow")

    name: str
    title: str


class AuditOut(BaseModel):
    model_config = ConfigDict(extra="allow")

    id: str
    state: str


def audit_routes(desk: Desk, caller: Principal) -> APIRouter:
    router = APIRouter(prefix="/audits", tags=["audits"])

    def ident(audit_id: str) -> str:
        return records.checked_id("audit", audit_id)

    @router.get("/suites", response_model=list[SuiteOut], summary="What can be audited")
    def suites() -> Reply:
        return Reply([dict(each) for each in desk.audits.suites()])

    @router.post(
        "/plan", response_model=dict[str, Any], summary="How large an audit would be", openapi_extra=described(OrderIn)
    )
    def plan(body: Annotated[dict[str, Any], Depends(json_object)]) -> Reply:
        return Reply(dict(desk.audits.plan(body)))

    @router.get("", response_model=list[AuditOut], summary="All audits, newest first")
    def all_audits() -> Reply:
        return Reply([dict(each) for each in desk.audits.all()])

    @router.post(
        "", status_code=202, response_model=AuditOut, summary="Start an audit", openapi_extra=described(OrderIn)
    )
    def start(body: Annotated[dict[str, Any], Depends(json_object)]) -> Reply:
        return Reply(dict(desk.audits.start(body, caller)), 202)

    @router.get("/{audit_id}", response_model=AuditOut, summary="One audit with its result")
    def one(audit_id: str) -> Reply:
        return Reply(dict(desk.audits.one(ident(audit_id))))

    @router.post("/{audit_id}/cancel", response_model=AuditOut, summary="Stop it; what was made stays")
    def cancel(audit_id: str) -> Reply:
        return Reply(dict(desk.audits.cancel(ident(audit_id))))

    @router.post("/{audit_id}/resume", status_code=202, response_model=AuditOut, summary="Go on where it stopped")
    def resume(audit_id: str) -> Reply:
        return Reply(dict(desk.audits.resume(ident(audit_id), caller)), 202)

    @router.post("/{audit_id}/sign", response_model=AuditOut, summary="Sign it off", openapi_extra=described(SignIn))
    def sign(audit_id: str, body: Annotated[dict[str, Any], Depends(json_object)]) -> Reply:
        name, note = body.get("name"), body.get("note", "")
        if not isinstance(name, str) or not name.strip() or not isinstance(note, str):
            raise InvalidParameter("name", "A report is signed off by somebody with a name.", "Write your name.")
        return Reply(dict(desk.audits.sign(ident(audit_id), name.strip(), note.strip(), caller)))

    @router.get("/{audit_id}/report", response_class=FileResponse, summary="The report, one HTML file")
    def report(audit_id: str, download: bool = False) -> FileResponse:
        path = desk.audits.report(ident(audit_id))
        return FileResponse(
            path,
            media_type="text/html; charset=utf-8",
            filename=f"signet-audit-{audit_id}.html",
            content_disposition_type="attachment" if download else "inline",
            headers={"Cache-Control": "no-store", "Content-Security-Policy": _SANDBOX},
        )

    return router
