"""A row of the history as the shape everybody knows, with the owner's decision about it."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Row, Select, select

from backend.types import Passport, Record, Review
from db.tables import records, reviews


def question() -> Select[Any]:
    """Pictures with their reviews; add conditions and an order."""
    joined = records.outerjoin(reviews, reviews.c.record_id == records.c.id)
    return select(records, reviews.c.decision, reviews.c.who, reviews.c.decided, reviews.c.note).select_from(joined)


def read(row: Row[Any]) -> Record:
    """A row of `question`."""
    decided = row.decision is not None
    return Record(
        id=row.id,
        job_id=row.job_id,
        index=row.idx,
        path=row.path,
        thumbnail_path=row.thumbnail_path,
        passport=Passport.model_validate(row.passport),
        infotext=row.infotext,
        rating=row.rating,
        tags=tuple(row.tags),
        review=Review(decision=row.decision, who=row.who, when=row.decided, note=row.note) if decided else None,
    )
