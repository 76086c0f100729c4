"""Embedding that knows picture, reader and what may happen to the picture: it spends its energy where that is short."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

from backend.types import Pixels
from safety.watermark.lattice import Lattice, Plane, luma_of
from safety.watermark.strength import Strength
from safety.watermark.views import COLOURS, PLAIN, Left, View, left

ROUNDING = 1 / 12  # what rounding to whole levels adds to the mean square error
ASIDE = 0.2  # how much the picture as it is counts beside the view that is worst off
STOP = 0.0
HIGHEST = 4.0  # times the root of the mean square error: the most that flat ground changes at one place
STALE = 8  # rounds after which a view is looked at again, however well it did


def change(
    pixels: Pixels,
    lattice: Lattice,
    code: Plane,
    strength: Strength,
    rounds: int,
    *,
    views: Sequence[View] = (PLAIN,),
    start: Plane | None = None,
) -> Plane:
    """The change of (H, W, 3) pixels that makes them carry (96,) signs `code`, see `colours_of`.

    It goes uphill along the gradient of what is left of the mark, with momentum; each round sees the picture as it
    would be stored, clipped and rounded, so what the picture itself contributes to a wave is cancelled on the way.
    Besides the picture as it is (the first of `views`) each round looks at the view that was worst off. With one view
    the change is (H, W, 1), with more (H, W, 3), each channel by itself. `start` is a change to begin with.
    """
    wanted = lattice.sign * code.astype(np.float32)[lattice.chip]
    amount = hiding(luma_of(pixels), strength)[..., None]
    power = amount**2 / (amount**2).mean()
    budget = max(strength.budget - ROUNDING, 0.1)
    least, most = _room(pixels, amount * np.float32(HIGHEST / strength.flat * np.sqrt(budget)), alike=len(views) == 1)
    delta: Plane = np.zeros_like(least) if start is None or start.shape != least.shape else start
    drift: Plane = np.zeros_like(delta)
    margins = np.full(len(views), -np.inf)
    looked = np.full(len(views), -STALE)
    for turn in range(rounds):
        seen = added(pixels, delta)
        error = mean_square(seen, pixels)
        if error > budget:
            delta = delta * np.float32(0.99 * np.sqrt(budget / error))
            seen = added(pixels, delta)
        step: Plane = np.zeros_like(delta)
        for number in _chosen(margins, looked, turn):
            view = views[number]
            of_view = left(view, seen, lattice, wanted, by_chip=strength.by_chip)
            margins[number], looked[number] = _margin(of_view, view), turn
            weight = np.float32(1.0 if number or len(views) == 1 else ASIDE)
            uphill = of_view.uphill * weight
            step = step + (uphill * COLOURS if uphill.shape != delta.shape else uphill)
        if error <= budget and looked.min() == turn and margins.min() >= 0 and len(views) > 1:
            break
        step = step * power
        # Full white cannot get lighter, nor full black darker.
        step[((step > 0) & (delta >= most)) | ((step < 0) & (delta <= least))] = 0
        size = float(np.sqrt((step * step).mean()))
        if size < 1e-9:
            break
        rate = float(np.sqrt(budget)) * (0.5 * (1 - turn / rounds) + 0.03)
        drift = np.float32(0.5) * drift + np.float32(rate / size) * step
        delta = np.clip(delta + drift, least, most)
    return delta


def _chosen(margins: Plane, looked: Plane, turn: int) -> list[int]:
    """The picture as it is, and the view that waited too long or is worst off; all of them if all did well."""
    if len(margins) == 1 or margins.min() >= 0:
        return list(range(len(margins)))
    waited = int(looked[1:].argmin()) + 1
    return [0, waited if turn - looked[waited] >= STALE else int(margins[1:].argmin()) + 1]


def _margin(of_view: Left, view: View) -> float:
    return min(of_view.agreement - view.agreement, of_view.synced - view.synced)


def _room(pixels: Pixels, highest: Plane, *, alike: bool) -> tuple[Plane, Plane]:
    """How far each channel, or all of them alike, can go down and up; at most `highest`, so that no spot is seen."""
    lightest, darkest = pixels, pixels
    if alike:
        lightest, darkest = pixels.max(axis=2, keepdims=True), pixels.min(axis=2, keepdims=True)
    least: Plane = np.maximum(-lightest.astype(np.float32), -highest)
    most: Plane = np.minimum(255 - darkest.astype(np.float32), highest)
    return least, most


def colours_of(delta: Plane) -> Plane:
    """(H, W, 1) in the proportion of COLOURS, (H, W, 3) as it is."""
    return delta if delta.shape[2] == 3 else cv2.merge([delta[..., 0] * part for part in COLOURS])


def added(pixels: Pixels, delta: Plane) -> Pixels:
    """`pixels` changed by `delta`, rounded and clipped."""
    total: Pixels = cv2.add(pixels, np.rint(colours_of(delta)).astype(np.int16), dtype=cv2.CV_8U)
    return total


def mean_square(first: Pixels, second: Pixels) -> float:
    return float(cv2.norm(first, second, cv2.NORM_L2SQR) / first.size)


def within(pixels: Pixels, delta: Plane, budget: float) -> Pixels:
    """`pixels` changed by `delta`, weakened until the mean square error is at most `budget`, rounding included."""
    while True:
        marked = added(pixels, delta)
        error = mean_square(marked, pixels)
        if error <= budget:
            return marked
        delta = delta * np.float32(0.998 * np.sqrt(budget / error))


def hiding(luma: Plane, strength: Strength) -> Plane:
    """(H, W) how much change each place gets: less on flat ground, more in texture."""
    rest = luma - cv2.GaussianBlur(luma, (0, 0), 3.0)
    # The least texture around a place counts, so that flat ground next to an edge is spared.
    least = cv2.erode(np.sqrt(cv2.GaussianBlur(rest * rest, (0, 0), 3.0)), np.ones((5, 5), np.uint8))
    amount: Plane = np.clip(strength.flat + least / 10.0, strength.flat, strength.busy)
    return amount
