"""The history: pictures that exist, and intents for those about to."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from typing import Any

from sqlalchemy import Connection, Row, select

from backend.errors import NotFound
from backend.types import HistoryPage, HistoryQuery, Record
from db import pages, reading, search
from db.engine import Database
from db.jobs import count_images, move_within
from db.reading import read
from db.tables import intents, jobs, records, reviews

_MARKS_AT_A_TIME = 10_000


def _mark_id(record: Record) -> int:
    """The number that its mark leads back from. A mark that was kept leads to another picture, so this one gets a
    number of its own, which no mark has."""
    if record.passport.watermark.kept:
        return int.from_bytes(hashlib.sha256(f"kept {record.id}".encode()).digest()[:6], "big")
    return int(record.passport.watermark.mark_id, 16)


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
        "mark_id": _mark_id(record),
        "path": record.path,
        "thumbnail_path": record.thumbnail_path,
        "prompt": search.cleaned(passport.request.prompt),
        "negative": search.cleaned(passport.request.negative),
        "tags": list(record.tags),
        "infotext": record.infotext,
        "passport": passport.model_dump(mode="json"),
        "handling": record.handling,
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
            row = connection.execute(reading.question().where(condition)).one_or_none()
        return None if row is None else read(row)

    def page(self, query: HistoryQuery) -> HistoryPage:
        """Newest first. Raises InvalidParameter for a bad cursor, limit or rating, never for the words of `text`."""
        question = pages.page_question(query, sqlite=self._database.sqlite)
        with self._database.reading() as connection:
            rows = connection.execute(question).all()
        shown = rows[: query.limit]
        following = pages.cursor_of(shown[-1].seq) if len(rows) > len(shown) else None
        return HistoryPage(records=tuple(read(row) for row in shown), next=following)

    def latent_seeds(self) -> tuple[tuple[str, int], ...]:
        """(record id, seed) of every picture that carries a mark in its noise."""
        document = records.c.passport
        marked = document["latent_mark"].as_string()
        query = select(records.c.id, document["seed"].as_integer()).where(marked.is_not(None), marked != "")
        with self._database.reading() as connection:
            return tuple((name, seed) for name, seed in connection.execute(query.order_by(records.c.seq)))

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

    def audit_heads(self) -> Iterable[str]:
        """The heads of the audit log that Passports quote, each once: every picture is a witness of the log."""
        head = records.c.passport["audit_head"].as_string()
        with self._database.reading() as connection:
            return tuple(connection.scalars(select(head).where(head != "").distinct()))

    def of_job(self, job_id: str) -> tuple[Record, ...]:
        """In order of index."""
        question = reading.question().where(records.c.job_id == job_id).order_by(records.c.idx)
        with self._database.reading() as connection:
            return tuple(read(row) for row in connection.execute(question))

    def rate(self, record_id: str, rating: int) -> Record:
        """Give 0 to 5 stars. Raises InvalidParameter or NotFound."""
        pages.check_rating(rating)
        with self._database.writing() as connection:
            connection.execute(records.update().where(records.c.id == record_id).values(rating=rating))
            return read(_present(connection, record_id))

    def delete(self, record_id: str) -> Record:
        """Remove the row, with what was decided about it, and return what it was. Raises NotFound."""
        with self._database.writing() as connection:
            row = _present(connection, record_id)
            connection.execute(records.delete().where(records.c.seq == row.seq))
            connection.execute(reviews.delete().where(reviews.c.record_id == record_id))
            search.drop(connection, row.seq, row.prompt, row.negative)
            count_images(connection, row.job_id)
        return read(row)

    def choices(self) -> Mapping[str, tuple[str, ...]]:
        """Distinct values for the filters: {"model": (...), "sampler": (...)}, sorted."""
        with self._database.reading() as connection:
            return {
                column.name: tuple(connection.scalars(select(column).distinct().order_by(column)))
                for column in (records.c.model, records.c.sampler)
            }


def _present(connection: Connection, record_id: str) -> Row[Any]:
    row = connection.execute(reading.question().where(records.c.id == record_id)).one_or_none()
    if row is None:
        raise NotFound("picture", record_id)
    return row
