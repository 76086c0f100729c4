"""Whether two files show the same picture: the stored one, and the copy whose mark leads to it.

A mark can be cut out of one picture and laid over another, and a copy can be painted over. So the pixels are compared,
as far as the everyday things that happen to copies allow: another size, compression, brightness, mirroring, a cut-out.

Both are made grey and small. If they agree in whole, the blocks that do not are counted. If not, the copy is looked for
within the stored picture, at several sizes, by normalised cross-correlation (Lewis 1995) in the frequency domain.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from backend import images
from backend.types import Pixels

_SIDE = 128
_BLOCK = 8
_ALIKE = 0.90
"""Correlation from which two grey pictures count as the same. Other pictures reach it only if both are nearly plain."""
_FEW = 0.008
"""The share of blocks that compression and noise may change: 2 of 256."""
_BLOCK_ALIKE = 0.35
_BLOCK_STEP = 18.0  # grey levels: a block whose mean is so far off shows something else, plain or not
_MOST_CHANGED = 0.6
_SMALLEST_PART = 24
_PART_ALIKE = 0.93
_PART_SCALES = np.geomspace(1.0, 0.3, 31)
_WHOLE = 0.97
_PLAIN = 1.0  # standard deviation in grey levels below which there is nothing to compare

Likeness = Literal["same", "part", "changed", "different", "unknown"]
Grey = NDArray[np.floating[Any]]


@dataclass(frozen=True, slots=True)
class Comparison:
    """`psnr_db` after the copy was brought to the size of the other and its brightness fitted; `changed` is the share
    of blocks that show something else."""

    likeness: Likeness
    psnr_db: float | None = None
    changed: float | None = None


def compare(copy: Pixels, stored: Pixels) -> Comparison:
    """How much of `stored` there is in `copy`; never raises for pictures of any size."""
    if min(*copy.shape[:2], *stored.shape[:2]) < _BLOCK:
        return Comparison("unknown")
    one, other = _small(copy, *_frame(stored)), _small(stored, *_frame(stored))
    if min(float(one.std()), float(other.std())) < _PLAIN:
        return Comparison("unknown")
    best = max((one, one[:, ::-1]), key=lambda each: _correlation(each, other))
    expected = _fitted(other, best)
    changed = _changed(best, expected)
    psnr = round(_psnr(best, expected), 1)
    alike = _correlation(best, expected)
    if alike >= _ALIKE and changed <= _FEW:
        return Comparison("same", psnr, round(changed, 3))
    # A cut-out agrees with its place better than with the whole, a picture that was painted over does not.
    if _part(copy, stored) > max(alike, _PART_ALIKE):
        return Comparison("part")
    if changed <= _MOST_CHANGED and _quiet_correlation(best, expected) >= _ALIKE:
        return Comparison("changed", psnr, round(changed, 3))
    return Comparison("different", psnr, round(changed, 3))


def _frame(pixels: Pixels) -> tuple[int, int]:
    """(height, width) of the small version, its longer side _SIDE, both multiples of a block."""
    height, width = pixels.shape[:2]
    longer = max(height, width)
    return tuple(max(_BLOCK, round(side * _SIDE / longer / _BLOCK) * _BLOCK) for side in (height, width))


def _small(pixels: Pixels, height: int, width: int) -> Grey:
    """Grey, and a little soft: fine detail depends more on how a copy was made than on what it shows."""
    tiny = images.resize(pixels, width, height, "stretch").astype(np.float64) @ (0.299, 0.587, 0.114)
    for axis in (0, 1):
        tiny = (np.roll(tiny, 1, axis) + 2 * tiny + np.roll(tiny, -1, axis)) / 4
    return np.asarray(tiny)


def _correlation(one: Grey, other: Grey) -> float:
    a, b = one - one.mean(), other - other.mean()
    norm = float(np.sqrt((a * a).sum() * (b * b).sum()))
    return float((a * b).sum()) / norm if norm else 0.0


def _fitted(one: Grey, other: Grey) -> Grey:
    """`one` as bright and as strong as `other`, by what most pixels say; a painted-over part has no voice."""
    keep = np.ones(one.shape, bool)
    fitted = one
    for _ in range(4):
        a, b = one[keep], other[keep]
        spread = float(a.var())
        gain = float(((a - a.mean()) * (b - b.mean())).mean()) / spread if spread else 1.0
        fitted = np.clip((one - a.mean()) * gain + b.mean(), 0.0, 255.0)  # so that what was blown out stays so
        distance = np.abs(fitted - other)
        keep = distance <= max(4.0, 2.0 * float(np.median(distance)))
    return fitted


def _blocks(grey: Grey) -> Grey:
    """(blocks, pixels of a block)."""
    height, width = grey.shape
    cut = grey.reshape(height // _BLOCK, _BLOCK, width // _BLOCK, _BLOCK)
    return cut.swapaxes(1, 2).reshape(-1, _BLOCK * _BLOCK)


def _differing(one: Grey, other: Grey) -> NDArray[np.bool_]:
    """Which blocks show something else: another brightness, or detail that does not go with the other's."""
    a, b = _blocks(one), _blocks(other)
    step = np.abs(a.mean(axis=1) - b.mean(axis=1)) > _BLOCK_STEP
    a, b = a - a.mean(axis=1, keepdims=True), b - b.mean(axis=1, keepdims=True)
    energy = np.sqrt((a * a).mean(axis=1) * (b * b).mean(axis=1))
    together = (a * b).mean(axis=1) / np.maximum(energy, 1e-9)
    busy = np.maximum(a.std(axis=1), b.std(axis=1)) > 12.0
    return np.asarray(step | (busy & (together < _BLOCK_ALIKE)))


def _changed(one: Grey, other: Grey) -> float:
    return float(_differing(one, other).mean())


def _quiet_correlation(one: Grey, other: Grey) -> float:
    """The correlation outside the blocks that differ."""
    alike = ~_differing(one, other)
    return _correlation(_blocks(one)[alike], _blocks(other)[alike]) if alike.sum() > 3 else 0.0


def _psnr(one: Grey, other: Grey) -> float:
    error = float(np.square(one - other).mean())
    return min(99.0, float(10 * np.log10(255.0**2 / error))) if error else 99.0


def _part(copy: Pixels, stored: Pixels) -> float:
    """How well the copy fits anywhere into the stored picture as a cut-out of at least three tenths of its size."""
    height, width = _frame(stored)
    whole = _small(stored, height, width)
    ratio = copy.shape[0] / copy.shape[1]
    best = 0.0
    for scale in _PART_SCALES:
        # The largest frame of the copy's shape that fits, then smaller ones.
        wide = min(width, height / ratio) * scale
        size = round(wide * ratio), round(wide)
        if min(size) < _SMALLEST_PART:
            break
        if min(size[0] / height, size[1] / width) > _WHOLE:
            continue  # that has been looked at
        part = _small(copy, *size)
        if part.std() >= _PLAIN:
            best = max(best, _best_place(whole, part))
    return best


def _best_place(whole: Grey, part: Grey) -> float:
    """The highest correlation of `part` with any place in `whole` of its size."""
    height, width = part.shape
    shape = tuple(a + b - 1 for a, b in zip(whole.shape, part.shape, strict=True))
    template = part - part.mean()
    product = _convolved(whole, template[::-1, ::-1], shape)
    ones = np.ones(part.shape)
    total, square = _convolved(whole, ones, shape), _convolved(whole * whole, ones, shape)
    inside = (slice(height - 1, whole.shape[0]), slice(width - 1, whole.shape[1]))
    variance = np.maximum(square[inside] - total[inside] ** 2 / part.size, 1e-6)
    score = product[inside] / np.sqrt(variance * float((template * template).sum()))
    return float(score.max())


def _convolved(one: Grey, other: Grey, shape: tuple[int, ...]) -> Grey:
    spectrum = np.fft.rfft2(one, shape) * np.fft.rfft2(other, shape)
    return np.asarray(np.fft.irfft2(spectrum, shape))
