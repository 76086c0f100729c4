"""The text that travels in a picture's file: PNG text chunks and Exif strings, each bounded, as plain Python strings.

Works on bytes and on Pillow's parsed Exif; decodes no pixels (backend.images does) and gives the text no meaning
(backend.infotext and backend.dialects do).
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable, Iterator, Mapping
from itertools import islice
from typing import Any

TEXT_LIMIT = 1 << 20
"""Characters (and unpacked bytes) of one text that are read."""
MOST_TEXTS = 64
MOST_CHUNKS = 200_000
"""A 64 million pixel PNG in the usual chunks of 8 KiB has a tenth of this."""

_PNG_START = 8
_LONGEST_KEYWORD = 79  # PNG specification, 11.3.3
_CODE_BYTES = 8
_SAMPLE = 4096
_BASE_TAGS = {
    0x010E: "ImageDescription",
    0x010F: "Make",
    0x0110: "Model",
    0x0131: "Software",
    0x013B: "Artist",
    0x8298: "Copyright",
    0x9C9C: "XPComment",
}
_EXIF_TAGS = {0x9286: "UserComment", 0x927C: "MakerNote"}
USER_COMMENT = "Exif.UserComment"
XMP = "XMP"
COMMENT = "comment"


class TooManyChunks(ValueError):
    """A PNG of so many parts that reading them is an attack in itself."""


def png_texts(data: bytes) -> tuple[dict[str, str], bytes]:
    """The text chunks of a PNG by keyword, and the same file without them, which is what the decoder gets.

    Pillow unpacks compressed text before it can be asked about its size, and gives the whole picture up if that is too
    much; so the text is taken out first. Of chunks with one keyword the last counts. Raises TooManyChunks.
    """
    kept: list[bytes] = [data[:_PNG_START]]
    texts: dict[str, str] = {}
    for name, whole in _chunks(data):
        reader = _READERS.get(name)
        if reader is None:
            kept.append(whole)
            continue
        keyword, _, rest = whole[8:-4].partition(b"\0")
        title = keyword[:_LONGEST_KEYWORD].decode("latin-1")
        text = reader(rest) if len(texts) < MOST_TEXTS or title in texts else None
        if text is not None:
            texts[title] = text[:TEXT_LIMIT]
    return texts, b"".join(kept)


def with_png_text(data: bytes, keyword: str, text: str) -> bytes:
    """The same PNG with one more text, as an iTXt chunk behind the header (PNG specification, 11.3.4.4)."""
    body = b"iTXt" + keyword.encode("latin-1") + b"\0\0\0\0\0" + text.encode()
    chunk = struct.pack(">I", len(body) - 4) + body + struct.pack(">I", zlib.crc32(body))
    behind = _PNG_START + 12 + struct.unpack_from(">I", data, _PNG_START)[0]
    return data[:behind] + chunk + data[behind:]


def _chunks(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """(name, whole chunk) in file order; what is no chunk comes as one last piece without a name."""
    place = _PNG_START
    for _ in range(MOST_CHUNKS):
        if place + 12 > len(data):
            break
        (length,) = struct.unpack_from(">I", data, place)
        end = place + 12 + length
        if end > len(data):
            break
        yield data[place + 4 : place + 8], data[place:end]
        place = end
    else:
        if place < len(data):
            raise TooManyChunks
    if place < len(data):
        yield b"", data[place:]


def _plain(body: bytes) -> str:
    return body[:TEXT_LIMIT].decode("latin-1")


def _packed(body: bytes) -> str | None:
    unpacked = _unpack(body[1:]) if body[:1] == b"\0" else None
    return None if unpacked is None else unpacked.decode("latin-1")


def _international(body: bytes) -> str | None:
    packed, method = body[:1], body[1:2]
    _language, _, rest = body[2:].partition(b"\0")
    _translated, _, text = rest.partition(b"\0")
    if packed == b"\1":
        unpacked = _unpack(text) if method == b"\0" else None
        return None if unpacked is None else unpacked.decode("utf-8", errors="replace")
    return text[: 4 * TEXT_LIMIT].decode("utf-8", errors="replace")


def _unpack(body: bytes) -> bytes | None:
    try:
        return zlib.decompressobj().decompress(body, TEXT_LIMIT)
    except zlib.error:
        return None


_READERS: Mapping[bytes, Callable[[bytes], str | None]] = {b"tEXt": _plain, b"zTXt": _packed, b"iTXt": _international}


def exif_texts(base: Mapping[int, Any], private: Mapping[int, Any]) -> dict[str, str]:
    """Strings of an Exif block: `base` is its first directory, `private` the Exif directory. Keys are "Exif.<tag>"."""
    named = [(name, base.get(tag)) for tag, name in _BASE_TAGS.items()]
    named += [(name, private.get(tag)) for tag, name in _EXIF_TAGS.items()]
    texts = ((f"Exif.{name}", exif_text(value, name)) for name, value in named)
    return {name: text for name, text in texts if text}


def exif_text(value: object, name: str = "UserComment") -> str | None:
    """One Exif value as text. UserComment starts with an 8-byte character code (Exif 2.32, 4.6.5); others are plain."""
    if isinstance(value, str):
        return value[:TEXT_LIMIT].strip("\0 ") or None
    if isinstance(value, tuple):  # XPComment comes as a row of numbers
        value = bytes(islice((item & 255 for item in value if isinstance(item, int)), 2 * TEXT_LIMIT))
    if not isinstance(value, bytes):
        return None
    value = value[: 2 * TEXT_LIMIT + _CODE_BYTES]
    if name == "XPComment":
        return value.decode("utf-16-le", errors="replace").strip("\0 ") or None
    return (_coded(value) or "")[:TEXT_LIMIT].strip("\0 ") or None


def _coded(value: bytes) -> str | None:
    head, body = value[:_CODE_BYTES], value[_CODE_BYTES:]
    if head == b"UNICODE\0":
        return _sixteen_bit(body)
    if head in (b"ASCII\0\0\0", bytes(_CODE_BYTES)):
        return body.decode("utf-8", errors="replace")
    if head == b"JIS\0\0\0\0\0":
        return None
    try:  # no code at all: programs that write plain text
        return value.decode("utf-8")
    except UnicodeDecodeError:
        return None


def _sixteen_bit(body: bytes) -> str:
    """UTF-16 of either byte order: Exif means the file's own, A1111 always writes big-endian, others little-endian.

    Parameters always hold ASCII ("Steps: "), so the order in which more characters are ASCII is the right one. Bytes
    without any zero are no 16-bit parameters at all; some programs put UTF-8 there.
    """
    if body[:2] in (b"\xff\xfe", b"\xfe\xff"):
        return body.decode("utf-16", errors="replace")
    sample = body[:_SAMPLE]
    if b"\0" not in sample:
        try:
            return body.decode("utf-8")
        except UnicodeDecodeError:
            pass
    little = sum(char < "\x80" for char in sample.decode("utf-16-le", errors="replace"))
    big = sum(char < "\x80" for char in sample.decode("utf-16-be", errors="replace"))
    return body.decode("utf-16-le" if little > big else "utf-16-be", errors="replace")


def user_comment(text: str) -> bytes:
    """`text` as Exif UserComment the way A1111 writes it: the code UNICODE, then UTF-16, big-endian."""
    return b"UNICODE\0" + text.encode("utf-16-be", errors="replace")
