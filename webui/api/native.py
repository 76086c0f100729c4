"""The native API under /api/v1. Each route translates and calls the front desk, nothing else."""

from __future__ import annotations

from contextlib import suppress
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Header, Query
from fastapi.responses import Response, StreamingResponse
from pydantic import Field

from backend import samplers
from backend.errors import NotFound
from backend.requests.values import flag, text, whole
from backend.types import Job, Principal, VerifyReport
from backend.version import VERSION
from webui.api import events, records
from webui.api.audits import audit_routes
from webui.api.body import described, json_object, picture
from webui.api.explain import explain_routes
from webui.api.extensions import extension_routes
from webui.api.library import library_routes
from webui.api.models import model_routes
from webui.api.presets import preset_routes
from webui.api.replies import Reply
from webui.api.shapes import (
    HealthOut,
    JobIn,
    JobOut,
    JobsOut,
    ProblemOut,
    QueueOut,
    SamplerOut,
    job_out,
    sampler_out,
)
from webui.api.training import training_routes
from webui.api.trust import PassportOut, trust_routes
from webui.desk import Desk

CALLER = Principal(source="api")


class VerifyOut(VerifyReport):
    page: PassportOut = Field(description="The same as a Passport, row by row.")


_PROBLEM = {"description": "What went wrong (RFC 9457)", "content": {"application/problem+json": {}}}
_JOB_BODY = described(JobIn)
_BINARY = {"type": "string", "format": "binary"}
_FORM = {"type": "object", "properties": {"file": _BINARY}, "required": ["file"]}
_PICTURE_BODY = {
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {"schema": _FORM},
            **{kind: {"schema": _BINARY} for kind in (*records.SERVED, "application/octet-stream")},
        },
    }
}


def native_routes(desk: Desk) -> APIRouter:
    router = APIRouter(prefix="/api/v1", responses={"default": {**_PROBLEM, "model": ProblemOut}})
    router.include_router(_job_routes(desk))
    router.include_router(records.routes(desk, CALLER))
    router.include_router(_queue_routes(desk))
    router.include_router(_studio_routes(desk))
    router.include_router(explain_routes(desk))
    router.include_router(library_routes(desk, CALLER))
    router.include_router(model_routes(desk.library))
    router.include_router(training_routes(desk))
    router.include_router(extension_routes(desk, CALLER))
    router.include_router(preset_routes(desk))
    router.include_router(trust_routes(desk, CALLER))
    router.include_router(audit_routes(desk, CALLER))
    return router


def _job_routes(desk: Desk) -> APIRouter:
    router = APIRouter(tags=["jobs"])

    def shown(job: Job) -> dict[str, Any]:
        happened = desk.events(job.id, 0)
        return job_out(job, desk.of_job(job.id), happened[-1].seq if happened else 0)

    def find(job_id: str) -> Job:
        return desk.job(records.checked_id("job", job_id))

    @router.post("/jobs", status_code=202, response_model=JobOut, openapi_extra=_JOB_BODY, summary="Ask for pictures")
    def submit(body: Annotated[dict[str, Any], Depends(json_object)]) -> Reply:
        job = desk.submit(body, CALLER)
        return Reply(job_out(job), 202, {"Location": f"/api/v1/jobs/{job.id}"})

    @router.get("/jobs", response_model=JobsOut, summary="Your newest jobs")
    def recent(limit: Annotated[int, Query(ge=1, le=100)] = 20) -> Reply:
        return Reply({"jobs": [shown(job) for job in desk.jobs(CALLER, limit)]})

    @router.get("/jobs/{job_id}", response_model=JobOut, summary="One job")
    def job(job_id: str) -> Reply:
        return Reply(shown(find(job_id)))

    @router.delete("/jobs/{job_id}", response_model=JobOut, summary="Cancel a job; takes effect within a step")
    def cancel(job_id: str) -> Reply:
        return Reply(shown(desk.cancel(find(job_id).id, CALLER)))

    @router.post(
        "/jobs/{job_id}/resume", status_code=202, response_model=JobOut, summary="Run an interrupted job again"
    )
    def resume(job_id: str) -> Reply:
        return Reply(shown(desk.resume(find(job_id).id, CALLER)), 202, {"Location": f"/api/v1/jobs/{job_id}"})

    @router.get("/jobs/{job_id}/events", response_class=StreamingResponse, summary="What happens, as it happens")
    def watch(
        job_id: str,
        after: Annotated[str | None, Query(description="Sequence number to go on from.")] = None,
        last_event_id: Annotated[str | None, Header()] = None,
    ) -> StreamingResponse:
        start = events.starting_point(last_event_id, after)
        return StreamingResponse(
            events.stream(desk, find(job_id).id, start),
            media_type="text/event-stream",
            headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"},
        )

    @router.get("/jobs/{job_id}/preview", response_class=Response, summary="The newest preview (JPEG)")
    def preview(job_id: str) -> Response:
        image = desk.preview(find(job_id).id)
        if image is None:
            raise NotFound("preview of job", job_id)
        return Response(image, media_type="image/jpeg", headers={"Cache-Control": "no-store"})

    return router


def _queue_routes(desk: Desk) -> APIRouter:
    router = APIRouter(tags=["queue"])

    def shown() -> dict[str, Any]:
        now = desk.health()
        return {
            "paused": now.paused,
            "running": [job_out(job) for job in desk.running()],
            "waiting": [job_out(job) for job in desk.waiting()],
        }

    @router.get("/queue", response_model=QueueOut, summary="What runs and what waits, in order")
    def queue() -> Reply:
        return Reply(shown())

    @router.patch("/queue", response_model=QueueOut, summary="Pause the queue or let it go on")
    def pause(body: Annotated[dict[str, Any], Depends(json_object)]) -> Reply:
        desk.pause(flag("paused", body.get("paused")))
        return Reply(shown())

    @router.patch("/jobs/{job_id}", response_model=QueueOut, summary="Move a waiting job to a place among your own")
    def move(job_id: str, body: Annotated[dict[str, Any], Depends(json_object)]) -> Reply:
        desk.move_in_line(records.checked_id("job", job_id), whole("place", body.get("place"), 0, 10_000), CALLER)
        return Reply(shown())

    @router.post("/models/unload", status_code=204, summary="Let a model go from memory, once no job needs it")
    def unload(body: Annotated[dict[str, Any], Depends(json_object)]) -> Response:
        desk.unload(text("id", body.get("id"), 300))
        return Response(status_code=204)

    return router


def _studio_routes(desk: Desk) -> APIRouter:
    router = APIRouter(tags=["studio"])

    @router.get("/samplers", response_model=list[SamplerOut], summary="Samplers with their schedules")
    def all_samplers() -> Reply:
        return Reply([sampler_out(sampler) for sampler in samplers.SAMPLERS.values()])

    @router.post(
        "/verify",
        response_model=VerifyOut,
        openapi_extra=_PICTURE_BODY,
        summary="What can be said about any picture",
    )
    def verify(data: Annotated[bytes, Depends(picture)]) -> Reply:
        report = desk.verify(data)
        record = None
        if report.history.match == "exact" and report.history.record_id:
            with suppress(NotFound):  # deleted meanwhile
                record = desk.record(report.history.record_id)
        page = desk.trust.passport(record, report)
        return Reply({**report.model_dump(mode="json"), "page": dict(page)})

    @router.get("/health", response_model=HealthOut, summary="How the studio is")
    def health() -> Reply:
        now = desk.health()
        names = ("engine", "detail", "device", "waiting", "running", "free_bytes", "memory_used", "memory_budget")
        extra = {
            "paused": now.paused,
            "version": VERSION,
            "policy": desk.trust.policy()["name"],
            "share": False,
            "blur_previews": desk.settings.blur_previews,
            "by_meaning": desk.meaning.there,
        }
        return Reply({**{name: getattr(now, name) for name in names}, "loaded": list(now.loaded), **extra})

    return router
