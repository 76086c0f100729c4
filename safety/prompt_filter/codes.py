"""Text written in a code that needs no key: base64, hexadecimal, binary, character numbers, percent and HTML escapes.

A model does not read these, but the tools in front of one may, and an extension that decodes prompts is quickly
written. What comes out of a code counts only if it reads like text: ordinary words are valid base64 too.
"""

from __future__ import annotations

import base64
import binascii
import html
import re
from collections.abc import Callable, Iterator
from urllib.parse import unquote

Reads = Callable[[str], bool]

_BASE64 = re.compile(r"(?<![\w+/=-])[A-Za-z0-9+/_-]{8,}={0,2}(?![\w+/=-])")
_HEX = re.compile(r"(?<![0-9A-Za-z])(?:(?:0x|\\x)?[0-9A-Fa-f]{2}[\s:,-]{0,2}){3,}(?![0-9A-Za-z])")
_BITS = re.compile(r"(?<!\d)(?:[01]{8}[\s,]{0,2}){3,}(?!\d)")
_NUMBERS = re.compile(r"(?<!\d)(?:\d{2,3}[\s,]{1,2}){2,}\d{2,3}(?!\d)")
_ESCAPE = re.compile(r"\\u\{?([0-9A-Fa-f]{4,6})\}?|\\x([0-9A-Fa-f]{2})")
_PERCENT = re.compile(r"%[0-9A-Fa-f]{2}")
_ENTITY = re.compile(r"&#?\w+;")
_GAPS = re.compile(r"0x|\\x|[\s:,-]")


def decoded(text: str, reads: Reads) -> tuple[str, tuple[str, ...]]:
    """The text with what was coded in it written out, and the names of the codes. `reads` says what is text."""
    layers: list[str] = []
    for name, pattern, values in _CODES:
        changed = pattern.sub(lambda match, values=values: _first(values(match[0]), reads) or match[0], text)  # type: ignore[misc]
        if changed != text:
            layers.append(name)
            text = changed
    for pattern, write_out in ((_ESCAPE, _unescaped), (_PERCENT, unquote), (_ENTITY, html.unescape)):
        if pattern.search(text) and (plain := write_out(text)) != text:
            layers.append("escapes")
            text = plain
    return text, tuple(dict.fromkeys(layers))


def _first(values: Iterator[bytes], reads: Reads) -> str | None:
    for value in values:
        try:
            text = value.decode()
        except UnicodeDecodeError:
            continue
        if text.strip() and reads(text):
            return text
    return None


def _base64(code: str) -> Iterator[bytes]:
    bare = code.rstrip("=").replace("-", "+").replace("_", "/")
    try:
        yield base64.b64decode(bare + "=" * (-len(bare) % 4), validate=True)
    except (binascii.Error, ValueError):
        return


def _hex(code: str) -> Iterator[bytes]:
    digits = _GAPS.sub("", code)
    if len(digits) % 2 == 0:
        yield bytes.fromhex(digits)


def _bits(code: str) -> Iterator[bytes]:
    digits = _GAPS.sub("", code)
    yield bytes(int(digits[i : i + 8], 2) for i in range(0, len(digits) - 7, 8))


def _numbers(code: str) -> Iterator[bytes]:
    numbers = [int(number) for number in re.findall(r"\d+", code)]
    if all(31 < number < 127 for number in numbers):
        yield bytes(numbers)


def _unescaped(text: str) -> str:
    return _ESCAPE.sub(_char, text)


def _char(match: re.Match[str]) -> str:
    point = int(match[1] or match[2], 16)
    return chr(point) if point < 0x110000 and not 0xD800 <= point < 0xE000 else " "


_CODES = (("base64", _BASE64, _base64), ("hex", _HEX, _hex), ("binary", _BITS, _bits), ("numbers", _NUMBERS, _numbers))
