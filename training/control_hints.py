"""What a control of the starter is shown, by its kind: hints drawn by the studio's own preprocessors, at 128 x 128."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

import cv2
import numpy as np
import torch

from backend.preprocessors import preprocess
from backend.types import Pixels

STROKE = 100
"""Brightness of a soft edge from which on it counts as drawn; between 50 and 150 a pen grows thin."""
WOBBLE = 2.0
"""Pixels by which a hand may miss a line."""


def edges(picture: Pixels, low: float = 100, high: float = 200) -> Pixels:
    """Canny's thin lines, (H, W, 3)."""
    size = picture.shape[0]
    return preprocess("canny", picture, width=size, height=size, low=low, high=high)


def strokes(picture: Pixels, level: float = STROKE) -> Pixels:
    """Soft edges as a pen would draw them, white on black, (H, W, 3)."""
    return np.where(_soft(picture) > level, 255, 0).astype(np.uint8)


def some_edges(picture: Pixels) -> Pixels:
    """Edges with thresholds of their own."""
    low = int(torch.randint(30, 120, ()))
    return edges(picture, low, 2 * low)


def some_scribble(picture: Pixels) -> Pixels:
    """Strokes of a pen of any width, sometimes soft ones, sometimes those of XDoG; drawn by a hand that trembles.

    XDoG sees only what is darker than all around it: of a drawing in black on white everything, of the starter's
    pictures little. So it has the smaller share.
    """
    draw = float(torch.rand(()))
    if draw < 0.5:
        hint = strokes(picture, int(torch.randint(50, 150, ())))
    elif draw < 0.75:
        hint = _soft(picture)
    else:
        size = picture.shape[0]
        hint = preprocess("scribble", picture, width=size, height=size, low=int(torch.randint(8, 40, ())))
    return wobbled(hint, float(torch.rand(())) * WOBBLE)


def wobbled(hint: Pixels, reach: float) -> Pixels:
    """A hint whose lines are bent by up to `reach` pixels."""
    height, width = hint.shape[:2]
    field = torch.randn(height, width, 2).numpy()
    smooth = cv2.GaussianBlur(field, (0, 0), height / 12)
    smooth *= reach / max(1e-6, float(np.abs(smooth).max()))
    down, across = np.mgrid[:height, :width].astype(np.float32)
    bent = cv2.remap(hint, across + smooth[..., 0], down + smooth[..., 1], cv2.INTER_LINEAR)
    return np.asarray(bent, dtype=np.uint8)


def _soft(picture: Pixels) -> Pixels:
    size = picture.shape[0]
    return preprocess("softedge", picture, width=size, height=size)


@dataclass(frozen=True, slots=True)
class Kind:
    """`hint` is what a picture is measured by, `some_hint` one of many to learn from. `preprocessor` is the one to
    offer in the studio, `shown` says in the card what the hints look like."""

    name: str
    preprocessor: str
    hint: Callable[[Pixels], Pixels]
    some_hint: Callable[[Pixels], Pixels]
    shown: str
    limits: str


KINDS: Mapping[str, Kind] = MappingProxyType(
    {
        "edges": Kind(
            "edges", "canny", edges, some_edges,
            'white lines on black, as the preprocessor "canny" draws them',
            "edges of photographs are far from what it has seen",
        ),
        "scribble": Kind(
            "scribble", "scribble", strokes, some_scribble,
            'white strokes on black: drawn by hand (the preprocessor "scribble" takes a drawing in black on white), or '
            'by "softedge" from a picture',
            "scribbles of other things become whatever fits the lines",
        ),
    }
)  # fmt: skip
