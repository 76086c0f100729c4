"""Files that people and programs put beside a model: notes, what Civitai says about it, a preview picture.

`x.json` is A1111's user metadata, `x.civitai.info` that of the Civitai helpers, `x.txt` and `x.md` are plain notes.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from backend.errors import Conflict, StorageFull, Unavailable
from backend.models.texts import json_value, phrases, plain, weight, without_markup

MAX_SIDECAR = 1 << 20
PREVIEW_SUFFIXES = (".png", ".jpg", ".jpeg", ".webp")


@dataclass(frozen=True, slots=True)
class Sidecar:
    description: str = ""
    notes: str = ""
    author: str = ""
    source: str = ""
    base_model: str = ""
    triggers: tuple[str, ...] = ()
    preferred_weight: float | None = None


@dataclass(frozen=True, slots=True)
class Notes:
    """What a user writes about a model; None leaves a field as it is."""

    notes: str | None = None
    description: str | None = None
    activation_text: str | None = None
    negative_text: str | None = None
    preferred_weight: float | None = None


_FIELDS = {
    "notes": "notes",
    "description": "description",
    "activation_text": "activation text",
    "negative_text": "negative text",
    "preferred_weight": "preferred weight",
}
"""Ours -> A1111's, as its 1.10.1 writes them."""


def names_of(stem: str, beside: frozenset[str]) -> tuple[str, ...]:
    """The sidecars with text that are there."""
    return tuple(name for end in (".json", ".civitai.info", ".txt", ".md") if (name := stem + end) in beside)


def preview_of(stem: str, beside: frozenset[str]) -> str | None:
    ends = (*(f".preview{suffix}" for suffix in PREVIEW_SUFFIXES), *PREVIEW_SUFFIXES)
    return next((stem + end for end in ends if stem + end in beside), None)


def read_sidecars(folder: Path, stem: str, beside: frozenset[str]) -> Sidecar:
    """Everything said beside a model; the user's own words come first. Damaged files say nothing."""
    names = names_of(stem, beside)
    if not names:
        return Sidecar()
    own = _object(folder / f"{stem}.json") if f"{stem}.json" in names else {}
    civitai = _object(folder / f"{stem}.civitai.info") if f"{stem}.civitai.info" in names else {}
    text = next((_text(folder / name) for name in names if name.endswith((".txt", ".md"))), "")
    return Sidecar(
        description=plain(own.get("description")) or without_markup(civitai.get("description")),
        notes=plain(own.get("notes")) or plain(text),
        author=_author(civitai),
        source=_source(civitai),
        base_model=plain(own.get("sd version"), 80) or plain(civitai.get("baseModel"), 80),
        triggers=phrases(own.get("activation text")) or phrases(civitai.get("trainedWords")),
        preferred_weight=weight(own.get("preferred weight")),
    )


def _author(civitai: Mapping[str, Any]) -> str:
    creator = civitai.get("creator")
    return plain(creator.get("username"), 80) if isinstance(creator, dict) else ""


def _source(civitai: Mapping[str, Any]) -> str:
    """A link made of numbers alone: what a file calls its address could lead anywhere."""
    model, version = civitai.get("modelId"), civitai.get("id")
    if not isinstance(model, int) or isinstance(model, bool) or not 0 < model < 10**12:
        return ""
    known = isinstance(version, int) and not isinstance(version, bool) and 0 < version < 10**12
    return f"https://civitai.com/models/{model}" + (f"?modelVersionId={version}" if known else "")


def _text(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return file.read(MAX_SIDECAR).decode("utf-8-sig", errors="replace")
    except OSError:
        return ""


def _object(path: Path) -> dict[str, Any]:
    value = json_value(_text(path))
    return value if isinstance(value, dict) else {}


def save_notes(path: Path, notes: Notes) -> None:
    """Write notes into A1111's `x.json`, whole or not at all; what others wrote there stays.

    Raises Conflict if the file is there and is something else, StorageFull or Unavailable if it cannot be written.
    """
    value = _to_change(path)
    for ours, theirs in _FIELDS.items():
        given = getattr(notes, ours)
        if given is not None:
            value[theirs] = given
    data = json.dumps(value, indent=4, ensure_ascii=False).encode("utf-8", "replace")
    try:
        _replace(path, data)
    except OSError as error:
        if error.errno == 28:  # ENOSPC
            raise StorageFull(len(data), 0) from error
        detail = f"The notes cannot be written: {error.strerror}."
        raise Unavailable(detail, "Allow writing to the folder of the model.") from error


def _to_change(path: Path) -> dict[str, Any]:
    if not path.is_symlink() and not path.exists():
        return {}
    hint = "Move it away, then save again."
    if path.is_symlink() or not path.is_file() or path.stat().st_size > MAX_SIDECAR:
        raise Conflict(f'"{path.name}" is no plain small file, so it is left as it is.', hint)
    value = json_value(_text(path))
    if not isinstance(value, dict):
        raise Conflict(f'"{path.name}" holds something other than notes, so it is left as it is.', hint)
    return value


def _replace(path: Path, data: bytes) -> None:
    handle, name = tempfile.mkstemp(prefix=".", suffix=".tmp", dir=path.parent)
    temporary = Path(name)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.chmod(0o644)
        temporary.replace(path)
    except BaseException:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise
