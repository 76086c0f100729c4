"""What a marked picture may go through, as embedding looks at it: how much of the mark is left, and which way is up.

Each view is one attack and what has to be left after it. Its gradient goes straight through the attack, as if that
changed nothing: what the copy lost is put in again where the copy is read.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np

from backend.types import Pixels
from safety.watermark.codes import CHIPS
from safety.watermark.lattice import (
    LUMA,
    Lattice,
    Plane,
    flattened,
    folded,
    limited,
    luma_of,
    partly_full,
    spectrum,
)

COLOURS: Plane = (LUMA * np.sqrt(3 / (LUMA @ LUMA))).astype(np.float32)
"""(3,) the change of red, green and blue that moves luma most for its mean square, which is 1: 1.3 dB over grey."""

AIM = 2.0  # where a coefficient has enough, relative to where agreement would grow no more
CHIP_AIM = 1.0  # the same for the sum of a chip
SYNC_AIM = 3.0  # the same for a wave of the sync pattern, relative to a coefficient of the payload
BRIGHTER = 1.4
KEPT_OF_CROP = 0.75
SYNC_WORTH = np.float32(1.4)  # a short sync pattern, relative to a short payload: without it nothing is read
ANYWAY = np.float32(0.1)  # how much counts what is not short


@dataclass(frozen=True, slots=True)
class Left:
    """What a view leaves of agreement and sync pattern, in deviations, and the gradient of both by the (H, W, 3)
    colours, or by the luma (H, W, 1) where only luma is looked at."""

    agreement: float
    synced: float
    uphill: Plane


@dataclass(frozen=True, slots=True)
class View:
    """`attack` keeps size and place. `agreement` and `synced` are what has to be left, in deviations."""

    attack: Callable[[Pixels], Pixels]
    agreement: float
    synced: float
    part: float = 1.0
    by_colours: bool = False


def as_webp(pixels: Pixels, quality: int) -> Pixels:
    """What is left of pixels after a lossy copy."""
    return _copied(pixels, ".webp", cv2.IMWRITE_WEBP_QUALITY, quality)


def as_jpeg(pixels: Pixels, quality: int) -> Pixels:
    return _copied(pixels, ".jpg", cv2.IMWRITE_JPEG_QUALITY, quality)


def brighter(pixels: Pixels) -> Pixels:
    bright: Pixels = cv2.convertScaleAbs(pixels, alpha=BRIGHTER)
    return bright


def halved(pixels: Pixels) -> Pixels:
    """A JPEG of half the size, brought back."""
    height, width, _ = pixels.shape
    half = cv2.resize(pixels, (max(1, width // 2), max(1, height // 2)), interpolation=cv2.INTER_AREA)
    whole: Pixels = cv2.resize(as_jpeg(half, 60), (width, height), interpolation=cv2.INTER_LINEAR)
    return whole


def _copied(pixels: Pixels, kind: str, setting: int, quality: int) -> Pixels:
    _, data = cv2.imencode(kind, np.ascontiguousarray(pixels[..., ::-1]), [setting, quality])
    stored = cv2.imdecode(data, cv2.IMREAD_COLOR)
    return np.ascontiguousarray(stored[..., ::-1], np.uint8)  # type: ignore[index]


def _same(pixels: Pixels) -> Pixels:
    return pixels


PLAIN = View(_same, agreement=12.0, synced=6.5)
CAREFUL = (
    PLAIN,
    View(lambda pixels: as_webp(pixels, 50), agreement=11.5, synced=5.0),
    View(brighter, agreement=11.0, synced=0.0, by_colours=True),
    View(_same, agreement=11.0, synced=6.5, part=KEPT_OF_CROP),
    View(halved, agreement=9.0, synced=0.0),
)
"""What embedding looks at in a small picture, where little can be spared."""


def left(view: View, pixels: Pixels, lattice: Lattice, wanted: Plane, *, by_chip: bool = False) -> Left:
    """What `view` leaves in (H, W, 3) pixels of the (N,) wanted signs."""
    seen = view.attack(pixels)
    area = seen.shape[0] * seen.shape[1]
    lumas = [luma_of(seen)]
    if view.by_colours and partly_full(seen):
        lumas = list(cv2.split(seen.astype(np.float32)))
    flat, divisors = zip(*(flattened(luma) for luma in lumas), strict=True)
    window = _window(seen, view.part)
    coefficients = spectrum(folded(sum(flat[1:], flat[0]) * window), area)
    payload = lattice.coefficients(coefficients) * wanted
    held = limited(payload)
    agreement = float(held.sum()) / (float(np.sqrt(held @ held)) + 1e-9)
    synced = lattice.synced(coefficients)
    missing, aim = _missing(payload, lattice, by_chip=by_chip)
    missing_sync = np.maximum(SYNC_AIM * aim - lattice.sync(coefficients), 0)
    # What is short counts most; a little of all, in natural proportion, keeps what is there.
    usual = ANYWAY / np.float32(cv2.norm(missing) + 1e-9)
    for_payload = usual + _short(view.agreement - agreement) / np.float32(cv2.norm(missing) + 1e-9)
    for_sync = usual + SYNC_WORTH * _short(view.synced - synced) / np.float32(cv2.norm(missing_sync) + 1e-9)
    planes = [
        lattice.scattered(missing * wanted * for_payload, missing_sync * for_sync, divisor / window)
        for divisor in divisors
    ]
    uphill: Plane = np.stack(planes, axis=2) if len(planes) == 3 else planes[0][..., None]
    if view.by_colours:
        # Full channels stay full.
        uphill = uphill * (seen < 255 if len(planes) == 3 else seen.min(axis=2, keepdims=True) < 255)
    return Left(agreement, synced, uphill / (np.float32(np.sqrt((uphill * uphill).mean())) + np.float32(1e-9)))


def _missing(payload: Plane, lattice: Lattice, *, by_chip: bool) -> tuple[Plane, np.float32]:
    """(N,) what each coefficient lacks, and where a coefficient has enough."""
    if not by_chip:
        enough = np.float32(AIM * _enough(payload))
        return np.maximum(enough - payload, 0), enough
    chips = np.bincount(lattice.chip, payload, CHIPS).astype(np.float32)
    enough = np.float32(CHIP_AIM * _enough(chips))
    return np.maximum(enough - chips, 0)[lattice.chip], enough * np.float32(CHIPS / len(payload))


def _enough(agreeing: Plane) -> float:
    """Agreement is sum(c) / sqrt(sum(c * c)); its gradient by c is proportional to sum(c * c) / sum(c) - c."""
    total, squares = float(agreeing.sum()), float(agreeing @ agreeing) + 1e-12
    return squares / max(total, 0.05 * float(np.abs(agreeing).sum()), 1e-6)


def _short(deviations: float) -> np.float32:
    """0 to 1."""
    return np.float32(1 / (1 + np.exp(-np.clip(deviations, -30, 30))))


def _window(pixels: Pixels, part: float) -> Plane | np.float32:
    """(H, W) 1 in the middle, `part` of each side, and next to nothing around it."""
    if part >= 1.0:
        return np.float32(1.0)
    height, width, _ = pixels.shape
    top, left_ = round(height * (1 - part) / 2), round(width * (1 - part) / 2)
    window = np.full((height, width), 1e-6, np.float32)
    window[top : height - top, left_ : width - left_] = 1.0
    return window
