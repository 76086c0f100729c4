"""Texts of strangers made plain: no control or direction characters, no markup, no more than is shown."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from html.parser import HTMLParser
from typing import Any

# Controls but tab and newline, halves of surrogate pairs, and characters that turn the direction of text around.
_UNSEEN = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069\ufeff\ud800-\udfff]")
_BLOCKS = frozenset({"p", "br", "li", "div", "h1", "h2", "h3", "h4", "tr"})


def plain(value: Any, limit: int = 4000) -> str:
    """`value` as text of at most `limit` characters; "" for anything but a text or a number."""
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        return ""
    text = value if isinstance(value, str) else str(value)[:limit]
    text = _UNSEEN.sub("", text[: 4 * limit].replace("\r\n", "\n")).strip()
    return text if len(text) <= limit else text[: limit - 1].rstrip() + "…"


def without_markup(value: Any, limit: int = 4000) -> str:
    """The same for a text in HTML, as Civitai gives descriptions."""
    if not isinstance(value, str):
        return ""
    reader = _Reader()
    try:
        reader.feed(value[: 8 * limit])
        reader.close()
    except AssertionError:  # how the parser answers some broken declarations
        return plain(value, limit)
    return plain(re.sub(r"\n{3,}", "\n\n", "".join(reader.pieces)), limit)


class _Reader(HTMLParser):
    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.pieces: list[str] = []
        self._hidden = 0

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        self._hidden += tag in ("script", "style")
        if tag in _BLOCKS:
            self.pieces.append("\n")

    def handle_endtag(self, tag: str) -> None:
        self._hidden = max(0, self._hidden - (tag in ("script", "style")))

    def handle_data(self, data: str) -> None:
        if not self._hidden:
            self.pieces.append(data)


def json_value(text: str) -> Any:
    """What a text says as JSON, None if it says nothing."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def phrases(value: Any, most: int = 20) -> tuple[str, ...]:
    """Comma-separated words, or a list of them, each once."""
    return tuple(dict.fromkeys(_phrases(value)))[:most]


def _phrases(value: Any) -> Iterator[str]:
    for item in (value if isinstance(value, list) else [value])[:200]:
        for piece in plain(item, 2000).split(","):
            if words := plain(piece, 120):
                yield words


def weight(value: Any) -> float | None:
    """A LoRA's weight, None where none is said (A1111 writes 0 for that)."""
    try:
        number = float(value)
    except (TypeError, ValueError, OverflowError):
        return None
    return number if number and abs(number) <= 10 else None
