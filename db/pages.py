"""Questions to the history, as SQL: filters, words, and pages that start after a cursor instead of counting rows."""

from __future__ import annotations

import base64
import binascii
from datetime import datetime, time, timedelta
from typing import Any

from sqlalchemy import ColumnElement, Select, and_, false, select

from backend.errors import InvalidParameter
from backend.types import HistoryQuery
from db import reading, search
from db.tables import records, utc

MAX_PAGE = 500
MAX_RATING = 5
_MARK = "s1:"
_LARGEST_KEY = 2**63 - 1


def cursor_of(seq: int) -> str:
    """The cursor after which the next page starts. Opaque to everybody else."""
    return base64.urlsafe_b64encode(f"{_MARK}{seq}".encode()).decode().rstrip("=")


def seq_of(cursor: str) -> int:
    """The key inside a cursor. Raises InvalidParameter("before") for anything `cursor_of` did not make."""
    try:
        text = base64.urlsafe_b64decode((cursor + "=" * (-len(cursor) % 4)).encode("ascii")).decode("ascii")
        seq = int(text.removeprefix(_MARK))
    except (ValueError, binascii.Error):
        seq = -1
    if not 0 <= seq <= _LARGEST_KEY or cursor_of(seq) != cursor:
        raise InvalidParameter("before", "This is not a cursor of the history.", "Start again from the first page.")
    return seq


def check_rating(rating: int) -> int:
    """Raises InvalidParameter unless `rating` is 0 to 5 stars."""
    if not 0 <= rating <= MAX_RATING:
        raise InvalidParameter("rating", f"A rating is 0 to {MAX_RATING} stars.")
    return rating


def last_moment(until: datetime) -> datetime:
    """The last moment that `until` includes: midnight stands for the whole day it begins."""
    moment = utc(until)
    return moment + timedelta(days=1, microseconds=-1) if moment.time() == time.min else moment


def page_question(query: HistoryQuery, *, sqlite: bool) -> Select[Any]:
    """One row more than the page holds, newest first: the extra row tells that there is a next page.

    Keys are found first and rows read afterwards, so that rows that are skipped cost no reading of their JSON. Raises
    InvalidParameter for a bad cursor, limit or rating.
    """
    if not 1 <= query.limit <= MAX_PAGE:
        raise InvalidParameter("limit", f"A page holds 1 to {MAX_PAGE} pictures.")
    keys, order = matching(query, sqlite=sqlite)
    if query.before is not None:
        keys = keys.where(order < seq_of(query.before))
    found = keys.order_by(order.desc()).limit(query.limit + 1).subquery("found")
    return reading.question().join(found, records.c.seq == found.c.seq).order_by(records.c.seq.desc())


def matching(query: HistoryQuery, *, sqlite: bool) -> tuple[Select[Any], ColumnElement[int]]:
    """Keys of the pictures with those words and filters, whatever the page, and the column to order them by."""
    keys = select(records.c.seq)
    order: ColumnElement[Any] = records.c.seq
    if query.text.strip():
        asked = search.terms(query.text)
        if not asked:
            keys = keys.where(false())
        elif sqlite:
            # FTS5 hands out rows by descending rowid without sorting; rank would read and sort every hit.
            order = search.index.c.rowid
            keys = keys.select_from(search.index.join(records, records.c.seq == search.index.c.rowid))
            keys = keys.where(search.index.c.records_fts.match(search.fts5_question(asked)))
        else:
            keys = keys.where(search.postgresql_question(asked))
    return keys.where(and_(True, *_filters(query))), order


def _filters(query: HistoryQuery) -> list[ColumnElement[bool]]:
    wanted: list[ColumnElement[bool]] = []
    if query.model is not None:
        wanted.append(records.c.model == query.model)
    if query.sampler is not None:
        wanted.append(records.c.sampler == query.sampler)
    if query.rating is not None and check_rating(query.rating):
        wanted.append(records.c.rating >= query.rating)
    if query.handling is not None:
        wanted.append(records.c.handling == query.handling)
    if query.since is not None:
        wanted.append(records.c.created >= utc(query.since))
    if query.until is not None:
        wanted.append(records.c.created <= last_moment(query.until))
    return wanted
