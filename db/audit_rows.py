"""Rows of the audit log: how they are read, shown and erased."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from sqlalchemy import Column, ColumnElement, Connection, LargeBinary, cast, func, select

from backend.errors import Unavailable
from db.audit_ports import Row, TextRow
from db.tables import audit_entries, audit_texts

AT_A_TIME = 2000


def unchanging(connection: Connection) -> Connection:
    """One state for all questions that follow. SQLite gives that to every transaction, PostgreSQL when asked."""
    if connection.dialect.name == "postgresql":
        return connection.execution_options(isolation_level="REPEATABLE READ")
    return connection


def head(row: Row) -> str:
    """ "number:hash"."""
    return f"{row[0]}:{row[3]}"


def last(connection: Connection) -> tuple[int, str] | None:
    """Number and hash of the newest entry, None in an empty log."""
    question = select(audit_entries.c.seq, audit_entries.c.hash).order_by(audit_entries.c.seq.desc()).limit(1)
    row = connection.execute(question).one_or_none()
    return None if row is None else (row.seq, row.hash)


def rows(connection: Connection) -> Iterator[Row]:
    """Every entry, by number, without holding them all."""
    columns = (_plain(connection, column) for column in audit_entries.c if column.name != "seq")
    question = select(audit_entries.c.seq, *columns).order_by(audit_entries.c.seq)
    for seq, body, previous, digest in connection.execute(question.execution_options(yield_per=AT_A_TIME)):
        yield seq, _word(body), _word(previous), _word(digest)


def texts(connection: Connection) -> Iterator[TextRow]:
    """Every text there is, by number and name."""
    columns = (_plain(connection, column) for column in audit_texts.c if column.name != "seq")
    question = select(audit_texts.c.seq, *columns).order_by(audit_texts.c.seq, audit_texts.c.name)
    for seq, name, salt, words in connection.execute(question.execution_options(yield_per=AT_A_TIME)):
        yield seq, _word(name), salt, words


def _plain(connection: Connection, column: Column[Any]) -> ColumnElement[Any]:
    """A column whatever was put into it: SQLite keeps any kind of value anywhere, and text that is no text."""
    return cast(column, LargeBinary) if connection.dialect.name == "sqlite" else column


def _word(value: bytes | str) -> str:
    return value.decode("utf-8", "surrogateescape") if isinstance(value, bytes) else value


def with_texts(connection: Connection) -> Iterator[tuple[int, str]]:
    """(number, body) of every entry that still has texts."""
    there = select(audit_texts.c.seq).distinct()
    question = select(audit_entries.c.seq, audit_entries.c.body).where(audit_entries.c.seq.in_(there))
    for row in connection.execute(question.order_by(audit_entries.c.seq)):
        yield row.seq, row.body


def erased(connection: Connection, numbers: Sequence[int]) -> int:
    """Delete the texts of these entries, and how many they were. SQLite overwrites their bytes."""
    if connection.dialect.name == "sqlite":
        connection.exec_driver_sql("PRAGMA secure_delete=ON").close()
    count = 0
    for at in range(0, len(numbers), AT_A_TIME):
        chosen = audit_texts.c.seq.in_(numbers[at : at + AT_A_TIME])
        count += connection.scalar(select(func.count()).select_from(audit_texts).where(chosen)) or 0
        connection.execute(audit_texts.delete().where(chosen))
    return count


def shown(number: int, body: str, digest: str, texts: Mapping[tuple[int, str], Any]) -> dict[str, Any]:
    """An entry for people. The text of a field is None where it was not kept, or no longer is."""
    try:
        entry = json.loads(body)
        named = entry["texts"]
        return {
            "seq": number,
            "time": entry["time"],
            "who": entry["who"]["id"],
            "roles": entry["who"]["roles"],
            "source": entry["who"]["source"],
            "event": entry["event"],
            "facts": entry["facts"],
            "texts": {name: _text(texts.get((number, name))) for name in named},
            "hash": digest,
        }
    except (ValueError, KeyError, TypeError) as error:
        raise Unavailable(
            f"Entry {number} of the audit log is damaged.", "Run: python3 launch.py audit verify"
        ) from error


def _text(row: Any) -> dict[str, str | None]:
    if row is None:
        return {"state": "erased", "text": None}
    if row.text is None:
        return {"state": "commitment", "text": None}
    return {"state": "kept", "text": row.text.decode("utf-8", "replace")}
