"""Skeletons of people (OpenPose, Cao et al. 2017): from maps of joints and of limbs to a drawing.

A network gives, for each of 18 joints, how likely it is at each place, and for each of 19 limbs a field of arrows along
it. Joints are the peaks; pairs of them belong together where the arrows between them agree.
"""

from __future__ import annotations

import colorsys
from collections.abc import Mapping
from itertools import product

import cv2
import numpy as np
from numpy.typing import NDArray

from backend.types import Pixels

JOINTS = 18
"""Nose, neck, right shoulder, elbow, wrist, left ones, right hip, knee, ankle, left ones, then eyes and ears."""
LIMBS = (
    (1, 2), (1, 5), (2, 3), (3, 4), (5, 6), (6, 7), (1, 8), (8, 9), (9, 10), (1, 11), (11, 12), (12, 13), (1, 0),
    (0, 14), (14, 16), (0, 15), (15, 17), (2, 16), (5, 17),
)  # fmt: skip
FIELDS = (12, 20, 14, 16, 22, 24, 0, 2, 4, 6, 8, 10, 28, 30, 34, 32, 36, 18, 26)
"""The channel of each limb's arrows to the right; those down follow it."""
DRAWN = 17
"""Limbs that are drawn: all but those from shoulder to ear, which only help to find who is who."""
PEAK, AGREEMENT, FEWEST = 0.15, 0.05, 4
"""Least height of a joint, least mean length of arrows along a limb, fewest joints of a person."""

Person = Mapping[int, tuple[float, float]]
"""Joint number to (across, down)."""


def people(heat: NDArray[np.float32], fields: NDArray[np.float32]) -> tuple[Person, ...]:
    """`heat` (H, W, 19, the last being "nothing here") and `fields` (H, W, 38) to the people in them, in map pixels."""
    joints = [_peaks(heat[..., joint]) for joint in range(JOINTS)]
    found: list[dict[int, tuple[int, int]]] = []
    for (first, second), channel in zip(LIMBS, FIELDS, strict=True):
        for one, other in _pairs(joints[first], joints[second], fields[..., channel : channel + 2]):
            _connect(found, (first, one), (second, other))
    whole = [person for person in found if len(person) >= FEWEST]
    return tuple({joint: (float(x), float(y)) for joint, (x, y) in person.items()} for person in whole)


def _peaks(heat: NDArray[np.float32]) -> list[tuple[int, int]]:
    """(across, down) of every place that is higher than all around it."""
    calm = cv2.GaussianBlur(heat, (0, 0), 1.0).reshape(heat.shape)
    highest = cv2.dilate(calm, np.ones((5, 5), np.uint8)).reshape(heat.shape)
    downs, acrosses = np.nonzero((calm >= highest) & (calm > PEAK))
    return list(zip(acrosses.tolist(), downs.tolist(), strict=True))


def _pairs(
    firsts: list[tuple[int, int]], seconds: list[tuple[int, int]], field: NDArray[np.float32]
) -> list[tuple[tuple[int, int], tuple[int, int]]]:
    """The best partners, each joint used once."""
    scored = sorted(
        ((_along(field, one, other), one, other) for one, other in product(firsts, seconds)), reverse=True
    )  # fmt: skip
    taken: set[tuple[int, tuple[int, int]]] = set()
    chosen: list[tuple[tuple[int, int], tuple[int, int]]] = []
    for score, one, other in scored:
        if score > AGREEMENT and not taken & {(0, one), (1, other)}:
            taken |= {(0, one), (1, other)}
            chosen.append((one, other))
    return chosen


def _along(field: NDArray[np.float32], one: tuple[int, int], other: tuple[int, int]) -> float:
    """How far the arrows between two joints point from one to the other; 0 unless most of them do."""
    way = np.subtract(other, one).astype(np.float32)
    length = float(np.hypot(*way))
    if length == 0:
        return 0.0
    steps = np.linspace(0, 1, 10)[:, None] * way + one
    across, down = np.rint(steps).astype(int).T
    arrows = field[down, across] @ (way / length)
    return float(arrows.mean()) if (arrows > AGREEMENT).mean() >= 0.7 else 0.0


def _connect(
    found: list[dict[int, tuple[int, int]]], one: tuple[int, tuple[int, int]], other: tuple[int, tuple[int, int]]
) -> None:
    """Adds a limb to whom it belongs; two people it joins become one unless both have that joint."""
    owners = [person for person in found if one in person.items() or other in person.items()]
    if not owners:
        found.append(dict([one, other]))
        return
    owner = owners[0]
    if len(owners) == 2 and not owner.keys() & owners[1].keys():
        owner.update(owners[1])
        found.remove(owners[1])
    for joint, place in (one, other):
        owner.setdefault(joint, place)


def drawn(persons: tuple[Person, ...], width: int, height: int, scale: tuple[float, float]) -> Pixels:
    """Coloured skeletons on black, as pose models were trained on; `scale` is pixels per map pixel (across, down)."""
    canvas = np.zeros((height, width, 3), np.uint8)
    thick = max(1, round(4 * min(width, height) / 512))
    placed = [{joint: ((x + 0.5) * scale[0], (y + 0.5) * scale[1]) for joint, (x, y) in p.items()} for p in persons]
    for number, (first, second) in enumerate(LIMBS[:DRAWN]):
        for person in placed:
            if first in person and second in person:
                _limb(canvas, person[first], person[second], thick, _colour(number))
    canvas = (canvas * 0.6).astype(np.uint8)
    for person in placed:
        for joint, place in person.items():
            cv2.circle(canvas, (round(place[0]), round(place[1])), thick, _colour(joint), -1)
    return canvas


def _limb(canvas: Pixels, one: tuple[float, float], other: tuple[float, float], thick: int, colour: object) -> None:
    middle = round((one[0] + other[0]) / 2), round((one[1] + other[1]) / 2)
    way = np.subtract(other, one)
    angle = round(float(np.degrees(np.arctan2(way[1], way[0]))))
    outline = cv2.ellipse2Poly(middle, (max(1, round(float(np.hypot(*way)) / 2)), thick), angle, 0, 360, 5)
    cv2.fillConvexPoly(canvas, outline, colour)


def _colour(number: int) -> tuple[int, int, int]:
    """18 hues around the wheel, red first."""
    red, green, blue = colorsys.hsv_to_rgb(number / JOINTS, 1, 1)
    return int(255 * red), int(255 * green), int(255 * blue)
