"""Pictures people bring along: kept as the bytes they are, under the sha256 of those bytes.

The bytes are never changed, so that their own Content Credentials can be read and kept in what is made from them. The
newest stay; when the folder outgrows its limit, those unused for longest go.
"""

from __future__ import annotations

import errno
import hashlib
import os
import re
import shutil
import threading
import uuid
from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path

from backend import images
from backend.errors import NotFound, StorageFull

_NAME = re.compile(r"[0-9a-f]{64}")
_REMEMBERED = 1000


@dataclass(frozen=True, slots=True)
class Input:
    """A picture somebody brought. `width` and `height` are pixels as it is seen, turned by its Exif orientation."""

    id: str
    path: Path
    media_type: str
    width: int
    height: int


class InputStore:
    """Below `root`; `limit` is bytes of all pictures together, `max_pixels` the largest picture that is taken.

    Thread-safe. What was seen of a picture is remembered: its name is the hash of its bytes, so it cannot change, and
    a request that names ten large pictures is checked without decoding them again.
    """

    def __init__(self, root: Path, limit: int, max_pixels: int) -> None:
        self._root = root
        self._limit = limit
        self._max_pixels = max_pixels
        self._lock = threading.Lock()
        self._seen: OrderedDict[str, Input] = OrderedDict()
        root.mkdir(parents=True, exist_ok=True)

    def put(self, data: bytes) -> Input:
        """Keep a picture. Raises UnreadableImage before anything is written, and StorageFull."""
        found = images.decode(data, max_pixels=self._max_pixels)
        name = hashlib.sha256(data).hexdigest()
        path = self._root / name[:2] / name
        with self._lock:
            if not _touched(path):
                _place(path, data)
                self._prune(keep=path)
            return self._remembered(name, path, found)

    def get(self, ident: str) -> Input:
        """Raises NotFound for a picture that was never here or has been cleared away."""
        path = self._root / ident[:2] / ident
        if not _NAME.fullmatch(ident) or not _touched(path):
            raise NotFound("input picture", ident)
        with self._lock:
            known = self._seen.get(ident)
        if known is not None:
            return known
        try:
            data = path.read_bytes()
        except OSError as error:  # cleared away meanwhile
            raise NotFound("input picture", ident) from error
        found = images.decode(data, max_pixels=self._max_pixels)
        with self._lock:
            return self._remembered(ident, path, found)

    def _remembered(self, ident: str, path: Path, found: images.Decoded) -> Input:
        height, width = found.pixels.shape[:2]
        self._seen[ident] = Input(ident, path, found.media_type, width, height)
        self._seen.move_to_end(ident)
        while len(self._seen) > _REMEMBERED:
            self._seen.popitem(last=False)
        return self._seen[ident]

    def _prune(self, keep: Path) -> None:
        known = [path for path in self._root.glob("??/*") if _NAME.fullmatch(path.name)]
        files = sorted((stat.st_mtime_ns, stat.st_size, path) for path in known if (stat := _stat(path)))
        total = sum(size for _, size, _ in files)
        for _, size, path in files:
            if total <= self._limit:
                return
            if path != keep:
                path.unlink(missing_ok=True)
                total -= size


def _stat(path: Path) -> os.stat_result | None:
    try:
        return path.stat()
    except OSError:  # somebody else cleared it away
        return None


def _touched(path: Path) -> bool:
    """Whether the file is there; the newest use decides what stays."""
    try:
        os.utime(path)
    except OSError:
        return path.is_file()  # on a read-only disk nothing is cleared away either
    return True


def _place(path: Path, data: bytes) -> None:
    """Whole or not at all. A power cut may lose the newest picture; its owner still has it."""
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}.tmp")
    try:
        path.parent.mkdir(exist_ok=True)
        temporary.write_bytes(data)
        temporary.replace(path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise StorageFull(len(data), shutil.disk_usage(path.parent.parent).free) from error
        raise
