"""Bytes on disk: atomic writes, safe names, room, staged delete, and one server per folder.

A file is either there whole or not at all. It is written under a temporary name in its own folder, forced to the disk,
renamed, and the folder is forced to the disk; whatever goes wrong before that leaves nothing behind.
"""

from __future__ import annotations

import errno
import hashlib
import os
import re
import shutil
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

from backend.errors import InvalidParameter, NotFound, StorageFull, Unavailable

THUMBNAILS = ".thumbs"
QUARANTINE = ".quarantine"
STEPS = ("write", "fsync", "rename", "fsync-folder")
"""The arrows of one write, in order."""

_NAME = r"[a-z0-9-]{1,80}\.(?:png|jpg|webp|avif)"
_SAFE = re.compile(rf"(?:[0-9]{{4}}-[0-9]{{2}}-[0-9]{{2}}|{re.escape(THUMBNAILS)})/{_NAME}")
_TEMPORARY = re.compile(rf"\.{_NAME}\.tmp")
_TRASHED = re.compile(rf"\.({_NAME})\.trash")
_NO_ROOM = frozenset({errno.ENOSPC, errno.EFBIG, getattr(errno, "EDQUOT", errno.ENOSPC)})

Reach = Callable[[str], None]


def nowhere(_point: str) -> None:
    """The `reach` of everyday: nothing happens at the points where tests stop the program."""


class Storage:
    """The folder of pictures. `reserve_mb` MiB of its disk stay free. Paths are relative, "/"-separated names."""

    def __init__(self, root: Path, reserve_mb: int = 0) -> None:
        self.root = root
        self._reserve = reserve_mb * 2**20
        root.mkdir(parents=True, exist_ok=True)

    def path(self, relative_path: str) -> Path:
        """Where a file lies. Raises InvalidParameter for anything but `YYYY-MM-DD/<id>.png` and the like."""
        if not _SAFE.fullmatch(relative_path):
            raise InvalidParameter("path", "This is not the name of a stored picture.")
        return self.root / relative_path

    def write(self, relative_path: str, data: bytes, *, reach: Reach = nowhere, name: str = "file") -> None:
        """Put a file in place, whole and durable, or raise and leave nothing behind.

        Raises StorageFull if the disk, the quota or the limit on file sizes is reached. `reach` is told
        "before <name>.<step>" and "after <name>.<step>" for each of STEPS.
        """
        target = self.path(relative_path)
        temporary = target.with_name(f".{target.name}.tmp")
        remains = temporary
        try:
            with self._room_for(len(data)):
                self._make_folder(target.parent)
                reach(f"before {name}.write")
                with temporary.open("wb") as file:
                    _write(file.fileno(), data)
                    reach(f"after {name}.write")
                    reach(f"before {name}.fsync")
                    os.fsync(file.fileno())
                reach(f"after {name}.fsync")
                reach(f"before {name}.rename")
                temporary.replace(target)
                remains = target
                reach(f"after {name}.rename")
                reach(f"before {name}.fsync-folder")
                _sync_folder(target.parent)
                reach(f"after {name}.fsync-folder")
        except BaseException:
            with suppress(OSError):
                remains.unlink(missing_ok=True)
            raise

    def read(self, relative_path: str) -> bytes:
        """Raises NotFound."""
        try:
            return self.path(relative_path).read_bytes()
        except FileNotFoundError as error:
            raise NotFound("file", relative_path) from error

    def exists(self, relative_path: str) -> bool:
        return self.path(relative_path).is_file()

    def sha256(self, relative_path: str) -> str | None:
        """The hash of the file's bytes in hex, None if there is no such file."""
        try:
            with self.path(relative_path).open("rb") as file:
                return hashlib.file_digest(file, "sha256").hexdigest()
        except FileNotFoundError:
            return None

    def sync(self, relative_path: str) -> None:
        """Force a file that is already in place to the disk, with its name."""
        target = self.path(relative_path)
        with target.open("rb+") as file:
            os.fsync(file.fileno())
        _sync_folder(target.parent)

    def delete(self, relative_path: str) -> None:
        """Remove a file if it is there."""
        self.path(relative_path).unlink(missing_ok=True)

    def trash(self, relative_path: str) -> None:
        """First stage of a delete: out of sight, but `restore` can take it back. Nothing happens without a file.

        The file only gets a hidden name in its own folder: that needs no room, so it works on a full disk too.
        """
        self._move(self.path(relative_path), self._trash_of(relative_path))

    def restore(self, relative_path: str) -> None:
        """Take a file back from the trash if it is there."""
        self._move(self._trash_of(relative_path), self.path(relative_path))

    def purge(self, relative_path: str) -> None:
        """Second stage of a delete: the file is gone for good."""
        self._trash_of(relative_path).unlink(missing_ok=True)

    def trashed(self) -> tuple[str, ...]:
        """Files in the trash, under the names they had."""
        matches = ((path.parent.name, _TRASHED.fullmatch(path.name)) for path in self._files())
        return tuple(sorted(f"{folder}/{match[1]}" for folder, match in matches if match))

    def quarantine(self, relative_path: str) -> None:
        """Put a file nobody knows aside: it is kept, and never served. Raises StorageFull."""
        source = self.path(relative_path)
        plain = f"{source.parent.name.lstrip('.')}-{source.name}"
        target = self.root / QUARANTINE / plain
        number = 1
        while target.exists():
            number += 1
            target = target.with_name(f"{number}-{plain}")
        self._move(source, target)

    def room(self) -> int:
        """Free bytes on the disk."""
        return shutil.disk_usage(self.root).free

    def check_room(self, needed: int) -> None:
        """Raise StorageFull if `needed` more bytes would eat into the reserve."""
        if (free := self.room()) < needed + self._reserve:
            raise StorageFull(needed + self._reserve, free)

    def leftovers(self) -> tuple[Path, ...]:
        """Temporary files of writes that were cut off."""
        return tuple(sorted(path for path in self._files() if _TEMPORARY.fullmatch(path.name)))

    def orphans(self, known: Collection[str]) -> tuple[str, ...]:
        """Stored files whose id is not among `known`. Files with other names than ours are none of our business."""
        names = ((path.stem, f"{path.parent.name}/{path.name}") for path in self._files())
        return tuple(sorted(name for stem, name in names if _SAFE.fullmatch(name) and stem not in known))

    def _files(self) -> Iterator[Path]:
        """All files one folder down, except those in quarantine."""
        for folder in self.root.iterdir():
            if folder.is_dir() and folder.name != QUARANTINE:
                yield from (path for path in folder.iterdir() if path.is_file())

    def _trash_of(self, relative_path: str) -> Path:
        target = self.path(relative_path)
        return target.with_name(f".{target.name}.trash")

    def _move(self, source: Path, target: Path) -> None:
        if not source.exists():
            return
        with self._room_for(0):
            self._make_folder(target.parent)
            source.replace(target)
            for folder in {target.parent, source.parent}:
                _sync_folder(folder)

    @contextmanager
    def _room_for(self, needed: int) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            if error.errno in _NO_ROOM:
                raise StorageFull(needed, self.room()) from error
            raise

    def _make_folder(self, folder: Path) -> None:
        if folder.is_dir():
            return
        self._make_folder(folder.parent)
        folder.mkdir(exist_ok=True)
        _sync_folder(folder.parent)


def _write(descriptor: int, data: bytes) -> None:
    """All of `data`: one call may write less, and only the next one says why."""
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(descriptor, rest) :]


def _sync_folder(folder: Path) -> None:
    """Force names to the disk. Windows offers no such call, and NTFS journals names by itself."""
    if os.name == "nt":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def lock_folder(data: Path) -> Iterator[None]:
    """The data folder is ours within the block; the operating system lets go of it if the process dies.

    Raises Unavailable, naming the folder and the process, if another server has it.
    """
    data.mkdir(parents=True, exist_ok=True)
    note = data / "signet.pid"
    # Without real locks (some network folders) a stale lock file would shut the owner out after every crash.
    lock = FileLock(data / "signet.lock", timeout=0, thread_local=False, fallback_to_soft=False)
    try:
        lock.acquire()
    except Timeout as error:
        pid = note.read_text("ascii", errors="replace").strip() if note.is_file() else ""
        who = f" (process {pid})" if pid.isdigit() else ""
        raise Unavailable(
            f"Another Signet{who} is using the folder {data}.", "Stop it first, or name another folder with --data."
        ) from error
    except (OSError, NotImplementedError) as error:
        raise Unavailable(f"The folder {data} cannot be locked: {error}.", "Use a folder on a local disk.") from error
    try:
        note.write_text(f"{os.getpid()}\n", "ascii")
        yield
    finally:
        note.unlink(missing_ok=True)
        lock.release()
