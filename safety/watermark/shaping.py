"""Embedding that knows picture and reader: it spends its energy where coefficients are not on their side yet."""

from __future__ import annotations

import cv2
import numpy as np

from backend.types import Pixels
from safety.watermark.codes import CHIPS
from safety.watermark.lattice import Lattice, Plane, flattened, folded, luma_of, spectrum
from safety.watermark.strength import Strength

AIM = 2.0  # where a coefficient has enough, relative to where agreement would grow no more
CHIP_AIM = 1.0  # the same for the sum of a chip
SYNC_AIM = 3.0  # the same for a wave of the sync pattern, relative to a coefficient of the payload
ROUNDING = 1 / 12  # what rounding to whole levels adds to the mean square error
BRIGHTER = 1.4  # what a small picture is prepared for, because white ground is lost then
ENOUGH = 14.0  # deviations of agreement that are enough in the brighter picture
EAGER = 3.0  # how much the brighter picture counts while it has nothing


def change(
    pixels: Pixels,
    lattice: Lattice,
    code: Plane,
    strength: Strength,
    rounds: int,
    *,
    brighter: bool = False,
    start: Plane | None = None,
) -> Plane:
    """The (H, W) grey change of (H, W, 3) pixels that makes them carry (96,) signs `code`.

    It goes uphill along the gradient of the agreement, with momentum; each round sees the picture as it would be
    stored, clipped and rounded, so what the picture itself contributes to a wave is cancelled on the way. With
    `brighter` the same picture after brightening is looked at too. `start` is a change to begin with.
    """
    wanted = lattice.sign * code.astype(np.float32)[lattice.chip]
    power = hiding(luma_of(pixels), strength) ** 2
    power = power / power.mean()
    lightest, darkest = pixels.max(axis=2).astype(np.float32), pixels.min(axis=2).astype(np.float32)
    budget = max(strength.budget - ROUNDING, 0.1)
    delta: Plane = np.zeros(pixels.shape[:2], np.float32) if start is None else start
    drift: Plane = np.zeros_like(delta)
    for turn in range(rounds):
        seen = added(pixels, delta)
        error = mean_square(seen, pixels)
        if error > budget:
            delta = delta * np.float32(0.99 * np.sqrt(budget / error))
        step = power * _uphill(luma_of(seen), lattice, wanted, by_chip=strength.by_chip)[0]
        if brighter:
            bright = cv2.convertScaleAbs(seen, alpha=BRIGHTER)
            more, agreement = _uphill(luma_of(bright), lattice, wanted)
            more[bright.min(axis=2) == 255] = 0
            step += power * more * np.float32(EAGER * np.clip(1 - agreement / ENOUGH, 0, 1))
        # Full white cannot get lighter, nor full black darker.
        step[((step > 0) & (darkest + delta >= 255)) | ((step < 0) & (lightest + delta <= 0))] = 0
        size = float(cv2.norm(step) / np.sqrt(step.size))
        if size < 1e-9:
            break
        rate = float(np.sqrt(budget)) * (0.5 * (1 - turn / rounds) + 0.03)
        drift = np.float32(0.5) * drift + np.float32(rate / size) * step
        delta = np.clip(delta + drift, -lightest, 255 - darkest)
    return delta


def _uphill(luma: Plane, lattice: Lattice, wanted: Plane, *, by_chip: bool = False) -> tuple[Plane, float]:
    """The gradient by the luma of how well a picture agrees with `wanted` signs, and the agreement, in deviations."""
    flat, divisor = flattened(luma)
    coefficients = spectrum(folded(flat), luma.size)
    payload = lattice.coefficients(coefficients) * wanted
    if by_chip:
        missing, aim, agreement = _missing(np.bincount(lattice.chip, payload).astype(np.float32), CHIP_AIM)
        missing = missing[lattice.chip]
        aim = aim * np.float32(CHIPS / len(payload))
    else:
        missing, aim, agreement = _missing(payload, AIM)
    missing_sync = np.maximum(SYNC_AIM * aim - lattice.sync(coefficients), 0)
    return lattice.scattered(missing * wanted, missing_sync, divisor) / np.float32(cv2.norm(missing) + 1e-12), agreement


def _missing(agreeing: Plane, aim: float) -> tuple[Plane, np.float32, float]:
    """What each value lacks, where it has enough, and how well they agree on being positive, in deviations."""
    total, squares = float(agreeing.sum()), float(agreeing @ agreeing) + 1e-12
    # Agreement is sum(c) / sqrt(sum(c * c)); its gradient by c is proportional to sum(c * c) / sum(c) - c.
    enough = np.float32(aim * squares / max(total, 0.05 * float(np.abs(agreeing).sum()), 1e-6))
    missing: Plane = np.maximum(enough - agreeing, 0)
    return missing, enough, total / float(np.sqrt(squares))


def added(pixels: Pixels, delta: Plane) -> Pixels:
    """`pixels` changed by `delta` in all channels, rounded and clipped."""
    whole = np.rint(delta).astype(np.int16)
    total: Pixels = cv2.add(pixels, cv2.merge([whole, whole, whole]), dtype=cv2.CV_8U)
    return total


def as_webp(pixels: Pixels, quality: int) -> Pixels:
    """What is left of pixels after a lossy copy."""
    _, data = cv2.imencode(".webp", np.ascontiguousarray(pixels[..., ::-1]), [cv2.IMWRITE_WEBP_QUALITY, quality])
    stored = cv2.imdecode(data, cv2.IMREAD_COLOR)
    return np.ascontiguousarray(stored[..., ::-1], np.uint8)  # type: ignore[index]


def mean_square(first: Pixels, second: Pixels) -> float:
    return float(cv2.norm(first, second, cv2.NORM_L2SQR) / first.size)


def within(pixels: Pixels, delta: Plane, budget: float) -> Pixels:
    """`pixels` changed by `delta`, weakened until the mean square error is at most `budget`, rounding included."""
    while True:
        marked = added(pixels, delta)
        error = mean_square(marked, pixels)
        if error <= budget:
            return marked
        delta = delta * np.float32(0.996 * np.sqrt(budget / error))


def hiding(luma: Plane, strength: Strength) -> Plane:
    """(H, W) how much change each place gets: less on flat ground, more in texture."""
    rest = luma - cv2.GaussianBlur(luma, (0, 0), 3.0)
    # The least texture around a place counts, so that flat ground next to an edge is spared.
    least = cv2.erode(np.sqrt(cv2.GaussianBlur(rest * rest, (0, 0), 3.0)), np.ones((5, 5), np.uint8))
    amount: Plane = np.clip(strength.flat + least / 10.0, strength.flat, strength.busy)
    return amount
