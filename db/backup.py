"""A copy of the database before its tables change, made by SQLite itself while others may read and write.

A PostgreSQL server is backed up by its own tools; there is nothing to copy here.
"""

from __future__ import annotations

import errno
import os
import shutil
import sqlite3
from contextlib import closing, suppress
from datetime import UTC, datetime
from pathlib import Path

from backend.errors import Problem, SignetError, StorageFull

FOLDER = "backups"
"""Beside the database file."""
KEPT = 3
_NO_ROOM = frozenset({errno.ENOSPC, errno.EFBIG, getattr(errno, "EDQUOT", errno.ENOSPC)})


def copy(database: Path, revision: str, *, kept: int = KEPT) -> Path:
    """Copy a SQLite database that is in use into `backups` beside it and return the copy; the newest `kept` stay.

    The copy holds what was committed when it began, is checked, and needs no second file. Put in the place of the
    database (without its -wal and -shm files) while the studio is stopped, it is the database again. Raises
    StorageFull, or a SignetError if no sound copy can be made; then nothing of it is left.
    """
    folder = database.parent / FOLDER
    target = folder / f"{database.stem}-{revision}-{datetime.now(UTC):%Y%m%dT%H%M%S%f}.db"
    temporary = target.with_suffix(".tmp")
    size = database.stat().st_size
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
        _copy(database, temporary)
        _force(temporary)
        temporary.replace(target)
        _force(folder)
    except (OSError, sqlite3.Error) as error:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
        if _full(error):
            raise StorageFull(size, shutil.disk_usage(database.parent).free) from error
        raise _not_copied(database, error) from error
    for old in copies(database)[:-kept]:
        with suppress(OSError):
            old.unlink()
    return target


def copies(database: Path) -> tuple[Path, ...]:
    """The copies there are, the oldest first."""
    found = (database.parent / FOLDER).glob(f"{database.stem}-*.db")
    return tuple(sorted(found, key=lambda path: path.stem.rpartition("-")[2]))


def _copy(database: Path, target: Path) -> None:
    target.unlink(missing_ok=True)
    os.close(os.open(target, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
    with (
        closing(sqlite3.connect(f"{database.absolute().as_uri()}?mode=ro", uri=True)) as source,
        closing(sqlite3.connect(target)) as made,
    ):
        source.backup(made)
        # Without this the copy would ask for a -wal file of its own as soon as it is read.
        made.execute("PRAGMA journal_mode=DELETE").close()
        said = made.execute("PRAGMA quick_check(1)").fetchone()[0]
    if said != "ok":
        raise sqlite3.DatabaseError(f"the copy is not sound: {said}")


def _force(path: Path) -> None:
    """Force a file, or the names in a folder, to the disk. Windows has no such call for folders."""
    if os.name == "nt" and path.is_dir():
        return
    opened = os.open(path, os.O_RDWR if path.is_file() else os.O_RDONLY)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)


def _full(error: OSError | sqlite3.Error) -> bool:
    if isinstance(error, sqlite3.Error):
        return getattr(error, "sqlite_errorcode", None) in (sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR_WRITE)
    return error.errno in _NO_ROOM


def _not_copied(database: Path, error: Exception) -> SignetError:
    return SignetError(
        Problem(
            "database-not-copied",
            "The database cannot be copied",
            f"Its tables must change for this version, and first {database} could not be copied: {str(error)[:200]}.",
            500,
            hint="Nothing was changed. Copy the data folder yourself with the studio stopped, and see to the cause.",
        )
    )
