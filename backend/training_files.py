"""The folders of trainings below data/training: pictures with captions, and state.json; whole files or none."""

from __future__ import annotations

import logging
import os
import re
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path

from pydantic import ValidationError

from backend.engine.lora_dataset import MOST_PICTURES, caption_of
from backend.errors import InvalidParameter, StorageFull
from backend.types.training import Training

_LOG = logging.getLogger(__name__)
_ID = re.compile(r"[0-9a-z]{18}")
_STATE = "state.json"
_SUFFIXES = {"image/png": ".png", "image/jpeg": ".jpg", "image/webp": ".webp"}
_KINDS = {".png": "image/png", ".jpg": "image/jpeg", ".jpeg": "image/jpeg", ".webp": "image/webp"}

Taken = tuple[Path, str, str]
"""A file, what it shows, its media type."""


class TrainingFiles:
    """Below `root`."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def folder(self, ident: str) -> Path:
        return self._root / ident

    def read(self) -> Iterator[Training]:
        """What earlier runs of the studio left."""
        for path in sorted(self._root.glob(f"*/{_STATE}")):
            try:
                found = Training.model_validate_json(path.read_bytes())
            except (OSError, ValidationError) as error:
                _LOG.warning("the state of training %s cannot be read: %s", path.parent.name, str(error)[:200])
                continue
            if found.id == path.parent.name and _ID.fullmatch(found.id):
                yield found

    def write(self, training: Training) -> None:
        """Raises OSError."""
        _place(self._root / training.id / _STATE, training.model_dump_json().encode())

    def create(self, ident: str, taken: Sequence[Taken]) -> None:
        """Copies of the pictures, numbered, each with its caption. Raises StorageFull, and leaves nothing then."""
        folder = self._root / ident / "pictures"
        try:
            folder.mkdir(parents=True)
            for number, (path, caption, media_type) in enumerate(taken, 1):
                target = folder / f"{number:04}{_SUFFIXES.get(media_type, '.png')}"
                shutil.copyfile(path, target)
                target.with_suffix(".txt").write_text(caption, encoding="utf-8")
        except OSError as error:
            self.remove(ident)
            needed = sum(path.stat().st_size for path, _, _ in taken if path.is_file())
            raise StorageFull(needed, shutil.disk_usage(self._root.parent).free) from error

    def remove(self, ident: str) -> None:
        shutil.rmtree(self._root / ident, ignore_errors=True)

    def of_folder(self, data: Path, name: str) -> list[Taken]:
        """The pictures of a folder below `data`, links that lead out of it left aside.

        Raises InvalidParameter if it is no such folder, or if a picture says nothing about what it shows.
        """
        top = data.resolve()
        folder = (top / name.replace("\0", "")).resolve()
        if folder == top or not folder.is_relative_to(top) or not folder.is_dir():
            detail = "The pictures must lie in a folder below the data folder."
            raise InvalidParameter("folder", detail, 'Name it from there, for example "datasets/blueprint".')
        files = [path for path in sorted(folder.iterdir()) if path.suffix.lower() in _KINDS and path.is_file()]
        files = [path for path in files if _within(path, top) and _within(path.with_suffix(".txt"), top)]
        if not 0 < len(files) <= MOST_PICTURES:
            raise InvalidParameter("folder", f"It holds {len(files)} pictures; 1 to {MOST_PICTURES} can be used.")
        taken = [(path, caption_of(path), _KINDS[path.suffix.lower()]) for path in files]
        silent = [path.name for path, caption, _ in taken if not caption]
        if silent:
            detail = f"These have no caption: {', '.join(silent[:5])}{' …' if len(silent) > 5 else ''}."
            raise InvalidParameter("folder", detail, "Write what a picture shows into a .txt file beside it.")
        return taken


def _within(path: Path, top: Path) -> bool:
    return path.resolve().is_relative_to(top)


def _place(path: Path, data: bytes) -> None:
    part = path.with_name(f".{path.name}.part")
    path.parent.mkdir(parents=True, exist_ok=True)
    with part.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    part.replace(path)
