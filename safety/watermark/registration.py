"""By how much a picture was turned, resized or stretched since it was marked: found from the sync pattern alone.

The waves of the sync pattern stand out in the spectrum of the whole picture, wherever it was cut. Turning the picture
turns their places, resizing it moves them outward or inward. All angles and scales, and all pairs of a width and a
height, are compared by looking up these places; then the best few are put upright and judged by how well the sync
pattern fits in phase.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from safety.watermark.lattice import HIGHEST, PERIOD, Lattice, Plane, Synced, Tile, flattened, folded, spectrum

CANONICAL = 512
"""px; geometric mean of the sides at which larger pictures are marked and read."""

WIDEST = np.deg2rad(7.0)
SMALLEST_SCALE, LARGEST_SCALE = 0.25, 4.0
MOST_STRETCHED = 1.6  # width to height or the reverse
COMMON_SCALES = (0.25, 1 / 3, 0.5, 2 / 3, 0.75, 0.8, 1.25, 4 / 3, 1.5, 2.0, 8 / 3, 3.0, 4.0)
PEAK = 6.0  # times the mean around it: the most that one wave counts
FEW, MANY = 8, 160  # candidates judged in phase, of a large and of a small picture
BEST = 8
ADJUSTED = 3
LEVEL = float(np.log(1.25))  # between the scales at which a picture is flattened to judge poses fast
SMALLEST, LARGEST = 24, 1.3 * CANONICAL  # px; what a picture put upright can measure if it is to say anything


@dataclass(frozen=True, slots=True)
class Pose:
    """The picture is the marked one resized by `right` and `down`, then turned by `angle` (radians, right to down)."""

    right: float
    down: float
    angle: float = 0.0


@dataclass(frozen=True, slots=True)
class Look:
    """A picture put upright, ready to be read at the shift where the sync pattern fits best."""

    synced: Synced
    seen: Tile
    pose: Pose


def judged(lattice: Lattice, luma: Plane, pose: Pose) -> Look | None:
    """None if the marked picture would have been too small or too large to be one."""
    width, height = luma.shape[1] / pose.right, luma.shape[0] / pose.down
    if min(width, height) < SMALLEST or width * height > LARGEST**2:
        return None
    put = upright(luma, pose)
    seen = spectrum(folded(flattened(put)[0]), put.size)
    return Look(lattice.best_shift(seen), seen, pose)


def upright(luma: Plane, pose: Pose, *, smooth: bool = True) -> Plane:
    """`luma` turned and resized back."""
    height, width = luma.shape
    largest = max(pose.right, pose.down)
    if smooth and largest > 1.2:  # what shrinking would fold into the band is taken out first
        luma = cv2.GaussianBlur(luma, (0, 0), 0.45 * float(np.sqrt(largest**2 - 1)))
    size = (round(width / pose.right), round(height / pose.down))
    cosine, sine = np.cos(pose.angle), np.sin(pose.angle)
    turn = np.array([[cosine * pose.right, -sine * pose.down], [sine * pose.right, cosine * pose.down]])
    middle = np.array([width - 1, height - 1]) / 2 - turn @ ((np.array(size) - 1) / 2)
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    put: Plane = cv2.warpAffine(
        luma, np.column_stack([turn, middle]), size, flags=flags, borderMode=cv2.BORDER_REFLECT_101
    )
    return put


def search(lattice: Lattice, luma: Plane) -> list[Look]:
    """The BEST looks by sync score, best first, none of a tiny picture.

    The first is adjusted finely, of a small picture the first few.
    """
    if min(luma.shape) < SMALLEST:
        return []
    side = float(np.sqrt(luma.size))
    step = 0.8 * PERIOD / (side * HIGHEST)  # about half the width of a peak at the far end of the band
    count = int(np.clip(FEW * (CANONICAL / side) ** 2, FEW, MANY))
    poses = [*_likely(lattice, luma, step, count), *(Pose(scale, scale) for scale in COMMON_SCALES)]
    roughly = _Levels(lattice, luma)
    likely = sorted(_apart(poses, 0.25 * step), key=roughly.score, reverse=True)[:BEST]
    looks = [look for pose in likely if (look := judged(lattice, luma, pose)) is not None]
    looks.sort(key=_score, reverse=True)
    adjusted = ADJUSTED if side < 2.2 * PERIOD else 1
    best = [_adjusted(lattice, luma, look, step) if i < adjusted else look for i, look in enumerate(looks[:BEST])]
    return sorted(best, key=_score, reverse=True)


class _Levels:
    """Judges poses fast: a picture is flattened at few scales only, and turned and resized from the nearest."""

    def __init__(self, lattice: Lattice, luma: Plane) -> None:
        self._lattice, self._luma = lattice, luma
        self._levels: dict[int, Plane] = {}

    def score(self, pose: Pose) -> float:
        width, height = self._luma.shape[1] / pose.right, self._luma.shape[0] / pose.down
        if min(width, height) < SMALLEST or width * height > LARGEST**2:
            return -np.inf
        level = round(float(np.log(np.sqrt(pose.right * pose.down)) / LEVEL))
        if level not in self._levels:
            scale = float(np.exp(level * LEVEL))
            self._levels[level] = flattened(upright(self._luma, Pose(scale, scale)) if level else self._luma)[0]
        flat = self._levels[level]
        rest = Pose(flat.shape[1] / width, flat.shape[0] / height, pose.angle)
        put = upright(flat, rest, smooth=False)
        return self._lattice.best_shift(spectrum(folded(put), put.size)).score


def _apart(poses: Sequence[Pose], least: float) -> list[Pose]:
    """`poses` without those next to one that comes earlier."""
    kept: dict[tuple[int, int, int], Pose] = {}
    for pose in poses:
        place = (np.log(pose.right), np.log(pose.down), pose.angle)
        kept.setdefault((round(place[0] / least), round(place[1] / least), round(place[2] / least)), pose)
    return list(kept.values())


def _score(look: Look) -> float:
    return look.synced.score


def _adjusted(lattice: Lattice, luma: Plane, look: Look, step: float) -> Look:
    """The best of the neighbouring poses, half a step away, then a quarter."""
    stretched = look.pose.right != look.pose.down
    for part in (0.5 * step, 0.25 * step):
        here = look.pose
        for first in (-part, 0.0, part):
            for second in (-part, 0.0, part):
                right = here.right * float(np.exp(first))
                down = here.down * float(np.exp(second if stretched else first))
                pose = Pose(right, down, here.angle + (0.0 if stretched else second))
                other = judged(lattice, luma, pose) if first or second else None
                look = max(look, other, key=_score) if other is not None else look
    return look


def _likely(lattice: Lattice, luma: Plane, step: float, count: int) -> Iterator[Pose]:
    """Up to `count` poses that turn and resize, and half as many each that only turn, resize or stretch."""
    peaks = _peaks(luma)
    least = max(SMALLEST_SCALE, float(np.sqrt(luma.size)) / LARGEST)
    scales = least * np.exp(np.arange(0, np.log(LARGEST_SCALE / least), step))
    angles = np.arange(-round(WIDEST / step), round(WIDEST / step) + 1) * step
    waves = lattice.sync_waves
    turned = _fit(peaks, waves, np.exp(1j * angles)[:, None] / scales[None, :])
    for row, column in _highest(turned, count):
        yield Pose(float(scales[column]), float(scales[column]), float(angles[row]))
    # Mostly only one of the two was changed; a weak mark is found sooner among few.
    for row, _ in _highest(_fit(peaks, waves, np.exp(1j * angles)[:, None]), count // 2):
        yield Pose(1.0, 1.0, float(angles[row]))
    for _, column in _highest(_fit(peaks, waves, 1 / scales[None, :]), count // 2):
        yield Pose(float(scales[column]), float(scales[column]))
    middle = scales[(scales > 0.4) & (scales < 2.6)]
    ratios = np.exp(np.arange(-round(np.log(MOST_STRETCHED) / step), round(np.log(MOST_STRETCHED) / step) + 1) * step)
    stretched = _fit(peaks, waves, 1 / middle[None, :] + 0 * ratios[:, None], ratios[:, None] / middle[None, :])
    for row, column in _highest(stretched, count // 2):
        yield Pose(float(middle[column]), float(middle[column] / ratios[row]))


def _highest(fit: Plane, count: int) -> Iterator[tuple[int, int]]:
    """Places of the `count` highest values, each the highest of its neighbourhood."""
    fit = np.where(fit >= cv2.dilate(fit, np.ones((3, 3), np.uint8)), fit, -np.inf)
    for place in np.argsort(fit, axis=None)[::-1][:count]:
        row, column = divmod(int(place), fit.shape[1])
        if np.isfinite(fit[row, column]):
            yield row, column


def _peaks(luma: Plane) -> Plane:
    """(S, S) power of each wave of the picture relative to the waves around it."""
    height, width = luma.shape
    size = 1 << int(np.ceil(np.log2(1.5 * max(height, width))))
    down, right = (np.clip((0.5 - np.abs(np.linspace(-0.5, 0.5, n))) / 0.15, 0, 1) for n in (height, width))
    windowed = np.zeros((size, size), np.float32)
    windowed[:height, :width] = flattened(luma)[0] * (down[:, None] * right[None, :])
    waves = cv2.dft(windowed, flags=cv2.DFT_COMPLEX_OUTPUT)
    power: Plane = np.square(waves).sum(axis=2)
    around = 2 * round(5 * size / max(height, width)) + 1
    edge = around // 2
    wrapped = cv2.copyMakeBorder(power, edge, edge, edge, edge, cv2.BORDER_WRAP)
    mean = cv2.blur(wrapped, (around, around))[edge : edge + size, edge : edge + size]
    peaks: Plane = np.minimum(power / (mean + 1e-9), PEAK)
    return peaks


def _fit(
    peaks: Plane,
    waves: NDArray[np.complexfloating[Any, Any]],
    pose: NDArray[Any],
    down_pose: NDArray[Any] | None = None,
) -> Plane:
    """How much the places of `waves` stand out, in deviations, in every pose.

    A pose is a complex number that multiplies (right + i down); with `down_pose` two real ones, for right and down.
    """
    size = len(peaks)
    total = np.zeros(pose.shape, np.float32)
    inside = np.zeros(pose.shape, np.float32)
    for wave in waves * size:
        moved = pose * wave if down_pose is None else None
        right = np.rint(moved.real if moved is not None else pose * wave.real).astype(np.int32)
        down = np.rint(moved.imag if moved is not None else down_pose * wave.imag).astype(np.int32)
        seen = (np.abs(right) < size // 2) & (np.abs(down) < size // 2)
        total += np.where(seen, peaks[down % size, right % size] - 1, 0)
        inside += seen
    fit: Plane = (total / np.sqrt(np.maximum(inside, len(waves) / 3))).astype(np.float32)
    return fit
