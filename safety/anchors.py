"""Heads of the audit log, written down outside the database, so that an end that was cut off is noticed.

One line of JSON for each: number, hash, time, and a keyed hash over them, so that a damaged line is told from a log
that was tampered with. Lines are only added. The file lies on the same machine: whoever can shorten both can hide the
newest entries, unless a copy is kept elsewhere or a picture that was handed out quotes a head.
"""

from __future__ import annotations

import hmac
import json
import logging
import os
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from filelock import FileLock, Timeout

from safety.commitments import canonical, head_of, stamp
from safety.durable import force_folder

EVERY = 64
"""Entries after which a new head is written down."""
HOURLY = 3600.0
_LOCK_SECONDS = 5

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Anchors:
    """What the file holds: heads in the order they were written, and what is wrong with it, None if nothing."""

    heads: tuple[str, ...]
    problem: str | None = None


class AnchorFile:
    """Thread-safe; several processes may add to one file. `keys` are those of the log, the one in force first."""

    def __init__(
        self,
        path: Path,
        keys: Sequence[bytes],
        *,
        every: int = EVERY,
        seconds: float = HOURLY,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._path = path
        self._keys = tuple(hmac.digest(key, b"signet audit anchors 1", "sha256") for key in keys)
        self._every, self._seconds, self._now = every, seconds, now
        self._lock = threading.Lock()
        self._number, self._written = 0, now()

    def passed(self, number: int, digest: str) -> None:
        """Hear of a new entry, and write it down if the last one lies `every` entries or `seconds` back."""
        if number - self._number >= self._every or self._now() - self._written >= self._seconds:
            self.write(number, digest)

    def write(self, number: int, digest: str) -> bool:
        """Write a head down, durably, unless it is the last one already. False if it could not be written.

        Never raises: the entry is safe in the database by now, and the next one tries again.
        """
        with self._lock:
            if number <= self._number:
                return True
            try:
                self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
                with FileLock(self._path.with_suffix(".lock"), timeout=_LOCK_SECONDS):
                    _add(self._path, self._line(number, digest))
            except (OSError, Timeout) as error:
                log.warning("the head of the audit log cannot be written to %s: %s", self._path, error)
                return False
            self._number, self._written = number, self._now()
            return True

    def read(self) -> Anchors:
        """Every head in the file. A last line without an end was cut off by a crash and counts for nothing."""
        try:
            content = self._path.read_bytes()
        except FileNotFoundError:
            return Anchors(())
        except OSError as error:
            return Anchors((), f"the file of anchors cannot be read: {error.strerror}")
        heads: list[str] = []
        lines = content.split(b"\n")
        for place, line in enumerate(lines[:-1], start=1):
            head = self._head(line)
            if head is None:
                return Anchors(tuple(heads), f"line {place} of the file of anchors was changed")
            heads.append(head)
        return Anchors(tuple(heads))

    def _line(self, number: int, digest: str) -> bytes:
        said = {"number": number, "hash": digest, "time": stamp(datetime.now(UTC))}
        return canonical({**said, "mac": _mac(self._keys[0], said)}).encode() + b"\n"

    def _head(self, line: bytes) -> str | None:
        try:
            said = json.loads(line)
            mac = said.pop("mac")
            whole = canonical({**said, "mac": mac}).encode() == line and mac in {_mac(key, said) for key in self._keys}
            return head_of(said["number"], said["hash"]) if whole else None
        except (ValueError, KeyError, TypeError, AttributeError):
            return None


def _mac(key: bytes, said: object) -> str:
    return hmac.digest(key, canonical(said).encode(), "sha256").hex()


def _add(path: Path, line: bytes) -> None:
    """Append one line and force it to the disk. What a crash left of an earlier line is cut away first."""
    new = not path.exists()
    with path.open("ab+") as file:
        size = file.tell()
        file.seek(0)
        whole = file.read().rfind(b"\n") + 1 if size else 0
        if whole < size:
            file.truncate(whole)
        try:
            file.write(line)
            file.flush()
            os.fsync(file.fileno())
        except OSError:
            file.truncate(whole)  # a full disk may have taken half a line
            raise
    if new:
        force_folder(path.parent)
