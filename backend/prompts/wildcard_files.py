"""Wildcard files: lists of texts by name, from `.txt`, `.yaml`, `.yml` and `.json` files of one folder.

The names are those of the dynamic prompts extension: the path without its ending for a text file (`animals/cat`), the
folder and the keys for the others. Nothing outside the folder is read, whatever links lie in it.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml  # type: ignore[import-untyped]

try:
    from yaml import CSafeLoader as _Loader  # ten times as fast
except ImportError:
    from yaml import SafeLoader as _Loader

MOST_FILES, MOST_ENTRIES, MOST_BYTES, MOST_CHARS = 5_000, 500_000, 4 * 2**20, 4_000
"""Files in a folder, entries in all of them, bytes of one file, characters of one entry; what is beyond is not read."""
_MOST_DEPTH, _MOST_NODES = 20, 50_000
_MOST_WEIGHT = 1_000.0
# PyYAML lets "!!timestamp x" and the like end in errors of all kinds.
_BROKEN = (
    ArithmeticError, AttributeError, LookupError, OSError, RecursionError, TypeError, ValueError, yaml.YAMLError,
)  # fmt: skip
_WEIGHTED = re.compile(r"(\d+(?:\.\d+)?)::(.*)", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Entry:
    """One text and how often it is drawn compared to others."""

    text: str
    weight: float = 1.0


def entries(folder: Path) -> Mapping[str, tuple[Entry, ...]]:
    """Every list in the folder by its name, sorted; a file that cannot be read gives none."""
    found: dict[str, tuple[Entry, ...]] = {}
    left = MOST_ENTRIES
    for path in _files(folder):
        for name, texts in _lists(path, folder):
            kept = tuple(texts)[:left]
            left -= len(kept)
            if kept:
                found[name] = kept
    return dict(sorted(found.items()))


def _files(folder: Path) -> Iterator[Path]:
    try:
        root = folder.resolve(strict=True)
        paths = [path for path in sorted(folder.rglob("*")) if path.suffix.lower() in _READERS]
    except (OSError, RuntimeError):
        return
    for path in paths[:MOST_FILES]:
        hidden = any(part.startswith(".") for part in path.relative_to(folder).parts)
        try:
            inside = path.resolve(strict=True).is_relative_to(root)
            small = path.is_file() and path.stat().st_size <= MOST_BYTES
        except (OSError, RuntimeError):
            continue
        if inside and small and not hidden:
            yield path


def _lists(path: Path, folder: Path) -> Iterator[tuple[str, Iterator[Entry]]]:
    place = path.relative_to(folder).with_suffix("")
    try:
        text = path.read_text(encoding="utf-8-sig", errors="ignore")
        read = list(_READERS[path.suffix.lower()](text, place.name))
    except _BROKEN:
        return
    for keys, values in read:
        yield "/".join((*place.parent.parts, *keys)), _usable(values)


def _usable(values: list[Entry]) -> Iterator[Entry]:
    for entry in values:
        text = entry.text.strip()
        if text and len(text) <= MOST_CHARS and math.isfinite(entry.weight) and entry.weight > 0:
            yield Entry(text, min(entry.weight, _MOST_WEIGHT))


def _lines(text: str, name: str) -> Iterator[tuple[tuple[str, ...], list[Entry]]]:
    lines = (line.strip() for line in text.splitlines())
    yield (name,), [Entry(line) for line in lines if line and not line.startswith("#")]


def _yaml(text: str, name: str) -> Iterator[tuple[tuple[str, ...], list[Entry]]]:
    return _tree(yaml.load(text, Loader=_Loader), name) if _harmless(text) else iter(())


def _harmless(text: str) -> bool:
    """Whether a YAML text may be composed: that is recursive in C, where depth ends in a crash, and `<<` copies."""
    depth = 0
    for event in yaml.parse(text, Loader=_Loader):
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if depth > _MOST_DEPTH or (isinstance(event, yaml.ScalarEvent) and event.value == "<<"):
            return False
    return True


def _json(text: str, name: str) -> Iterator[tuple[tuple[str, ...], list[Entry]]]:
    return _tree(json.loads(text), name)


_READERS = {".txt": _lines, ".yaml": _yaml, ".yml": _yaml, ".json": _json}


def _tree(data: Any, name: str) -> Iterator[tuple[tuple[str, ...], list[Entry]]]:
    """Lists by their keys. A list at the top has the file's name. Aliases may repeat a part: a budget ends a bomb."""
    nodes, left = _MOST_NODES, MOST_ENTRIES
    waiting: list[tuple[tuple[str, ...], Any]] = [((name,) if isinstance(data, list) else (), data)]
    while waiting and nodes > 0 and left > 0:
        keys, value = waiting.pop()
        nodes -= 1
        if isinstance(value, dict) and len(keys) < _MOST_DEPTH:
            waiting += [((*keys, key), inner) for key, inner in value.items() if isinstance(key, str)]
        elif isinstance(value, str) and keys:
            yield keys, [_entry(value)]
        elif isinstance(value, list) and keys:
            left -= len(value)
            yield keys, [entry for item in value if (entry := _item(item)) is not None]


def _item(item: Any) -> Entry | None:
    if isinstance(item, str):
        return _entry(item)
    if isinstance(item, dict):
        text, weight = item.get("text") or item.get("content"), item.get("weight", 1)
        if isinstance(text, str) and isinstance(weight, int | float) and abs(weight) < 2**31:
            return Entry(text, float(weight))
    return None


def _entry(text: str) -> Entry:
    weighted = _WEIGHTED.fullmatch(text)
    return Entry(weighted[2], float(weighted[1][:20])) if weighted else Entry(text)
