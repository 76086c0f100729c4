"""Open the database: connections, transactions, migrations, and a look at its health.

SQLite in the data folder by default, PostgreSQL by URL, with the same tables. SQLAlchemy takes over transactions from
the SQLite driver: readers say BEGIN, writers BEGIN IMMEDIATE, so that two writers queue instead of dead-locking.
"""

from __future__ import annotations

import json
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from sqlalchemy import Connection, Engine, create_engine, event, make_url
from sqlalchemy.exc import DBAPIError, IntegrityError, OperationalError
from sqlalchemy.pool import ConnectionPoolEntry

from backend.errors import Busy, Conflict, Problem, SignetError, StorageFull
from db import schema, search

WAIT_MS = 5000
"""How long a writer of SQLite waits for another one, in milliseconds."""

_FULL = frozenset({sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR_WRITE, sqlite3.SQLITE_IOERR_SHMSIZE})
_DAMAGED = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB})
_PLAIN_CODE = 0xFF
_SOME_ROOM = 2**20
"""Bytes that a transaction is said to need; the databases do not tell."""


def damaged(where: str, detail: str) -> SignetError:
    """The error for a database that cannot be trusted any more."""
    problem = Problem(
        "database-damaged",
        "The database is damaged",
        f"The database {where} is damaged: {detail[:200]}.",
        500,
        hint="Stop the studio, keep a copy of the file, and put a backup in its place. The pictures are not affected.",
    )
    return SignetError(problem)


class Database:
    """One open database. Close it, or use it as a context. Safe to use from several threads."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self._writer = engine.execution_options(signet_writes=True)

    @property
    def sqlite(self) -> bool:
        return self.engine.dialect.name == "sqlite"

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """A transaction that sees one unchanging state. Raises Busy or a SignetError for a damaged file."""
        with self._translated(), self.engine.connect() as connection:
            yield connection

    @contextmanager
    def writing(self) -> Iterator[Connection]:
        """A transaction that is committed at the end of the block, or rolled back as a whole if the block raises.

        Raises StorageFull when the disk is full, Busy when another writer holds the database for too long.
        """
        with self._translated(), self._writer.begin() as connection:
            yield connection

    def close(self) -> None:
        self.engine.dispose()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except DBAPIError as error:
            raise self._told(error) from error

    def _told(self, error: DBAPIError) -> Exception:
        """What a user should hear about an error of the driver; the error itself if it is our bug."""
        if isinstance(error, IntegrityError):
            return Conflict("This is in the database already.")
        code: int | None = getattr(error.orig, "sqlite_errorcode", None)
        if code is None:
            # PostgreSQL: class 53100 is a full disk, 55P03 a lock that was not to be had.
            state = getattr(error.orig, "sqlstate", None)
            if state == "53100":
                return StorageFull(_SOME_ROOM, 0)
            return Busy("The database is busy.", 1.0) if state == "55P03" else error
        where = str(self.engine.url.database)
        if code in _FULL:
            folder = Path(where).parent
            return StorageFull(_SOME_ROOM, shutil.disk_usage(folder).free if folder.is_dir() else 0)
        if code & _PLAIN_CODE in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
            return Busy("The database is busy.", 1.0)
        if code & _PLAIN_CODE in _DAMAGED:
            return damaged(where, str(error.orig))
        return error


def open_database(url: str) -> Database:
    """Open `url`, create or migrate its tables, and check its health.

    Raises a SignetError if the file is damaged, comes from a newer Signet, or lies where SQLite cannot keep it safe.
    """
    database = Database(_connectable(url))
    try:
        if database.sqlite:
            _check_health(database)
        with database.writing() as connection:
            schema.migrate(connection)
            search.heal(connection)
    except BaseException:
        database.close()
        raise
    return database


def _connectable(url: str) -> Engine:
    parsed = make_url(url)
    if parsed.get_backend_name() == "postgresql":
        parsed = parsed.set(drivername="postgresql+psycopg")
    elif parsed.database:
        Path(parsed.database).parent.mkdir(parents=True, exist_ok=True)
    writer = partial(json.dumps, ensure_ascii=False, separators=(",", ":"))
    engine = create_engine(parsed, json_serializer=writer, pool_pre_ping=parsed.get_backend_name() == "postgresql")
    if engine.dialect.name == "sqlite":
        event.listen(engine, "connect", _prepare)
        event.listen(engine, "begin", _begin)
    return engine


def _prepare(connection: Any, _entry: ConnectionPoolEntry) -> None:
    """Settings of one SQLite connection. synchronous=FULL: a commit survives a power cut, not only a crash."""
    connection.isolation_level = None
    cursor = connection.cursor()
    try:
        cursor.execute(f"PRAGMA busy_timeout={WAIT_MS}")
        mode = cursor.execute("PRAGMA journal_mode=WAL").fetchone()[0]
        for pragma in ("synchronous=FULL", "foreign_keys=ON", "trusted_schema=OFF"):
            cursor.execute(f"PRAGMA {pragma}")
    finally:
        cursor.close()
    if mode != "wal":
        raise SignetError(
            Problem(
                "database-place",
                "The database cannot be kept here",
                f'SQLite cannot use its write-ahead log at this place (it answers "{mode}").',
                500,
                hint="Put the data folder on a local disk, or name a PostgreSQL database.",
            )
        )


def _begin(connection: Connection) -> None:
    writes = connection.get_execution_options().get("signet_writes", False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")


def _check_health(database: Database) -> None:
    where = str(database.engine.url.database)
    with database.reading() as connection:
        try:
            said = connection.exec_driver_sql("PRAGMA quick_check(1)").scalar_one()
        except OperationalError as error:
            raise damaged(where, str(error.orig)) from error
    if said != "ok":
        raise damaged(where, str(said))
