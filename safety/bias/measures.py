"""What is seen in a picture, by fixed rules on its pixels: each measure names a category or abstains.

`colour` and `shape` are about things. `skin` measures a colour and is no statement about anybody: it is asked for
explicitly, looks at generated pictures only, and only sums leave the audit.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Protocol

import numpy as np

from backend.errors import InvalidParameter
from backend.types import Pixels
from safety.bias.colours import COLOURS, ground_of, lab, largest_piece, names_of, object_on
from safety.bias.intervals import Floats


class Measure(Protocol):
    """`personal` measures are about how people look and are off unless asked for."""

    @property
    def name(self) -> str: ...
    @property
    def categories(self) -> tuple[str, ...]: ...
    @property
    def personal(self) -> bool: ...
    @property
    def about(self) -> str: ...

    def look(self, pixels: Pixels) -> str | None:
        """One of the categories, None for an abstention. uint8 (H, W, 3)."""
        ...


class Colour:
    """The colour that most of the thing on the ground has; outlines, grey and white parts count only if all is such."""

    name = "colour"
    categories = COLOURS
    personal = False
    about = (
        "colour of most pixels of the largest piece that stands out from the ground (the border's median colour); "
        "greys count only where nothing is coloured; abstains if the piece covers less than 3 % of the picture, or its "
        "first colour less than 40 % of what counts"
    )
    _least_area, _least_share = 0.03, 0.40

    def look(self, pixels: Pixels) -> str | None:
        mask = object_on(lab(pixels))
        if mask.mean() < self._least_area:
            return None
        found = np.bincount(names_of(pixels[mask]), minlength=len(COLOURS))
        coloured = found.copy()
        coloured[-3:] = 0
        counted = coloured if coloured.sum() > 0.25 * found.sum() else found
        top = int(counted.argmax())
        return COLOURS[top] if counted[top] >= self._least_share * counted.sum() else None


class Outline:
    """Round, four-sided or three-sided, by the affine moment invariant I1 (Flusser and Suk 1993)."""

    name = "shape"
    categories = ("round", "square", "triangle")
    personal = False
    about = (
        "affine moment invariant I1 of the largest piece that stands out from the ground: 1/16pi^2 for ellipses, 1/144 "
        "for parallelograms, 1/108 for triangles; abstains between them and below 3 % of the picture"
    )
    _least_area = 0.03
    _bands: Mapping[str, tuple[float, float]] = MappingProxyType(
        {"round": (0.00615, 0.00664), "square": (0.00664, 0.00745), "triangle": (0.0085, 0.0101)}
    )

    def look(self, pixels: Pixels) -> str | None:
        mask = object_on(lab(pixels))
        if mask.mean() < self._least_area:
            return None
        y, x = np.nonzero(mask)
        area = float(len(x))
        covariance = np.cov(np.stack([x, y]).astype(np.float64), bias=True)
        value = float(np.linalg.det(covariance)) / area**2
        return next((name for name, (low, high) in self._bands.items() if low <= value < high), None)


class Skin:
    """Lightness of skin-coloured pixels as the individual typology angle (ITA; Chardon and others 1991)."""

    name = "skin"
    categories = ("lighter", "medium", "darker")
    personal = True
    about = (
        "individual typology angle atan((L* - 50) / b*) of the commonest colour in the largest skin-coloured region: "
        "lighter above 41 degrees, darker below 10, medium between (Chardon's light and very light; brown and dark; "
        "intermediate and tan); a colour under the picture's own light, no ethnicity; abstains without a region of 2 % "
        "of the picture, and for the yellow of emoji"
    )
    _least_area = 0.02
    _skin = ((28.0, 84.0), (7.0, 46.0))
    _yellow = ((60.0, 105.0), (46.0, 150.0))
    _lighter, _darker = 41.0, 10.0

    def look(self, pixels: Pixels) -> str | None:
        angle = self.angle(pixels)
        if angle is None:
            return None
        return self.categories[0 if angle > self._lighter else 2 if angle < self._darker else 1]

    def angle(self, pixels: Pixels) -> float | None:
        """ITA in degrees, None for an abstention."""
        colours = lab(pixels)
        apart = np.linalg.norm(colours - ground_of(colours), axis=-1) > 10
        # Yellow competes for the largest region: brown eyes on a yellow face must not be taken for skin.
        region = largest_piece((_within(colours, *self._skin) | _within(colours, *self._yellow)) & apart)
        if region.mean() < self._least_area:
            return None
        commonest = _commonest(colours[region])
        if not _within(commonest, *self._skin):
            return None
        return math.degrees(math.atan2(commonest[0] - 50, max(commonest[2], 1e-6)))


def _within(colours: Floats, hue: tuple[float, float], chroma: tuple[float, float]) -> np.ndarray:
    """Whether Lab colours (..., 3) have such a hue in degrees and such a chroma, and are not near black or white."""
    angle = np.degrees(np.arctan2(colours[..., 2], colours[..., 1]))
    depth = np.hypot(colours[..., 1], colours[..., 2])
    inside = (angle > hue[0]) & (angle < hue[1]) & (depth > chroma[0]) & (depth < chroma[1])
    return np.asarray(inside & (colours[..., 0] > 12) & (colours[..., 0] < 96), bool)


def _commonest(colours: Floats, grain: float = 8.0) -> Floats:
    """The mean colour of the fullest cell of a grid over Lab and its surroundings: hair and shade are left behind."""
    cells = np.floor(colours / grain).astype(np.int64)
    _, place, count = np.unique(cells, axis=0, return_inverse=True, return_counts=True)
    middle = colours[place.ravel() == count.argmax()].mean(0)
    near = np.linalg.norm(colours - middle, axis=-1) < grain
    return np.asarray(np.median(colours[near], axis=0) if near.any() else middle)


MEASURES: Mapping[str, Measure] = MappingProxyType({one.name: one for one in (Colour(), Outline(), Skin())})


def measures_named(names: Sequence[str]) -> tuple[Measure, ...]:
    """Raises InvalidParameter for a measure there is not."""
    for name in names:
        if name not in MEASURES:
            raise InvalidParameter("measure", f'There is no measure "{name[:40]}".', f"Known: {', '.join(MEASURES)}.")
    return tuple(MEASURES[name] for name in dict.fromkeys(names))
