"""Vectors of what pictures show: kept beside the history, asked for by key, gone with the picture.

Only pictures that are shown have one: a search by meaning would tell what a covered one shows.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from sqlalchemy import delete, func, select

from backend.types import HistoryQuery, Record
from db import pages, reading
from db.engine import Database
from db.reading import read
from db.tables import records, vectors

_AT_A_TIME = 500
_SHOWN = records.c.handling == "show"


class SqlVectors:
    """backend.ports.VectorStore over the database. `version` names the space that vectors lie in."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def missing(self, version: str, before: int | None = None, limit: int = 100) -> tuple[tuple[int, Record], ...]:
        """Pictures that are shown and have no vector of this version, with their keys, newest first, below `before`."""
        lacking = ~select(vectors.c.seq).where(vectors.c.version == version, vectors.c.seq == records.c.seq).exists()
        question = reading.question().where(_SHOWN, lacking)
        if before is not None:
            question = question.where(records.c.seq < before)
        with self._database.reading() as connection:
            rows = connection.execute(question.order_by(records.c.seq.desc()).limit(limit)).all()
        return tuple((row.seq, read(row)) for row in rows)

    def count(self, version: str) -> tuple[int, int]:
        """Pictures that are shown, and how many of them have a vector of this version."""
        shown = select(func.count()).select_from(records).where(_SHOWN)
        with self._database.reading() as connection:
            there = shown.where(records.c.seq.in_(select(vectors.c.seq).where(vectors.c.version == version)))
            return connection.execute(shown).scalar_one(), connection.execute(there).scalar_one()

    def put(self, seq: int, version: str, vector: bytes) -> None:
        """Keep a vector in place of an older one. A picture that has gone or was covered meanwhile gets none."""
        with self._database.writing() as connection:
            connection.execute(delete(vectors).where(vectors.c.seq == seq))
            if connection.scalar(select(records.c.seq).where(records.c.seq == seq, _SHOWN)) is not None:
                connection.execute(vectors.insert().values(seq=seq, version=version, vector=vector))

    def drop_covered(self) -> None:
        """Forget what pictures show that were covered since."""
        covered = select(records.c.seq).where(records.c.handling.in_(("blur", "withhold")))
        with self._database.reading() as connection:
            some = connection.scalar(select(vectors.c.seq).where(vectors.c.seq.in_(covered)).limit(1))
        if some is not None:
            with self._database.writing() as connection:
                connection.execute(delete(vectors).where(vectors.c.seq.in_(covered)))

    def key(self, record_id: str) -> int | None:
        """The key of a picture that is shown."""
        with self._database.reading() as connection:
            return connection.scalar(select(records.c.seq).where(records.c.id == record_id, _SHOWN))

    def keys(self, query: HistoryQuery, version: str) -> Sequence[int]:
        """Keys of the shown pictures with a vector that fit the words and filters of `query`, oldest first."""
        found, order = pages.matching(query, sqlite=self._database.sqlite)
        there = records.c.seq.in_(select(vectors.c.seq).where(vectors.c.version == version))
        with self._database.reading() as connection:
            return connection.execute(found.where(_SHOWN, there).order_by(order)).scalars().all()

    def read(self, version: str, keys: Sequence[int] | None = None) -> Iterable[tuple[int, bytes]]:
        """(key, vector) of all pictures, or of those with `keys`, oldest first."""
        question = select(vectors.c.seq, vectors.c.vector).where(vectors.c.version == version).order_by(vectors.c.seq)
        parts = [None] if keys is None else [keys[at : at + _AT_A_TIME] for at in range(0, len(keys), _AT_A_TIME)]
        for part in parts:
            asked = question if part is None else question.where(vectors.c.seq.in_(part))
            with self._database.reading() as connection:
                yield from ((row.seq, row.vector) for row in connection.execute(asked))

    def records(self, keys: Sequence[int]) -> Mapping[int, Record]:
        """By key; without those that went or were covered meanwhile."""
        with self._database.reading() as connection:
            rows = connection.execute(reading.question().where(records.c.seq.in_(keys), _SHOWN)).all()
        return {row.seq: read(row) for row in rows}
