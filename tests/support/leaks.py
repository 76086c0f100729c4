"""Does what left show a picture that should have stayed? Decoded pixels against decoded pixels."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from backend import images
from backend.errors import UnreadableImage
from backend.types import Pixels

_BASE64 = re.compile(rb"[A-Za-z0-9+/]{200,}={0,2}")
_STARTS = (b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"RIFF")
CLEAR = 0.2
"""The share of its fine detail from which a picture counts as seen."""


def pictures_in(body: bytes) -> Iterator[Pixels]:
    """Every picture in a reply: the reply itself, what begins inside it, and what stands in it as base64."""
    for data in (body, *_decoded(body)):
        for start in _STARTS:
            for found in re.finditer(re.escape(start), data):
                try:
                    yield images.decode(data[found.start() :], max_pixels=1 << 24).pixels
                except UnreadableImage:
                    continue


def _decoded(body: bytes) -> Iterator[bytes]:
    for found in _BASE64.finditer(body):
        text = found[0][: len(found[0]) // 4 * 4]
        try:
            yield base64.b64decode(text)
        except binascii.Error:
            continue


def shown(sent: Pixels, kept: Pixels) -> float:
    """The share of the fine detail of `kept` that `sent` shows, at the size of the smaller one: near 1 for a copy or a
    clear thumbnail, near 0 for another picture and for a blur."""
    width, height = min(sent.shape[1], kept.shape[1]), min(sent.shape[0], kept.shape[0])
    one, other = (_detail(pixels, width, height) for pixels in (sent, kept))
    power = float((other * other).sum())
    return float((one * other).sum()) / power if power else 0.0


def _detail(pixels: Pixels, width: int, height: int) -> NDArray[np.float64]:
    small = Image.fromarray(pixels).resize((width, height), Image.Resampling.BOX)
    smooth = small.filter(ImageFilter.GaussianBlur(2))
    return np.asarray(small, np.float64) - np.asarray(smooth, np.float64)


def leaks(body: bytes, kept: Pixels) -> bool:
    """Whether a reply shows the picture."""
    return any(abs(shown(pixels, kept)) > CLEAR for pixels in pictures_in(body))
