"""Routes of the history: pages, one picture, its exact signed bytes, rating, deletion."""

from __future__ import annotations

import re
from datetime import UTC, datetime, time
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query, Request
from fastapi.responses import FileResponse
from pydantic import ValidationError

from backend.errors import InvalidParameter, NotFound, SignetError
from backend.types import HistoryQuery, Principal, Record
from webui.api.body import json_object
from webui.api.replies import Reply
from webui.api.shapes import NearestOut, PageOut, RatingIn, RecordOut, record_out
from webui.desk import Desk
from webui.messages import clean, from_validation

SERVED = {"image/png": ".png", "image/jpeg": ".jpg", "image/webp": ".webp", "image/avif": ".avif"}
FOREVER = "private, max-age=31536000, immutable"
_ID = re.compile(r"[A-Za-z0-9_-]{1,64}")


def checked_id(what: str, ident: str) -> str:
    """An id as we make them, or NotFound: nothing else reaches the database or the disk."""
    if not _ID.fullmatch(ident):
        raise NotFound(what, clean(ident, 80))
    return ident


def _moment(field: str, text: str | None, *, end: bool = False) -> datetime | None:
    """ISO date or date and time, UTC unless it says otherwise; a bare date means its first or last moment."""
    if not text:
        return None
    try:
        moment = datetime.fromisoformat(text)
        if end and len(text) <= len("2026-01-31"):
            moment = datetime.combine(moment.date(), time.max)
        return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    except (ValueError, OverflowError) as error:
        detail = f'"{clean(text, 40)}" is not a date.'
        raise InvalidParameter(field, detail, "Write it like 2026-01-31 or 2026-01-31T12:00:00Z.") from error


def _word(text: str | None) -> str | None:
    return clean(text.replace("\x00", " "), 300) if text else None


def asked(
    q: Annotated[str, Query(description="Words of the prompt; the last one may be unfinished.")] = "",
    model: str | None = None,
    sampler: str | None = None,
    rating: Annotated[int | None, Query(ge=0, le=5, description="At least so many stars.")] = None,
    since: Annotated[str | None, Query(description="ISO date or time, inclusive.")] = None,
    until: Annotated[str | None, Query(description="ISO date or time, inclusive.")] = None,
    before: Annotated[str | None, Query(description="Cursor: `next` of the page before.")] = None,
    limit: Annotated[int, Query(ge=1, le=200)] = 50,
) -> HistoryQuery:
    """The words, filters and page that an address asks for."""
    return HistoryQuery(
        text=_word(q) or "",
        model=_word(model),
        sampler=_word(sampler),
        rating=rating,
        since=_moment("since", since),
        until=_moment("until", until, end=True),
        before=_word(before),
        limit=limit,
    )


def _keeping(record: Record) -> str:
    """Signed bytes never change, but whether they may be seen does once somebody has to decide about them."""
    return FOREVER if record.handling == "show" and not record.review else "no-store"


def routes(desk: Desk, caller: Principal) -> APIRouter:
    router = APIRouter(tags=["records"])

    def sent(record: Record) -> Reply:
        return Reply(record_out(record))

    @router.get("/records", response_model=PageOut, summary="A page of the history, newest first")
    def page(query: Annotated[HistoryQuery, Depends(asked)]) -> Reply:
        found = desk.records(query)
        return Reply({"records": [record_out(record) for record in found.records], "next": found.next})

    @router.get("/nearest", response_model=NearestOut, summary="A page of the history by what the pictures show")
    def nearest(
        query: Annotated[HistoryQuery, Depends(asked)],
        meaning: Annotated[str, Query(description="What the pictures should show, in words.")] = "",
        like: Annotated[str, Query(description="Id of a picture that they should be like, instead of words.")] = "",
    ) -> Reply:
        model = desk.record(checked_id("picture", like)) if like else None
        found = desk.meaning.nearest(query, meaning=_word(meaning) or "", like=model)
        records = [record_out(record) for record in found.records]
        return Reply({"records": records, "scores": found.scores, "next": found.next, "waiting": found.waiting})

    @router.get("/filters", response_model=dict[str, list[str]], summary="Values to filter the history by")
    def filters() -> Reply:
        return Reply({key: list(values) for key, values in desk.filters().items()})

    @router.get("/records/{record_id}", response_model=RecordOut, summary="One picture with its Passport")
    def record(record_id: str) -> Reply:
        return sent(desk.record(checked_id("picture", record_id)))

    @router.patch(
        "/records/{record_id}",
        response_model=RecordOut,
        summary="Rate a picture",
        openapi_extra={"requestBody": {"content": {"application/json": {"schema": RatingIn.model_json_schema()}}}},
    )
    def rate(record_id: str, body: Annotated[dict[str, Any], Depends(json_object)]) -> Reply:
        try:
            rating = RatingIn.model_validate(body).rating
        except ValidationError as error:
            raise SignetError(from_validation(error.errors())) from error
        return sent(desk.rate(checked_id("picture", record_id), rating))

    @router.delete("/records/{record_id}", response_model=RecordOut, summary="Delete a picture and its file")
    def delete(record_id: str) -> Reply:
        return sent(desk.delete(checked_id("picture", record_id), caller))

    @router.get("/records/{record_id}/file", response_class=FileResponse, summary="The exact signed bytes")
    def file(
        record_id: str,
        request: Request,
        download: bool = False,
        reveal: Annotated[bool, Query(description="Show it although it is covered.")] = False,
    ) -> FileResponse:
        found = desk.record(checked_id("picture", record_id))
        kind = found.passport.media_type
        path = desk.file(found.id, caller, reveal=reveal)
        if kind not in SERVED or not path.is_file():
            raise NotFound("file of picture", record_id)
        name = f"signet-{found.id}{SERVED[kind]}"
        return FileResponse(
            path,
            media_type=kind,
            filename=name,
            content_disposition_type="attachment" if download else "inline",
            headers={"Cache-Control": _keeping(found)},
        )

    @router.get("/records/{record_id}/thumbnail", response_class=FileResponse, summary="A small picture for walls")
    def thumbnail(record_id: str) -> FileResponse:
        found = desk.record(checked_id("picture", record_id))
        path = desk.thumbnail(found.id)
        kinds = {suffix: kind for kind, suffix in SERVED.items()}
        if path.suffix not in kinds or not path.is_file():
            raise NotFound("thumbnail of picture", record_id)
        return FileResponse(path, media_type=kinds[path.suffix], headers={"Cache-Control": _keeping(found)})

    return router
