"""The history: pictures that exist, and intents for those about to."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from sqlalchemy import Connection, Row, select

from backend.errors import NotFound
from backend.types import HistoryPage, HistoryQuery, Passport, Record
from db import pages, search
from db.engine import Database
from db.jobs import count_images, move_within
from db.tables import intents, jobs, records

_MARKS_AT_A_TIME = 10_000


def _read(row: Row[Any]) -> Record:
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
    )


def _row(record: Record) -> dict[str, Any]:
    passport = record.passport
    return {
        "id": record.id,
        "job_id": record.job_id,
        "idx": record.index,
        "created": passport.created,
        "model": passport.model.id,
        "sampler": passport.request.sampler,
        "rating": record.rating,
        "sha256": passport.sha256,
        "mark_id": int(passport.watermark.mark_id, 16),
        "path": record.path,
        "thumbnail_path": record.thumbnail_path,
        "prompt": search.cleaned(passport.request.prompt),
        "negative": search.cleaned(passport.request.negative),
        "tags": list(record.tags),
        "infotext": record.infotext,
        "passport": passport.model_dump(mode="json"),
    }


class SqlHistory:
    """backend.ports.HistoryStore over the database. Every call is one short transaction."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def intend(self, record: Record) -> None:
        """Note durably that the file of `record` is about to be written (replaces an earlier intent of the same id)."""
        with self._database.writing() as connection:
            connection.execute(intents.delete().where(intents.c.id == record.id))
            connection.execute(intents.insert().values(id=record.id, record=record.model_dump(mode="json")))

    def intents(self) -> tuple[Record, ...]:
        """Oldest first."""
        with self._database.reading() as connection:
            noted = connection.scalars(select(intents.c.record).order_by(intents.c.seq))
            return tuple(Record.model_validate(record) for record in noted)

    def forget(self, record_id: str) -> None:
        """Drop an intent whose file never came to be."""
        with self._database.writing() as connection:
            connection.execute(intents.delete().where(intents.c.id == record_id))

    def commit(self, record: Record, *, last: bool) -> None:
        """Insert the record, drop its intent, count it, and with `last` move the job to done: all or nothing.

        A record that is already there is left as it is. Raises Conflict if the job may not become done (it was
        cancelled meanwhile); then nothing is changed.
        """
        with self._database.writing() as connection:
            if connection.scalar(select(records.c.seq).where(records.c.id == record.id)) is None:
                row = _row(record)
                seq = connection.execute(records.insert().returning(records.c.seq), row).scalar_one()
                search.add(connection, seq, row["prompt"], row["negative"])
            connection.execute(intents.delete().where(intents.c.id == record.id))
            count_images(connection, record.job_id)
            if last and connection.scalar(select(jobs.c.state).where(jobs.c.id == record.job_id)) != "done":
                move_within(connection, record.job_id, "done")

    def get(self, record_id: str) -> Record | None:
        return self._one(records.c.id == record_id)

    def by_sha256(self, sha256: str) -> Record | None:
        return self._one(records.c.sha256 == sha256)

    def _one(self, condition: Any) -> Record | None:
        with self._database.reading() as connection:
            row = connection.execute(select(records).where(condition)).one_or_none()
        return None if row is None else _read(row)

    def page(self, query: HistoryQuery) -> HistoryPage:
        """Newest first. Raises InvalidParameter for a bad cursor, limit or rating, never for the words of `text`."""
        question = pages.page_question(query, sqlite=self._database.sqlite)
        with self._database.reading() as connection:
            rows = connection.execute(question).all()
        shown = rows[: query.limit]
        following = pages.cursor_of(shown[-1].seq) if len(rows) > len(shown) else None
        return HistoryPage(records=tuple(_read(row) for row in shown), next=following)

    def marks(self) -> Iterable[tuple[str, int]]:
        """(record id, 48-bit mark id) of every picture, oldest first; read in parts, so no transaction stays open."""
        seq = 0
        columns = select(records.c.seq, records.c.id, records.c.mark_id).order_by(records.c.seq).limit(_MARKS_AT_A_TIME)
        while True:
            with self._database.reading() as connection:
                part = connection.execute(columns.where(records.c.seq > seq)).all()
            if not part:
                return
            yield from ((row.id, row.mark_id) for row in part)
            seq = part[-1].seq

    def of_job(self, job_id: str) -> tuple[Record, ...]:
        """In order of index."""
        question = select(records).where(records.c.job_id == job_id).order_by(records.c.idx)
        with self._database.reading() as connection:
            return tuple(_read(row) for row in connection.execute(question))

    def rate(self, record_id: str, rating: int) -> Record:
        """Give 0 to 5 stars. Raises InvalidParameter or NotFound."""
        pages.check_rating(rating)
        with self._database.writing() as connection:
            connection.execute(records.update().where(records.c.id == record_id).values(rating=rating))
            return _read(_present(connection, record_id))

    def delete(self, record_id: str) -> Record:
        """Remove the row and return what it was. Raises NotFound."""
        with self._database.writing() as connection:
            row = _present(connection, record_id)
            connection.execute(records.delete().where(records.c.seq == row.seq))
            search.drop(connection, row.seq, row.prompt, row.negative)
            count_images(connection, row.job_id)
        return _read(row)

    def choices(self) -> Mapping[str, tuple[str, ...]]:
        """Distinct values for the filters: {"model": (...), "sampler": (...)}, sorted."""
        with self._database.reading() as connection:
            return {
                column.name: tuple(connection.scalars(select(column).distinct().order_by(column)))
                for column in (records.c.model, records.c.sampler)
            }


def _present(connection: Connection, record_id: str) -> Row[Any]:
    row = connection.execute(select(records).where(records.c.id == record_id)).one_or_none()
    if row is None:
        raise NotFound("picture", record_id)
    return row
