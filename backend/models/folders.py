"""Where models lie: our own folders, those of A1111 and ComfyUI, the Hugging Face cache, and any other folder.

Names and dates only; no model is opened. A directory is listed again when its date has changed.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from backend.models.formats import PICKLE_SUFFIXES
from backend.models.roots import Area, areas_of, kind_of_folder
from backend.types.models import ModelKind

_LOG = logging.getLogger(__name__)

MAX_PLACES = 50_000
MAX_DEPTH = 12
UNSURE_NS = 2_000_000_000
"""A directory that changed so shortly before it was listed may have changed again under the same date (some file
systems keep two seconds)."""

_MODEL_SUFFIXES = (".safetensors", *PICKLE_SUFFIXES)
# Names that say nothing; such a file is called like its folder.
_NAMELESS = frozenset({"pytorch_lora_weights", "adapter_model", "diffusion_pytorch_model", "model", "learned_embeds"})


@dataclass(frozen=True, slots=True)
class Place:
    """A file or folder that may be a model. `kind` is what its folder is for, None where anything may lie.

    `folder` is relative to the area, "/"-separated; `beside` are the files in the same directory. `quiet` places are
    no news when they turn out to be something else. `outside` is a link that leads out of the named folders.
    """

    path: Path
    name: str
    is_folder: bool
    kind: ModelKind | None
    folder: str
    root: Path
    beside: frozenset[str] = field(repr=False, compare=False)
    quiet: bool = False
    outside: bool = False
    bundled: bool = False

    @property
    def is_pickle(self) -> bool:
        return not self.is_folder and self.path.suffix.lower() in PICKLE_SUFFIXES

    @property
    def stem(self) -> str:
        """Sidecars are called like this, with other suffixes."""
        return self.path.name if self.is_folder else self.path.stem


@dataclass(frozen=True, slots=True)
class _Listed:
    modified_ns: int | None
    sure: bool
    files: frozenset[str]
    folders: tuple[str, ...]
    outside: frozenset[str]


class Folders:
    """`bundled` are single models, folders or files; `roots` are walked. Not for several threads at once."""

    def __init__(self, bundled: tuple[Path, ...], roots: tuple[Path, ...]) -> None:
        self._bundled = bundled
        self._roots = roots
        self._before: dict[Path, _Listed] = {}
        self._listed: dict[Path, _Listed] = {}
        self._places: tuple[Place, ...] | None = None
        self._allowed = self._ends(())

    def changed(self) -> bool:
        """Whether a directory, or a file that names some, has changed since `places` was asked."""
        return self._places is None or any(
            not seen.sure or _modified(path) != seen.modified_ns for path, seen in self._listed.items()
        )

    def places(self) -> tuple[Place, ...]:
        """Everything that may be a model, in order: bundled first, then root by root, by folder and name."""
        if self._places is None or self.changed():
            self._before, self._listed = self._listed, {}
            areas = tuple(area for root in self._roots for area in areas_of(root, self._names))
            self._allowed = self._ends(areas)
            self._places = tuple(self._walk_all(areas))
            for root in self._roots:  # a missing folder may come, a list of folders may change
                self._listed.setdefault(root, _Listed(_modified(root), True, frozenset(), (), frozenset()))
            self._before = {}
        return self._places

    def _ends(self, areas: tuple[Area, ...]) -> tuple[str, ...]:
        return tuple({os.path.realpath(path) for path in (*self._bundled, *_named(areas, self._roots))})

    def allowed(self, path: Path | str) -> bool:
        """Whether a path, its links followed, ends inside a named folder."""
        real = os.path.realpath(path)
        return any(real == root or real.startswith(root + os.sep) for root in self._allowed)

    def _walk_all(self, areas: tuple[Area, ...]) -> Iterator[Place]:
        for path in self._bundled:
            if path.is_dir() or path.is_file():
                name = path.name if path.is_dir() else path.stem
                yield Place(path, name, path.is_dir(), None, "", path, frozenset(), bundled=True)
        count, seen = 0, set[str]()
        for area in areas:
            for place in self._walk(area, seen):
                yield place
                count += 1
                if count >= MAX_PLACES:
                    _LOG.warning("more than %d model files; the rest is left out", MAX_PLACES)
                    return

    def _walk(self, area: Area, seen: set[str]) -> Iterator[Place]:
        waiting = [(area.path, "", area.kind, 0)]
        while waiting:
            folder, relative, kind, depth = waiting.pop()
            real = os.path.realpath(folder)
            listed = self._list(folder)
            if listed is None or real in seen:
                continue
            seen.add(real)
            if _is_model(listed) and (depth or "model_index.json" in listed.files):
                name = area.name if area.name and not depth else folder.name
                above = self._list(folder.parent) if depth else None
                if f"{folder.name}.safetensors" not in (above.files if above else ()):
                    yield self._place(area, folder, name, kind, relative.rpartition("/")[0], above, is_folder=True)
                continue
            for name in sorted((*listed.files, *listed.outside)):
                if name.lower().endswith(_MODEL_SUFFIXES) and not _is_companion(name, listed.files):
                    stem = Path(name).stem
                    if stem.split(".")[0] in _NAMELESS and (depth or area.name):
                        stem = folder.name if depth else area.name
                    yield self._place(area, folder / name, stem, kind, relative, listed)
            if depth >= MAX_DEPTH:
                continue
            for name in reversed(listed.folders):
                own = None if kind or depth else kind_of_folder(name)
                if area.strict and not depth and own is None:
                    continue
                inside = "" if own else f"{relative}/{name}" if relative else name
                waiting.append((folder / name, inside, kind or own, depth + 1))

    def _place(
        self, area: Area, path: Path, name: str, kind: ModelKind | None, folder: str, listed: _Listed | None,
        *, is_folder: bool = False,
    ) -> Place:  # fmt: skip
        label = "/".join(part for part in (area.label, folder) if part)
        beside = listed.files if listed else frozenset()
        outside = listed is not None and not is_folder and path.name in listed.outside
        return Place(path, name, is_folder, kind, label, area.root, beside, area.quiet, outside)

    def _names(self, folder: Path) -> tuple[str, ...]:
        """Of the folders in a folder."""
        listed = self._list(folder)
        return listed.folders if listed else ()

    def _list(self, folder: Path) -> _Listed | None:
        if folder in self._listed:
            return self._listed[folder]
        modified = _modified(folder)
        if modified is None:
            return None
        known = self._before.get(folder)
        if known is None or not known.sure or known.modified_ns != modified:
            known = self._read(folder, modified)
        if known is not None:
            self._listed[folder] = known
        return known

    def _read(self, folder: Path, modified: int) -> _Listed | None:
        files, folders, outside = [], [], []
        sure = time.time_ns() - modified > UNSURE_NS
        try:
            with os.scandir(folder) as entries:
                for entry in entries:
                    if entry.name.startswith("."):
                        continue
                    if entry.is_symlink() and not self.allowed(entry.path):
                        outside.append(entry.name)
                    elif entry.is_dir():
                        folders.append(entry.name)
                    else:
                        files.append(entry.name)
        except OSError as error:
            _LOG.warning("%s cannot be listed: %s", folder, error.strerror)
            return None
        return _Listed(modified, sure, frozenset(files), tuple(sorted(folders)), frozenset(outside))


def _named(areas: tuple[Area, ...], roots: tuple[Path, ...]) -> Iterator[Path]:
    """Where links may end: below every root, and for a piece of a Hugging Face cache also among its blobs."""
    for path in (*roots, *(area.root for area in areas), *(area.path for area in areas)):
        yield path
        for above in path.parents:
            if above.name.startswith("models--"):
                yield above


def _modified(folder: Path) -> int | None:
    try:
        return os.stat(folder).st_mtime_ns  # noqa: PTH116 - asked ten thousand times
    except OSError:
        return None


def _is_model(listed: _Listed) -> bool:
    if "model_index.json" in listed.files:
        return True
    return "config.json" in listed.files and any(
        name.startswith(("diffusion_pytorch_model.", "diffusion_pytorch_model-", "model.safetensors"))
        for name in listed.files
    )


def _is_companion(name: str, files: frozenset[str]) -> bool:
    """ "x.vae.safetensors" beside a checkpoint x belongs to it."""
    stem, _, rest = name.partition(".vae.")
    return bool(rest) and any(f"{stem}{suffix}" in files for suffix in _MODEL_SUFFIXES)


def own_vae(place: Place) -> Path | None:
    """The autoencoder that lies beside a checkpoint."""
    name = f"{place.stem}.vae.safetensors"
    return place.path.with_name(name) if name in place.beside else None


def state(place: Place, folders: Folders) -> tuple[int, int] | None:
    """Bytes of a model's files and the newest of their times (ns): another state means another model.

    None if it cannot be read, or if a link in it leads out of the named folders.
    """
    try:
        if not place.is_folder:
            found = os.stat(place.path)  # noqa: PTH116 - asked ten thousand times
            return found.st_size, found.st_mtime_ns
        size = newest = 0
        for where, _, names in os.walk(place.path):
            for name in names:
                file = os.path.join(where, name)  # noqa: PTH118
                if os.path.islink(file) and not place.bundled and not folders.allowed(file):  # noqa: PTH114
                    return None
                found = os.stat(file)  # noqa: PTH116
                size, newest = size + found.st_size, max(newest, found.st_mtime_ns)
        return size, newest
    except OSError:
        return None


KINDS_IN: Mapping[ModelKind, tuple[ModelKind, ...]] = {"controlnet": ("controlnet", "t2i-adapter", "ip-adapter")}
"""A1111 keeps all that controls in one folder."""


def may_hold(place: Place, kind: ModelKind) -> bool:
    return place.kind is None or kind in KINDS_IN.get(place.kind, (place.kind,))
