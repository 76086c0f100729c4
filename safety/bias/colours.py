"""Colours as eyes see them, what stands on the ground, and the name of a colour. Pixels are uint8 (H, W, 3) sRGB."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from backend.types import Pixels
from safety.bias.intervals import Floats

Mask = NDArray[np.bool_]
_TO_XYZ = (
    (0.4124564, 0.3575761, 0.1804375),
    (0.2126729, 0.7151522, 0.0721750),
    (0.0193339, 0.1191920, 0.9503041),
)
_WHITE = (0.95047, 1.0, 1.08883)
_STANDS_OUT = 18.0
"""Distance in Lab from the ground above which a pixel belongs to what stands on it."""

COLOURS = ("red", "orange", "yellow", "green", "blue", "purple", "pink", "brown", "grey", "black", "white")
_HUES: Mapping[str, tuple[float, float]] = MappingProxyType(
    {
        "orange": (16.0, 40.0),
        "yellow": (40.0, 70.0),
        "green": (70.0, 165.0),
        "blue": (165.0, 256.0),
        "purple": (256.0, 300.0),
        "pink": (300.0, 336.0),
    }
)
"""Degrees of the hexagonal hue circle; what is left is red."""


def lab(pixels: NDArray[np.generic]) -> Floats:
    """CIE L*a*b* (D65, 2 degrees) of sRGB values 0..255, shape (..., 3)."""
    value = np.asarray(pixels, np.float64) / 255
    linear = np.where(value <= 0.04045, value / 12.92, ((value + 0.055) / 1.055) ** 2.4)
    scaled = linear @ np.array(_TO_XYZ).T / np.array(_WHITE)
    f = np.where(scaled > (6 / 29) ** 3, np.cbrt(scaled), scaled / (3 * (6 / 29) ** 2) + 4 / 29)
    x, y, z = f[..., 0], f[..., 1], f[..., 2]
    return np.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], axis=-1)


def ground_of(colours: Floats) -> Floats:
    """The colour (3,) that most of the border has: the median of a frame of one thirtieth of the shorter side."""
    height, width = colours.shape[:2]
    edge = max(1, min(height, width) // 30)
    frame = [colours[:edge], colours[-edge:], colours[:, :edge], colours[:, -edge:]]
    return np.asarray(np.median(np.concatenate([part.reshape(-1, 3) for part in frame]), axis=0))


def object_on(colours: Floats) -> Mask:
    """What stands out from the ground, the largest connected piece with its holes filled; nothing if nothing does."""
    apart: Mask = np.linalg.norm(colours - ground_of(colours), axis=-1) > _STANDS_OUT
    return largest_piece(np.asarray(ndimage.binary_fill_holes(apart), bool))


def largest_piece(mask: Mask) -> Mask:
    """The largest connected piece of a mask (four neighbours)."""
    pieces, count = ndimage.label(mask)
    if not count:
        return mask
    sizes = np.bincount(pieces.ravel())
    sizes[0] = 0
    return np.asarray(pieces == sizes.argmax(), bool)


def names_of(pixels: Pixels) -> NDArray[np.int64]:
    """The colour of every pixel as an index into COLOURS, shape (...)."""
    value = np.asarray(pixels, np.float64) / 255
    most, least = value.max(-1), value.min(-1)
    spread = most - least
    red, green, blue = value[..., 0], value[..., 1], value[..., 2]
    safe = np.where(spread > 0, spread, 1)
    sector = np.select(
        [most == red, most == green], [(green - blue) / safe % 6, (blue - red) / safe + 2], (red - green) / safe + 4
    )
    hue = 60 * sector
    depth = spread / np.where(most > 0, most, 1)
    found = np.zeros(hue.shape, np.int64)
    for name, (low, high) in _HUES.items():
        found[(hue >= low) & (hue < high)] = COLOURS.index(name)
    warm = np.isin(found, [COLOURS.index(name) for name in ("red", "orange")])
    found[warm & (hue < 50) & (most < 0.72) & (hue >= 5)] = COLOURS.index("brown")
    found[((found == COLOURS.index("red")) | (found == COLOURS.index("pink"))) & (depth < 0.55) & (most > 0.7)] = (
        COLOURS.index("pink")
    )
    neutral = (spread < 0.09) | (depth < 0.12)
    found[neutral] = COLOURS.index("grey")
    found[neutral & (least > 0.87)] = COLOURS.index("white")
    found[most < 0.18] = COLOURS.index("black")
    return found
