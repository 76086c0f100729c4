"""Bring the tables to this version, by Alembic, from inside the program."""

from __future__ import annotations

import logging
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, text

from backend.errors import Problem, SignetError
from db import backup

MIGRATIONS = Path(__file__).resolve().parent / "migrations"
_LOCK = 7_318_349_394_477_056
"""Any number, the same in every Signet: the advisory lock of PostgreSQL under which one server migrates at a time."""

_LOG = logging.getLogger(__name__)


def config(connection: Connection) -> Config:
    """What Alembic needs to know: where the migrations are and which connection to use."""
    made = Config()
    made.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    made.attributes["connection"] = connection
    return made


def migrate(connection: Connection) -> None:
    """Run the missing migrations inside the transaction of `connection`: all or nothing.

    Tables of an older version are copied first (SQLite only). Raises a SignetError if the tables were made by a newer
    Signet, or if there is no room for the copy.
    """
    if connection.dialect.name == "postgresql":
        connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _LOCK})
    settings = config(connection)
    script = ScriptDirectory.from_config(settings)
    present = set(MigrationContext.configure(connection).get_current_heads())
    if present == set(script.get_heads()):
        return
    if present - {revision.revision for revision in script.walk_revisions()}:
        raise SignetError(
            Problem(
                "database-newer",
                "The database is of a newer version",
                "This database was last used by a newer Signet, which changed its tables; this version cannot read it.",
                500,
                hint="Start the newer version, or name another data folder.",
            )
        )
    if present and (file := _file(connection)):
        made = backup.copy(file, "-".join(sorted(present)))
        _LOG.info("the tables of %s change for this version; a copy of before is %s", file, made)
    command.upgrade(settings, "head")


def _file(connection: Connection) -> Path | None:
    """The file of a SQLite database, None for others. Its copy is made by a connection of its own, which sees what was
    committed before this transaction."""
    name = connection.engine.url.database
    return Path(name) if connection.dialect.name == "sqlite" and name and name != ":memory:" else None
