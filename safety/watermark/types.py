"""The one interface of every mark, and what reading a mark can honestly say."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from backend.errors import InvalidParameter
from backend.types import Pixels

FOUND_LEVEL = 1e-6
"""A mark counts as found when its corrected p-value is at most this."""

SMALLEST_P = 1e-300
"""Floor of reported p-values, so that none underflows to an impossible 0."""

MARK_BITS = 48

SMALLEST_SIDE = 64
"""Pixels that a side of a picture needs to carry a mark of ours."""


@dataclass(frozen=True, slots=True)
class Detection:
    """What was read from one picture.

    `p_value` is the chance that a picture never marked with this key looks at least so marked, corrected for every
    record and every transform that was tried; 1.0 means no evidence. `found` is evidence that a holder of the key
    processed the picture, not of who made it; not found does not mean that a picture is free of marks. `record_id`
    is named only when the payload alone singles that record out at the same level; `mark_id` may be known without it
    (the picture was marked with this key, but the record is not among the known ones).
    """

    found: bool
    p_value: float
    record_id: str | None
    mark_id: int | None
    method: str


class Watermark(Protocol):
    """A keyed, blind, invisible mark in the pixels. `mark_id` is a 48-bit number, see `mark_id_of`."""

    @property
    def name(self) -> str: ...

    def embed(self, pixels: Pixels, mark_id: int) -> Pixels:
        """A marked copy of `pixels`, uint8 of the same shape. Raises InvalidParameter if it cannot carry a mark."""
        ...

    def detect(self, pixels: Pixels, known: Iterable[tuple[str, int]]) -> Detection:
        """Look for the mark of this key. `known` are (record id, mark id) of the history; it may be empty."""
        ...


def mark_id_of(record_id: str) -> int:
    """The 48-bit mark id of a record: the first bits of the SHA-256 of its id."""
    return int.from_bytes(hashlib.sha256(record_id.encode()).digest()[: MARK_BITS // 8], "big")


def checked_pixels(pixels: Pixels) -> Pixels:
    """Raises InvalidParameter("pixels") for what is no uint8 RGB picture."""
    if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] != 3:
        raise InvalidParameter("pixels", "A picture to mark is uint8 of shape (height, width, 3).")
    return pixels


def checked_room(pixels: Pixels) -> Pixels:
    """The same for a picture that is to carry a mark of ours, which takes SMALLEST_SIDE px on both sides."""
    height, width, _ = checked_pixels(pixels).shape
    if min(height, width) < SMALLEST_SIDE:
        raise InvalidParameter(
            "pixels",
            f"A picture of {width} x {height} px is too small for a watermark.",
            f"Both sides must have at least {SMALLEST_SIDE} px.",
        )
    return pixels
