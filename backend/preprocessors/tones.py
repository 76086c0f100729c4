"""Light and dark: inversion, thresholds, and grey pictures for recolouring."""

from __future__ import annotations

import cv2
import numpy as np

from backend.preprocessors.lines import as_pixels
from backend.preprocessors.shapes import Setting
from backend.types import Pixels


def unchanged(pixels: Pixels, _: Setting) -> Pixels:
    """The picture is a hint already."""
    return np.ascontiguousarray(pixels)


def inverted(pixels: Pixels, _: Setting) -> Pixels:
    """Drawings in black on white, as control models want them: white on black."""
    return np.ascontiguousarray(255 - pixels)


def binary(pixels: Pixels, setting: Setting) -> Pixels:
    """White where the picture is brighter than `low`."""
    return as_pixels(np.where(_grey(pixels) > setting.low, 255, 0))


def binary_otsu(pixels: Pixels, _: Setting) -> Pixels:
    """White above the level that parts dark from bright best (Otsu 1979)."""
    return as_pixels(cv2.threshold(_grey(pixels), 0, 255, cv2.THRESH_BINARY + cv2.THRESH_OTSU)[1])


def luminance(pixels: Pixels, setting: Setting) -> Pixels:
    """How bright it looks (L of CIE Lab), with gamma `low`."""
    return _with_gamma(cv2.cvtColor(np.ascontiguousarray(pixels), cv2.COLOR_RGB2LAB)[..., 0], setting.low)


def intensity(pixels: Pixels, setting: Setting) -> Pixels:
    """The largest of red, green and blue (V of HSV), with gamma `low`."""
    return _with_gamma(pixels.max(axis=2), setting.low)


def _grey(pixels: Pixels) -> Pixels:
    return np.asarray(cv2.cvtColor(np.ascontiguousarray(pixels), cv2.COLOR_RGB2GRAY), dtype=np.uint8)


def _with_gamma(grey: Pixels, gamma: float) -> Pixels:
    return as_pixels(np.round(255 * (grey / 255.0) ** gamma))
