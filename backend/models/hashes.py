"""Hashes of models, as A1111 and Civitai name them, computed in the background when nothing else is to do.

AutoV1: sha256 over 64 KiB at offset 1 MiB, 8 digits. AutoV2: sha256 of the file, 10 digits. AutoV3: sha256 of a
safetensors file after its header, 12 digits. A folder's hash is that of the sorted list of its weights and theirs.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from backend.types import ModelInfo

_LOG = logging.getLogger(__name__)
_BLOCK = 1 << 20
SMALL = 64 << 20
"""Files up to this size come first: their names and hashes are what people look for."""


@dataclass(frozen=True, slots=True)
class Hashes:
    """In full length, hexadecimal; `autov1` and `autov3` only of single files."""

    sha256: str
    autov1: str | None = None
    autov3: str | None = None

    @property
    def autov2(self) -> str:
        return self.sha256[:10]


class Interrupted(Exception):
    """No error: the program ends."""


def file_sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def model_sha256(path: Path) -> str:
    """One hash for a model, whatever its layout; a folder's hash does not depend on where the folder lies."""
    return file_sha256(path) if path.is_file() else _folder_sha256(path, file_sha256)


def _folder_sha256(path: Path, of_file: Callable[[Path], str]) -> str:
    digest = hashlib.sha256()
    for file in sorted(path.rglob("*.safetensors")):
        digest.update(f"{file.relative_to(path).as_posix()} {of_file(file)}\n".encode())
    return digest.hexdigest()


def hashes_of(path: Path, pause: Callable[[], None] = lambda: None) -> Hashes:
    """All hashes in one reading. `pause` is called between blocks of 1 MiB; it may wait or raise. Raises OSError."""
    if path.is_dir():
        return Hashes(_folder_sha256(path, lambda file: hashes_of(file, pause).sha256))
    whole, weights, middle = hashlib.sha256(), hashlib.sha256(), b""
    with path.open("rb") as file:
        start = 8 + int.from_bytes(file.read(8), "little")
        file.seek(0)
        place = 0
        while block := file.read(_BLOCK):
            pause()
            whole.update(block)
            weights.update(block[min(max(0, start - place), len(block)) :])
            if place == _BLOCK:
                middle = block[:0x10000]
            place += len(block)
    # Of a file that ends before the middle AutoV1 says nothing: it is the same for all of them.
    autov1 = hashlib.sha256(middle).hexdigest()[:8] if middle else None
    autov3 = weights.hexdigest()[:12] if path.suffix.lower() == ".safetensors" else None
    return Hashes(whole.hexdigest(), autov1, autov3)


class Hasher:
    """Hashes of everything in a catalogue, remembered in the file `cache` by path, size and time.

    `start` begins a thread that waits until `idle` has been true for `delay` seconds in a row before each file, and
    stops between blocks while it is not.
    """

    def __init__(self, cache: Path | None = None, *, delay: float = 10.0, every: float = 30.0) -> None:
        self._cache = cache
        self._delay, self._every = delay, every
        self._known: dict[str, Mapping[str, Any]] = _read_cache(cache)
        self._closing = threading.Event()
        self._thread: threading.Thread | None = None
        self.generation = 0
        """Grows with everything learnt."""

    def known(self, info: ModelInfo) -> Hashes | None:
        """What is known of this very state of a model, at once."""
        entry = self._known.get(info.path)
        if entry is None or (entry["size"], entry["modified_ns"]) != (info.size, info.modified_ns):
            return None
        return Hashes(entry["sha256"], entry["autov1"], entry["autov3"])

    def start(self, models: Callable[[], Iterable[ModelInfo]], idle: Callable[[], bool] = lambda: True) -> None:
        """Hash what `models` names, again and again, whenever `idle` says that nothing else is to do."""
        self._thread = threading.Thread(target=self._run, args=(models, idle), name="hasher", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop within a block and keep what is known."""
        self._closing.set()
        if self._thread:
            self._thread.join()
            self._thread = None

    def _run(self, models: Callable[[], Iterable[ModelInfo]], idle: Callable[[], bool]) -> None:
        with suppress(Interrupted):
            while True:
                self._quiet(idle)
                try:
                    self._learn(models, idle)
                except Interrupted:
                    raise
                except Exception:  # noqa: BLE001 - the edge of a thread: a strange file must not end all hashing
                    _LOG.exception("hashing models")
                if self._closing.wait(self._every):
                    return

    def _learn(self, models: Callable[[], Iterable[ModelInfo]], idle: Callable[[], bool]) -> None:
        found = []
        for info in models():
            self._quiet(idle, 0.0)
            found.append(info)
        before, written = self.generation, time.monotonic()
        try:
            for info in self._waiting(found):
                self._quiet(idle)
                self._hash(info, lambda: self._quiet(idle, 0.0))
                if time.monotonic() - written > 5:
                    self._write()
                    written = time.monotonic()
        finally:  # also when the program ends
            if self.generation != before:
                self._write()

    def _waiting(self, found: Iterable[ModelInfo]) -> Iterator[ModelInfo]:
        todo = [info for info in found if self.known(info) is None]
        yield from sorted(todo, key=lambda info: (info.size > SMALL, info.size))

    def _hash(self, info: ModelInfo, pause: Callable[[], None]) -> None:
        try:
            hashes = hashes_of(Path(info.path), pause)
        except OSError as error:
            _LOG.info("%s cannot be hashed: %s", info.id, error.strerror)
            return
        self._known[info.path] = {"size": info.size, "modified_ns": info.modified_ns, **asdict(hashes)}
        self.generation += 1

    def _quiet(self, idle: Callable[[], bool], delay: float | None = None) -> None:
        """Return when it has been idle for a while. Raises Interrupted when the program ends."""
        delay = self._delay if delay is None else delay
        if self._closing.is_set():
            raise Interrupted
        since = time.monotonic()
        while delay or not idle():
            if idle():
                if time.monotonic() - since >= delay:
                    return
            else:
                since = time.monotonic()
            if self._closing.wait(min(0.5, delay or 0.5)):
                raise Interrupted

    def _write(self) -> None:
        """Entries of files that are gone are dropped on the way."""
        if self._cache is None:
            return
        temporary = self._cache.with_name(self._cache.name + ".tmp")
        try:
            kept = {path: entry for path, entry in self._known.items() if Path(path).exists()}
            with temporary.open("w", encoding="utf-8") as file:
                json.dump(kept, file)
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(self._cache)
        except OSError as error:
            _LOG.warning("hashes cannot be kept: %s", error)


def _read_cache(path: Path | None) -> dict[str, Mapping[str, Any]]:
    """Whatever is whole in the file; a damaged one only costs time."""
    if path is None:
        return {}
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return {name: entry for name, entry in value.items() if _sound(entry)} if isinstance(value, dict) else {}


def _sound(entry: Any) -> bool:
    match entry:
        case {"size": int(), "modified_ns": int(), "sha256": str(sha256), "autov1": _, "autov3": _}:
            short = (entry["autov1"], entry["autov3"])
            return len(sha256) == 64 and all(text is None or isinstance(text, str) for text in short)
    return False
