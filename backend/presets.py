"""Presets: named sets of form fields, kept in `presets.json` of the data folder as {name: {field: value}}."""

from __future__ import annotations

import json
import os
import tempfile
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from backend.errors import InvalidParameter, NotFound, StorageFull, Unavailable
from backend.requests.values import text

MAX_PRESETS = 200
MAX_NAME = 100
MAX_BYTES = 64 << 10
"""Of one preset, as JSON."""
_MAX_FILE = 32 << 20


class PresetStore:
    """Thread-safe. The file may be missing, and may be edited by hand while the studio runs."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()

    def all(self) -> Mapping[str, Mapping[str, Any]]:
        """By name, in order of names. What the file holds besides presets is left out."""
        return dict(sorted(self._read().items(), key=lambda item: (item[0].casefold(), item[0])))

    def put(self, name: str, fields: Mapping[str, Any]) -> None:
        """Add a preset, or change the one of that name. Raises InvalidParameter, StorageFull or Unavailable."""
        name = _name(name)
        _check(fields)
        with self._lock:
            kept = self._read()
            if name not in kept and len(kept) >= MAX_PRESETS:
                raise InvalidParameter("name", f"There are {MAX_PRESETS} presets already.", "Delete one first.")
            self._write({**kept, name: dict(fields)})

    def delete(self, name: str) -> None:
        """Raises NotFound, StorageFull or Unavailable."""
        with self._lock:
            kept = self._read()
            if name not in kept:
                raise NotFound("preset", name)
            self._write({other: fields for other, fields in kept.items() if other != name})

    def _read(self) -> dict[str, Mapping[str, Any]]:
        try:
            if self._path.stat().st_size > _MAX_FILE:
                return {}
            found = json.loads(self._path.read_text("utf-8"))
        except (OSError, ValueError, RecursionError):
            return {}
        if not isinstance(found, dict):
            return {}
        return {name: fields for name, fields in found.items() if isinstance(fields, dict)}

    def _write(self, presets: Mapping[str, Any]) -> None:
        """In one move; what was there before stays beside it as .bak, also a file that could not be read."""
        data = json.dumps(presets, ensure_ascii=False, indent=1).encode()
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            if self._path.exists():
                _replace(self._path.with_name(self._path.name + ".bak"), self._path.read_bytes())
            _replace(self._path, data)
        except OSError as error:
            if error.errno == 28:  # ENOSPC
                raise StorageFull(len(data), 0) from error
            detail = f"The presets cannot be written: {error.strerror}."
            raise Unavailable(detail, "Check the data folder.") from error


def _name(name: str) -> str:
    name = text("name", name, MAX_NAME).strip()
    if not name or not name.isprintable() or name in (".", ".."):  # dots alone are no part of an address
        raise InvalidParameter("name", f"A preset needs a name of at most {MAX_NAME} characters.", "Use letters.")
    return name


def _check(fields: Mapping[str, Any]) -> None:
    try:
        encoded = json.dumps(fields, allow_nan=False, ensure_ascii=False).encode()
    except (TypeError, ValueError, RecursionError) as error:
        raise InvalidParameter(
            "fields", "A value cannot be stored as JSON.", "Leave out NaN and infinities."
        ) from error
    if len(encoded) > MAX_BYTES:
        raise InvalidParameter("fields", f"A preset takes at most {MAX_BYTES >> 10} KiB.", "Leave something out.")


def _replace(path: Path, data: bytes) -> None:
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
