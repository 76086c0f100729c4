"""The only module that decodes pictures of strangers or encodes ours.

Decoding is guarded before it starts: known format by its first bytes, size and pixel count from the header. Encoding
writes plain 8-bit RGB with the infotext where A1111 puts it; Content Credentials are added afterwards, by safety.seal.
"""

from __future__ import annotations

import io
import warnings
from dataclasses import dataclass

import numpy as np
from PIL import Image, PngImagePlugin

from backend.errors import UnreadableImage
from backend.types import Pixels

FORMATS = {"PNG": "image/png", "JPEG": "image/jpeg", "WEBP": "image/webp"}
PARAMETERS = "parameters"
_USER_COMMENT = 0x9286
_EXIF_IFD = 0x8769
_TEXT_LIMIT = 1 << 20


@dataclass(frozen=True, slots=True)
class Decoded:
    """`text` is the raw "parameters" text if the file carries one."""

    pixels: Pixels
    media_type: str
    text: str | None


def media_type(data: bytes) -> str:
    """The media type told by the first bytes. Raises UnreadableImage for anything but PNG, JPEG and WebP."""
    if data.startswith(b"\x89PNG\r\n\x1a\n"):
        return "image/png"
    if data.startswith(b"\xff\xd8\xff"):
        return "image/jpeg"
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "image/webp"
    raise UnreadableImage("The file is empty." if not data else "This is not a PNG, JPEG or WebP picture.")


def decode(data: bytes, *, max_pixels: int) -> Decoded:
    """Bytes of an untrusted file to pixels. Raises UnreadableImage; never decodes more than `max_pixels`."""
    kind = media_type(data)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Image.open(io.BytesIO(data), formats=tuple(FORMATS)) as image:
                width, height = image.size
                if width * height > max_pixels:
                    raise _too_large(f"{width} x {height}", max_pixels)
                pixels = np.asarray(image.convert("RGB"), dtype=np.uint8)
                text = _parameters(image)  # after the pixels: a PNG may carry its text behind them
    except UnreadableImage:
        raise
    except Image.DecompressionBombError as error:
        raise _too_large("far too many", max_pixels) from error
    except (OSError, ValueError, SyntaxError, MemoryError) as error:
        raise UnreadableImage(f"The picture is damaged: {str(error)[:120]}.") from error
    return Decoded(pixels, kind, text)


def _too_large(claimed: str, max_pixels: int) -> UnreadableImage:
    detail = f"The picture claims {claimed} pixels; at most {max_pixels / 1e6:g} million are read."
    return UnreadableImage(detail, "Make a smaller copy and try again.")


def _parameters(image: Image.Image) -> str | None:
    """A1111's text: a PNG text chunk, or Exif UserComment in JPEG and WebP."""
    text = image.info.get(PARAMETERS)
    if isinstance(text, str):
        return text[:_TEXT_LIMIT]
    comment = image.getexif().get_ifd(_EXIF_IFD).get(_USER_COMMENT)
    if not isinstance(comment, bytes):
        return comment[:_TEXT_LIMIT] if isinstance(comment, str) else None
    head, body = comment[:8], comment[8:_TEXT_LIMIT]
    if head == b"UNICODE\x00":
        return body.decode("utf-16-be", errors="replace")
    return body.decode("utf-8", errors="replace") if head == b"ASCII\x00\x00\x00" else None


def encode_png(pixels: Pixels, text: str | None = None) -> bytes:
    """Pixels to PNG bytes with `text` as the "parameters" chunk (iTXt when it is not Latin-1)."""
    info = PngImagePlugin.PngInfo()
    if text:
        info.add_text(PARAMETERS, text) if _is_latin1(text) else info.add_itxt(PARAMETERS, text)
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, "PNG", pnginfo=info, compress_level=4)
    return out.getvalue()


def _is_latin1(text: str) -> bool:
    try:
        text.encode("latin-1")
    except UnicodeEncodeError:
        return False
    return True


def encode_thumbnail(pixels: Pixels, side: int = 256) -> bytes | None:
    """A WebP whose longer side is `side` pixels, or None if the picture is not larger than that."""
    height, width = pixels.shape[:2]
    if max(width, height) <= side:
        return None
    image = Image.fromarray(pixels)
    image.thumbnail((side, side), Image.Resampling.LANCZOS)
    out = io.BytesIO()
    image.save(out, "WEBP", quality=80)
    return out.getvalue()


def encode_preview(pixels: Pixels, quality: int = 80) -> bytes:
    """A small JPEG for the live preview; never stored."""
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, "JPEG", quality=quality)
    return out.getvalue()


def encode_jpeg(pixels: Pixels, side: int) -> bytes:
    """A JPEG no larger than `side` pixels: the thumbnail inside a manifest."""
    image = Image.fromarray(pixels)
    image.thumbnail((side, side), Image.Resampling.LANCZOS)
    out = io.BytesIO()
    image.save(out, "JPEG", quality=75)
    return out.getvalue()
