"""Routes for plans, which make many jobs of one request, and for the extensions they come from."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict
from typing import Annotated, Any

from fastapi import APIRouter, Depends
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from backend.errors import SignetError
from backend.plans import PlanTicket
from backend.types import Job, JobState, Principal
from backend.types.plans import Argument, FilledAxis, Plan, PlanKind
from webui.api import records
from webui.api.body import described, json_object
from webui.api.replies import Reply
from webui.desk import Desk
from webui.messages import clean, from_validation

_ENDED: frozenset[JobState] = frozenset({"done", "cancelled", "refused", "failed", "interrupted"})


class PlanIn(BaseModel):
    """A request as for /jobs, and the plan's own arguments by name."""

    model_config = ConfigDict(extra="forbid")

    fields: dict[str, Any] = Field(description="A request, as for /jobs; seed and count are the plan's business.")
    arguments: dict[str, Any] = Field(default_factory=dict, description="Those that GET /plans lists, by name.")


class AxisOut(BaseModel):
    name: str
    kind: str
    example: str
    choices: list[str] = Field(description="Everything a choice can be; empty for numbers and text.")


class ArgumentOut(BaseModel):
    name: str
    label: str
    kind: str = Field(description="axis, flag, whole, choice or pictures.")
    about: str
    default: Any
    choices: list[str]
    minimum: int
    maximum: int


class PlanKindOut(BaseModel):
    name: str
    title: str
    about: str
    arguments: list[ArgumentOut]


class PlansOut(BaseModel):
    plans: list[PlanKindOut]
    axes: list[AxisOut] = Field(description='For arguments of the kind axis: {"axis": name, "values": text}.')


class DraftOut(BaseModel):
    pictures: int
    sheets: int
    shape: list[int] = Field(description="Pictures along each axis.")


class PlannedOut(BaseModel):
    """A job of a plan, in brief; all of it is at /jobs/{id}."""

    id: str
    state: JobState
    label: str = Field(description="What is special about it.")
    records: list[str]
    problem: dict[str, Any] | None


class TicketOut(BaseModel):
    id: str
    kind: str
    shape: list[int]
    jobs: list[PlannedOut]
    grids: list[PlannedOut]
    states: dict[str, int] = Field(description="How many jobs, grids included, are in which state.")
    ended: bool


class ExtensionOut(BaseModel):
    name: str
    title: str
    version: str
    about: str
    doors: list[str] = Field(description="What it was granted.")
    on: bool
    failures: int
    problem: str = Field(description="The last thing that went wrong in it.")


_BODY = described(PlanIn)


def extension_routes(desk: Desk, caller: Principal) -> APIRouter:
    router = APIRouter(tags=["plans"])

    def ticket_out(ticket: PlanTicket) -> dict[str, Any]:
        every = (*ticket.jobs, *ticket.grids)
        states = Counter(job.state for job in every)
        return {
            "id": ticket.id,
            "kind": ticket.kind,
            "shape": list(ticket.shape),
            "jobs": [shown(job, label) for job, label in zip(ticket.jobs, ticket.labels, strict=True)],
            "grids": [shown(job, job.request.grid.title if job.request.grid else "") for job in ticket.grids],
            "states": dict(states),
            "ended": all(job.state in _ENDED for job in every),
        }

    def shown(job: Job, label: str) -> dict[str, Any]:
        made = desk.of_job(job.id) if job.images else ()
        return {
            "id": job.id,
            "state": job.state,
            "label": clean(label, 300),
            "records": [record.id for record in made],
            "problem": None if job.problem is None else dict(job.problem),
        }

    @router.get("/plans", response_model=PlansOut, summary="Ways to make many pictures of one request")
    def plans() -> Reply:
        kinds = [kind_out(kind) for kind in desk.plans.kinds()]
        return Reply({"plans": kinds, "axes": [axis_out(filled) for filled in desk.plans.axes()]})

    @router.post(
        "/plans/{kind}", status_code=202, response_model=TicketOut, openapi_extra=_BODY, summary="Queue all of a plan"
    )
    def submit(kind: str, body: Annotated[dict[str, Any], Depends(json_object)]) -> Reply:
        asked = _asked(body)
        ticket = desk.plans.submit(records.checked_id("plan", kind), asked.fields, asked.arguments, caller)
        return Reply(ticket_out(ticket), 202, {"Location": f"/api/v1/plans/{ticket.id}"})

    @router.post(
        "/plans/{kind}/draft", response_model=DraftOut, openapi_extra=_BODY, summary="How many pictures it would be"
    )
    def draft(kind: str, body: Annotated[dict[str, Any], Depends(json_object)]) -> Reply:
        asked = _asked(body)
        return Reply(draft_out(desk.plans.draft(records.checked_id("plan", kind), asked.fields, asked.arguments)))

    @router.get("/plans/{plan_id}", response_model=TicketOut, summary="How a plan is getting on")
    def ticket(plan_id: str) -> Reply:
        return Reply(ticket_out(desk.plans.ticket(records.checked_id("plan", plan_id))))

    @router.delete("/plans/{plan_id}", response_model=TicketOut, summary="Cancel all that is left of a plan")
    def cancel(plan_id: str) -> Reply:
        return Reply(ticket_out(desk.plans.cancel(records.checked_id("plan", plan_id), caller)))

    @router.get("/extensions", response_model=list[ExtensionOut], summary="Extensions and how they do")
    def extensions() -> Reply:
        return Reply([{**asdict(state), "problem": clean(state.problem, 300)} for state in desk.plans.extensions()])

    return router


def _asked(body: dict[str, Any]) -> PlanIn:
    try:
        return PlanIn.model_validate(body)
    except ValidationError as error:
        raise SignetError(from_validation(error.errors())) from error


def kind_out(kind: PlanKind) -> dict[str, Any]:
    return {
        "name": kind.name,
        "title": kind.title,
        "about": kind.about,
        "arguments": [argument_out(argument) for argument in kind.arguments],
    }


def argument_out(argument: Argument) -> dict[str, Any]:
    return asdict(argument)


def axis_out(filled: FilledAxis) -> dict[str, Any]:
    shown = {name: getattr(filled.axis, name) for name in ("name", "kind", "example")}
    return {**shown, "choices": [clean(name, 300) for name in filled.choices]}


def draft_out(plan: Plan) -> dict[str, Any]:
    return {"pictures": len(plan.drafts), "sheets": len(plan.sheets), "shape": list(plan.shape)}
