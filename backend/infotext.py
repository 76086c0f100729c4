"""Read and write the A1111 "parameters" text (as A1111 1.10.1 writes it).

Pure functions on strings: no files, no images. The container (PNG, JPEG, WebP) is backend.images' business.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass

_NEGATIVE = "Negative prompt:"
_PAIR = re.compile(r'([A-Za-z][^:,"\n]{0,60}):\s*("(?:\\.|[^\\"])*"|[^,]*)(?:,|$)')
_LEAST_PAIRS = 3  # A1111 takes the last line for parameters only if it holds at least this many pairs.


@dataclass(frozen=True, slots=True)
class Infotext:
    """`parameters` keeps the file's order and every key, known or not."""

    prompt: str
    negative: str
    parameters: Mapping[str, str]


def _quote(value: object) -> str:
    text = str(value)
    return json.dumps(text, ensure_ascii=False) if re.search(r'[,:"\n]', text) else text


def _unquote(text: str) -> str:
    if not (text.startswith('"') and text.endswith('"')):
        return text
    try:
        return str(json.loads(text))
    except ValueError:
        return text


def write(prompt: str, negative: str, parameters: Mapping[str, object]) -> str:
    """The text for one picture. Values with commas, colons or line breaks are quoted; None values are left out."""
    lines = [prompt]
    if negative:
        lines.append(f"{_NEGATIVE} {negative}")
    lines.append(", ".join(f"{key}: {_quote(value)}" for key, value in parameters.items() if value is not None))
    return "\n".join(lines)


def read(text: str) -> Infotext:
    """Whatever can be read from a stranger's text; a text without parameters is all prompt. Never raises."""
    *head, last = text.strip().split("\n")
    pairs = {key.strip(): _unquote(value.strip()) for key, value in _PAIR.findall(last[:20_000])}
    if len(pairs) < _LEAST_PAIRS:
        head, pairs = [*head, last], {}
    prompt: list[str] = []
    negative: list[str] = []
    target = prompt
    for line in head:
        if line.startswith(_NEGATIVE):
            target, line = negative, line[len(_NEGATIVE) :].lstrip()
        target.append(line)
    return Infotext("\n".join(prompt).strip(), "\n".join(negative).strip(), pairs)
