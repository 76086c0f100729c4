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
from dataclasses import dataclass
from pathlib import Path

from backend import images
from backend.errors import NotFound, StorageFull

_NAME = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class Input:
    """A picture somebody brought. `width` and `height` are pixels as it is seen, turned by its Exif orientation."""

    id: str
    path: Path
    media_type: str
    width: int
    height: int


class InputStore:
    """Below `root`; `limit` is bytes of all pictures together, `max_pixels` the largest picture that is taken."""

    def __init__(self, root: Path, limit: int, max_pixels: int) -> None:
        self._root = root
        self._limit = limit
        self._max_pixels = max_pixels
        root.mkdir(parents=True, exist_ok=True)

    def put(self, data: bytes) -> Input:
        """Keep a picture. Raises UnreadableImage before anything is written, and StorageFull."""
        found = images.decode(data, max_pixels=self._max_pixels)
        name = hashlib.sha256(data).hexdigest()
        path = self._root / name[:2] / name
        if not path.is_file():
            _place(path, data)
            self._prune(keep=path)
        height, width = found.pixels.shape[:2]
        return Input(name, path, found.media_type, width, height)

    def get(self, ident: str) -> Input:
        """Raises NotFound for a picture that was never here or has been cleared away."""
        path = self._root / ident[:2] / ident
        if not _NAME.fullmatch(ident) or not path.is_file():
            raise NotFound("input picture", ident)
        os.utime(path)  # the newest use decides what stays
        found = images.decode(path.read_bytes(), max_pixels=self._max_pixels)
        height, width = found.pixels.shape[:2]
        return Input(ident, path, found.media_type, width, height)

    def _prune(self, keep: Path) -> None:
        files = sorted(
            ((stat.st_mtime_ns, stat.st_size, path) for path in self._root.glob("??/*") if (stat := path.stat())),
            key=lambda one: one[0],
        )
        total = sum(size for _, size, _ in files)
        for _, size, path in files:
            if total <= self._limit:
                return
            if path != keep:
                path.unlink(missing_ok=True)
                total -= size


def _place(path: Path, data: bytes) -> None:
    """Whole or not at all. A power cut may lose the newest picture; its owner still has it."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        path.parent.mkdir(exist_ok=True)
        temporary.write_bytes(data)
        temporary.replace(path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise StorageFull(len(data), shutil.disk_usage(path.parent.parent).free) from error
        raise
