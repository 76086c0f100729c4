"""Sizes of hints: A1111's "pixel perfect" rule, and resizing that keeps thin lines whole."""

from __future__ import annotations

import math
from typing import Literal

import cv2
import numpy as np

from backend.types import Pixels

MAX_SIDE = 4096
FEW_COLOURS = 64
"""A picture with no more than these is a map of labels, whose colours must not be mixed."""

Resize = Literal["stretch", "crop", "fill"]


def perfect_resolution(pixels: Pixels, width: int, height: int, resize: Resize) -> int:
    """The working size at which a pixel of the hint is a pixel of the picture ("pixel perfect", ControlNet 1.1)."""
    rows, columns = pixels.shape[:2]
    factors = height / rows, width / columns
    factor = min(factors) if resize == "fill" else max(factors)
    resolution: int = round(factor * min(rows, columns))
    return resolution


def working_copy(pixels: Pixels, resolution: int) -> Pixels:
    """The picture with its shorter side at `resolution` pixels, its longer one at no more than MAX_SIDE."""
    rows, columns = pixels.shape[:2]
    factor = min(resolution / min(rows, columns), MAX_SIDE / max(rows, columns))
    return smooth(pixels, max(1, round(columns * factor)), max(1, round(rows * factor)))


def fitted(hint: Pixels, width: int, height: int, resize: Resize) -> Pixels:
    """The hint at exactly (height, width): stretched, cut at two sides, or with bands in its border's colour."""
    rows, columns = hint.shape[:2]
    if resize == "stretch":
        return resized(hint, width, height)
    factors = width / columns, height / rows
    factor = max(factors) if resize == "crop" else min(factors)
    inner = max(1, round(columns * factor)), max(1, round(rows * factor))
    if resize == "crop":
        inner = max(inner[0], width), max(inner[1], height)
        # A strip one pixel wide would grow beyond all bounds before it is cut: cut first.
        hint, inner = _cut_before(hint, inner, width, height)
    scaled = resized(hint, *inner)
    return _centred(scaled, width, height)


def _cut_before(hint: Pixels, inner: tuple[int, int], width: int, height: int) -> tuple[Pixels, tuple[int, int]]:
    if max(inner) <= 2 * MAX_SIDE:
        return hint, inner
    rows, columns = hint.shape[:2]
    kept_rows = max(1, min(rows, math.ceil(rows * height / inner[1])))
    kept_columns = max(1, min(columns, math.ceil(columns * width / inner[0])))
    return _centred(hint, kept_columns, kept_rows), (width, height)


def _centred(pixels: Pixels, width: int, height: int) -> Pixels:
    """Cut or padded around the middle; padding has the median colour of the border, as in ControlNet 1.1."""
    rows, columns = pixels.shape[:2]
    top, left = max(0, (rows - height) // 2), max(0, (columns - width) // 2)
    cut = pixels[top : top + height, left : left + width]
    if cut.shape[:2] == (height, width):
        return np.ascontiguousarray(cut)
    border = np.concatenate([pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1]])
    whole = np.empty((height, width, 3), np.uint8)
    whole[:] = np.median(border, axis=0).astype(np.uint8)
    top, left = (height - cut.shape[0]) // 2, (width - cut.shape[1]) // 2
    whole[top : top + cut.shape[0], left : left + cut.shape[1]] = cut
    return whole


def resized(hint: Pixels, width: int, height: int) -> Pixels:
    """To (height, width) in the way its content asks for: black and white lines stay lines, labels stay labels."""
    rows, columns = hint.shape[:2]
    if (rows, columns) == (height, width):
        return np.ascontiguousarray(hint)
    colours = _colours(hint)
    if colours is not None and set(colours.tolist()) <= {0, 0xFFFFFF}:
        return _resized_lines(hint, width, height)
    if colours is not None:
        return _as_pixels(cv2.resize(hint, (width, height), interpolation=cv2.INTER_NEAREST))
    return smooth(hint, width, height)


def smooth(pixels: Pixels, width: int, height: int) -> Pixels:
    """Photographs: averaged when they shrink, interpolated when they grow."""
    rows, columns = pixels.shape[:2]
    if (rows, columns) == (height, width):
        return np.ascontiguousarray(pixels)
    shrinks = width * height < rows * columns
    method = cv2.INTER_AREA if shrinks else cv2.INTER_LANCZOS4
    return _as_pixels(cv2.resize(np.ascontiguousarray(pixels), (width, height), interpolation=method))


def _colours(hint: Pixels) -> np.ndarray[tuple[int], np.dtype[np.uint32]] | None:
    """The colours as 24-bit numbers, or None if there are many."""
    packed = hint[..., 0].astype(np.uint32) << 16 | hint[..., 1].astype(np.uint32) << 8 | hint[..., 2]
    colours = np.unique(packed)
    return colours if len(colours) <= FEW_COLOURS else None


def _resized_lines(hint: Pixels, width: int, height: int) -> Pixels:
    rows, columns = hint.shape[:2]
    if width > columns or height > rows:
        grown = cv2.resize(hint, (width, height), interpolation=cv2.INTER_LINEAR)
        return _as_pixels(np.where(grown > 127, 255, 0))
    # Lines are made as wide as a pixel of the small picture before every n-th pixel is taken, so none is lost.
    kernel = np.ones((math.ceil(rows / height), math.ceil(columns / width)), np.uint8)
    return _as_pixels(cv2.resize(cv2.dilate(hint, kernel), (width, height), interpolation=cv2.INTER_NEAREST))


def _as_pixels(values: object) -> Pixels:
    return np.ascontiguousarray(values, dtype=np.uint8)
