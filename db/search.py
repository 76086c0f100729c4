"""The words of prompts: an index that is made, checked and repaired at every start, and questions to it.

The index is derived from `records`, so no migration knows of it. PostgreSQL keeps it in a generated column, SQLite in
FTS5 beside the table. It is written here and not by triggers: SQLite before 3.41 calls a trigger that writes to FTS5
unsafe when trusted_schema is off, and a migration that rebuilds the table would drop triggers without a word.
"""

from __future__ import annotations

import unicodedata

from sqlalchemy import ColumnElement, Connection, Text, and_, bindparam, column, func, literal_column, table, text

MAX_TERMS = 64
"""Words of a search that count; the rest are ignored, because FTS5 refuses deeper questions."""

index = table("records_fts", column("rowid"), column("records_fts", Text))

_ADD = text("INSERT INTO records_fts (rowid, prompt, negative) VALUES (:seq, :prompt, :negative)")
_DROP = text(
    "INSERT INTO records_fts (records_fts, rowid, prompt, negative) VALUES ('delete', :seq, :prompt, :negative)"
)


def heal(connection: Connection) -> bool:
    """Make the index if it is missing and fill it if it does not fit the table. True if it had to be filled."""
    if connection.dialect.name == "postgresql":
        _heal_postgresql(connection)
        return False
    connection.exec_driver_sql(
        "CREATE VIRTUAL TABLE IF NOT EXISTS records_fts USING fts5(prompt, negative, "
        "content='records', content_rowid='seq', tokenize='unicode61 remove_diacritics 2')"
    )
    if _count(connection, "records") == _count(connection, "records_fts_docsize"):
        return False
    connection.exec_driver_sql("INSERT INTO records_fts (records_fts) VALUES ('rebuild')")
    return True


def add(connection: Connection, seq: int, prompt: str, negative: str) -> None:
    """Index the words of row `seq`, in the transaction that inserts it."""
    if connection.dialect.name == "sqlite":
        connection.execute(_ADD, {"seq": seq, "prompt": prompt, "negative": negative})


def drop(connection: Connection, seq: int, prompt: str, negative: str) -> None:
    """Take the words of row `seq`, which must be those it was added with, out of the index when the row goes."""
    if connection.dialect.name == "sqlite":
        connection.execute(_DROP, {"seq": seq, "prompt": prompt, "negative": negative})


def _count(connection: Connection, name: str) -> int:
    return connection.execute(func.count().select().select_from(table(name))).scalar_one()


def _heal_postgresql(connection: Connection) -> None:
    # Asked for first: ALTER TABLE takes an exclusive lock even where there is nothing to do.
    there = connection.scalar(text("SELECT to_regclass('ix_records_search') IS NOT NULL"))
    if not there:
        connection.exec_driver_sql(
            "ALTER TABLE records ADD COLUMN IF NOT EXISTS search tsvector GENERATED ALWAYS AS "
            "(to_tsvector('simple', prompt || ' ' || negative)) STORED"
        )
        connection.exec_driver_sql("CREATE INDEX IF NOT EXISTS ix_records_search ON records USING gin (search)")


def belongs(name: str, kind: str) -> bool:
    """Whether a thing found in the database is part of the index, not of the tables."""
    return name.startswith("records_fts") or (kind, name) in {("column", "search"), ("index", "ix_records_search")}


def terms(words: str) -> tuple[str, ...]:
    """The words to look for. Control characters part words; a word without a letter or digit is left out."""
    cleaned = "".join(" " if unicodedata.category(char) in ("Cc", "Cs") else char for char in words)
    spoken = (word for word in cleaned.split() if any(unicodedata.category(char)[0] in "LN" for char in word))
    return tuple(spoken)[:MAX_TERMS]


def fts5_question(asked: tuple[str, ...]) -> str:
    """`asked` for MATCH: every word quoted, so that nothing in it is an operator, and the last one as a prefix."""
    return " ".join('"' + word.replace('"', '""') + '"' for word in asked) + "*"


def postgresql_question(asked: tuple[str, ...]) -> ColumnElement[bool]:
    """The same question for PostgreSQL."""
    search: ColumnElement[str] = literal_column("records.search")
    whole = [search.op("@@")(func.plainto_tsquery("simple", word)) for word in asked[:-1]]
    # Inside quotes only the quote itself and the backslash mean anything to to_tsquery.
    last = "'" + asked[-1].replace("\\", "\\\\").replace("'", "''") + "':*"
    return and_(*whole, search.op("@@")(func.to_tsquery("simple", bindparam(None, last, Text))))


def cleaned(words: str) -> str:
    """`words` as the index may keep them: PostgreSQL takes no NUL, and no database takes half a character pair."""
    return "".join(" " if char == "\0" or unicodedata.category(char) == "Cs" else char for char in words)
