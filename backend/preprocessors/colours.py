"""Colour without detail: grids, blur, tiles, and contents shuffled about."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from backend.preprocessors.lines import as_pixels
from backend.preprocessors.shapes import Setting
from backend.preprocessors.sizing import smooth
from backend.types import Pixels

_CELL = 64
_WAVE = 256
"""Pixels between two random points of the flow that shuffles."""


def colour_grid(pixels: Pixels, _: Setting) -> Pixels:
    """One colour for each square of 64 pixels (T2I-Adapter's colour grid)."""
    rows, columns = pixels.shape[:2]
    small = smooth(pixels, max(1, columns // _CELL), max(1, rows // _CELL))
    return as_pixels(cv2.resize(small, (columns, rows), interpolation=cv2.INTER_NEAREST))


def blur(pixels: Pixels, setting: Setting) -> Pixels:
    """Gaussian blur of `low` pixels."""
    return as_pixels(cv2.GaussianBlur(np.ascontiguousarray(pixels), (0, 0), setting.low))


def tile(pixels: Pixels, setting: Setting) -> Pixels:
    """The picture as it looks `low` times smaller: the detail is for the model to make up."""
    rows, columns = pixels.shape[:2]
    small = smooth(pixels, max(1, round(columns / setting.low)), max(1, round(rows / setting.low)))
    return as_pixels(cv2.resize(small, (columns, rows), interpolation=cv2.INTER_CUBIC))


def shuffle(pixels: Pixels, setting: Setting) -> Pixels:
    """Colours and textures carried to other places by a smooth random flow, drawn from the seed `low`."""
    rows, columns = pixels.shape[:2]
    dice = np.random.default_rng(int(setting.low))
    across, down = (_noise(dice, rows, columns) for _ in range(2))
    moved = cv2.remap(
        np.ascontiguousarray(pixels), across * (columns - 1), down * (rows - 1), interpolation=cv2.INTER_LINEAR
    )
    return as_pixels(moved.reshape(pixels.shape))


def _noise(dice: np.random.Generator, rows: int, columns: int) -> NDArray[np.float32]:
    """Smooth noise (rows, columns) that reaches from 0 to 1."""
    points = dice.random((rows // _WAVE + 4, columns // _WAVE + 4), dtype=np.float32)
    wide = cv2.resize(points, None, fx=_WAVE, fy=_WAVE, interpolation=cv2.INTER_CUBIC)
    top, left = dice.integers(0, _WAVE, 2)
    cut = wide[top : top + rows, left : left + columns]
    spread: NDArray[np.float32] = (cut - cut.min()) / max(1e-6, float(cut.max() - cut.min()))
    return spread.astype(np.float32)
