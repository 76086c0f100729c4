"""What was found in a picture's text, in A1111's words, and the small helpers every reader of a dialect uses."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

_LONGEST = 1 << 20
_UNSAFE = re.compile(r"[<>:\n\r]")
_FILE_TYPES = (".safetensors", ".ckpt", ".pt", ".pth", ".bin", ".gguf", ".sft")


@dataclass(frozen=True, slots=True)
class Found:
    """How a picture was made, as its own file says: untrusted text, to be shown escaped and checked before use.

    `parameters` has A1111's names ("Steps", "CFG scale", "Size"), `unknown` everything else by the program's own names;
    nothing is dropped. `raw` is the text it was all read from.
    """

    program: str
    prompt: str
    negative: str
    parameters: Mapping[str, str]
    unknown: Mapping[str, str]
    raw: str


def cleaned(found: Found) -> Found:
    """The same without NUL and halves of surrogate pairs, which JSON can smuggle in and nobody can store or send."""
    return Found(
        program=found.program,
        prompt=_storable(found.prompt),
        negative=_storable(found.negative),
        parameters={_storable(name): _storable(value) for name, value in found.parameters.items()},
        unknown={_storable(name): _storable(value) for name, value in found.unknown.items()},
        raw=_storable(found.raw),
    )


def _storable(text: str) -> str:
    return text.replace("\0", "").encode("utf-8", errors="replace").decode("utf-8")


def words(text: str) -> frozenset[str]:
    """The words of a table of names."""
    return frozenset(text.split())


def json_of(text: str | None) -> Any:
    """The parsed JSON, or None for anything that is not JSON, too long or too deep."""
    if not text or len(text) > _LONGEST:
        return None
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def object_of(text: str | None) -> Mapping[str, Any] | None:
    """As `json_of`, but only a JSON object that is not empty."""
    value = json_of(text) if text and text.lstrip()[:1] == "{" else None
    return value if isinstance(value, dict) and value else None


def shown(value: Any) -> str | None:
    """One JSON value as the text of a parameter; None for null, the empty string and NaN."""
    if value is None or value == "":
        return None
    if isinstance(value, float):
        return f"{value:.10g}" if math.isfinite(value) else None
    if isinstance(value, str | int):
        return str(value)
    try:
        return json.dumps(value, ensure_ascii=False)
    except (TypeError, ValueError, RecursionError):  # no JSON value, or too deep
        return None


def known(pairs: Mapping[str, Any]) -> dict[str, str]:
    """The pairs that say something, as text."""
    texts = {name: shown(value) for name, value in pairs.items()}
    return {name: text for name, text in texts.items() if text is not None}


def rest(values: Mapping[str, Any], used: Iterable[str]) -> dict[str, str]:
    """What a reader did not translate."""
    taken = frozenset(used)
    return known({str(name): value for name, value in values.items() if name not in taken})


def size(width: Any, height: Any) -> str | None:
    """ "WxH", or None unless both are sensible numbers of pixels."""
    sides = number(width), number(height)
    if any(side is None or not 1 <= side <= 1_000_000 for side in sides):
        return None
    return "x".join(str(int(side)) for side in sides if side is not None)


def number(value: Any) -> float | None:
    """A finite number out of JSON or text, else None."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        found = float(value)
    except (ValueError, OverflowError):
        return None
    return found if math.isfinite(found) else None


def text_of(value: Any) -> str:
    """A string, or the lines of a list of strings; "" for anything else."""
    if isinstance(value, list):
        return "\n".join(item for item in value if isinstance(item, str))
    return value if isinstance(value, str) else ""


def stem(name: Any) -> str | None:
    """The bare name of a model out of a path of either kind: folders and the file's type do not travel."""
    if not isinstance(name, str) or not name.strip():
        return None
    last = PurePosixPath(name.strip().replace("\\", "/")).name
    for ending in _FILE_TYPES:
        if last.casefold().endswith(ending):
            return last[: -len(ending)]
    return last


def with_loras(prompt: str, loras: Iterable[tuple[Any, Any]]) -> str:
    """The prompt with `<lora:name:weight>` behind it for every LoRA (name or path, weight) that it does not name."""
    parts = [prompt] if prompt else []
    for name, weight in loras:
        title, strength = _UNSAFE.sub(" ", stem(name) or "").strip(), number(weight)
        if title and strength != 0 and f"<lora:{title}:" not in prompt:
            parts.append(f"<lora:{title}:{1 if strength is None else strength:g}>")
    return " ".join(parts)
