"""Invisible marks in pixels: put in at sealing, read by anybody who holds the key."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

from backend.errors import InvalidParameter
from safety.watermark import dct, tile
from safety.watermark.dct import SignetDct
from safety.watermark.invisible import METHODS as INVISIBLE_METHODS
from safety.watermark.invisible import InvisibleWatermark
from safety.watermark.tile import SignetTile
from safety.watermark.types import FOUND_LEVEL, Detection, Watermark, mark_id_of

OWN: Mapping[str, Callable[[bytes], Watermark]] = MappingProxyType(
    {SignetTile.name: SignetTile, SignetDct.name: SignetDct}
)
"""Our own methods, the best measured one first. Pictures of all of them are in the world: every one stays readable."""

METHODS = (*OWN, *INVISIBLE_METHODS)

LOOKS: Mapping[str, int] = MappingProxyType(
    {SignetTile.name: tile.LOOKS * tile.TESTS, SignetDct.name: dct.LOOKS * dct.TESTS}
)
"""How many comparisons the p-value of a method is corrected for, besides the known records; 1 where it is not named."""

__all__ = ["FOUND_LEVEL", "LOOKS", "METHODS", "OWN", "Detection", "Watermark", "mark_id_of", "open_watermark"]


def open_watermark(method: str, key: bytes) -> Watermark:
    """The mark called `method` (one of METHODS) under `key`, a secret of at least 16 bytes."""
    if method in OWN:
        return OWN[method](key)
    if method in INVISIBLE_METHODS:
        return InvisibleWatermark(method, key)
    raise InvalidParameter(
        "watermark", f'There is no watermark method "{method[:80]}".', f"Choose one of: {', '.join(METHODS)}."
    )
