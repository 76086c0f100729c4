"""Text in the lowest bit of the transparency ("stealth PNG info"), as NovelAI and an A1111 extension write it.

The bits run down the columns, from the left: a signature of 15 bytes, the length of the text in bits (32, big-endian),
the text in UTF-8, packed with gzip if the signature says so.
"""

from __future__ import annotations

import zlib

import numpy as np
from numpy.typing import NDArray

from backend.imagetext import TEXT_LIMIT

_SIGNATURES = {b"stealth_pnginfo": False, b"stealth_pngcomp": True}
_HEAD_BYTES = 15 + 4
_GZIP = 31  # zlib's number for "a gzip header is expected"


def stealth_text(alpha: NDArray[np.uint8] | None) -> str | None:
    """The hidden text of `alpha` (H, W), at most TEXT_LIMIT bytes of it, or None."""
    if alpha is None or alpha.ndim != 2 or alpha.size < 8 * _HEAD_BYTES:
        return None
    head = _bytes(alpha, 0, _HEAD_BYTES)
    packed = _SIGNATURES.get(head[:15])
    if packed is None:
        return None
    length = int.from_bytes(head[15:], "big") // 8
    body = _bytes(alpha, _HEAD_BYTES, min(length, TEXT_LIMIT))
    if packed:
        try:
            body = zlib.decompressobj(_GZIP).decompress(body, TEXT_LIMIT)
        except zlib.error:
            return None
    return body.decode("utf-8", errors="replace") or None


def _bytes(alpha: NDArray[np.uint8], start: int, count: int) -> bytes:
    """`count` bytes from byte `start` of the hidden stream; only the columns that hold them are touched."""
    height = alpha.shape[0]
    columns = -(-8 * (start + count) // height)
    bits = (alpha[:, :columns].T & 1).reshape(-1)[8 * start : 8 * (start + count)]
    return np.packbits(bits).tobytes()
