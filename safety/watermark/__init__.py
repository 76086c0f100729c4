"""Invisible marks in pixels: put in at sealing, read by anybody who holds the key."""

from __future__ import annotations

from backend.errors import InvalidParameter
from safety.watermark.dct import SignetDct
from safety.watermark.invisible import METHODS as INVISIBLE_METHODS
from safety.watermark.invisible import InvisibleWatermark
from safety.watermark.types import FOUND_LEVEL, Detection, Watermark, mark_id_of

METHODS = (SignetDct.name, *INVISIBLE_METHODS)

__all__ = ["FOUND_LEVEL", "METHODS", "Detection", "Watermark", "mark_id_of", "open_watermark"]


def open_watermark(method: str, key: bytes) -> Watermark:
    """The mark called `method` (one of METHODS) under `key`, a secret of at least 16 bytes."""
    if method == SignetDct.name:
        return SignetDct(key)
    if method in INVISIBLE_METHODS:
        return InvisibleWatermark(method, key)
    raise InvalidParameter(
        "watermark", f'There is no watermark method "{method[:80]}".', f"Choose one of: {', '.join(METHODS)}."
    )
