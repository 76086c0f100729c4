"""A keyed pattern that repeats every 128 px: which wave means what, how to read it, and the transpose of reading.

The waves of the pattern lie on the lattice k/128 cycles per pixel. A picture is flattened (band-pass, then divided by
its own local power, so that edges, in icons nearly all the energy, count next to nothing), folded onto one tile and
transformed: every wave gets one complex coefficient, wherever the picture was cut from a larger one. A shift of the
picture only turns phases, all of them by one known law, so the best of all 16,384 shifts is one more transform.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from backend.types import Pixels
from safety.watermark.codes import CHIPS, derive

Plane = NDArray[np.floating[Any]]
"""float32 inside; mypy takes numpy's products for wider."""
Tile = NDArray[np.complexfloating[Any, Any]]
"""(128, 128) coefficients of a folded picture, not shifted."""
Shift = tuple[int, int]
"""(down, right) in pixels, modulo 128."""

LUMA = np.array([0.299, 0.587, 0.114], np.float32)
FULL = 252  # levels; a channel from here on is taken for clipped
PARTLY = 0.01

PERIOD = 128
LOWEST, HIGHEST = 4, 28  # waves per period: WebP and shrinking spare the low ones, pictures disturb them most
SYNC_EVERY = 17  # every 17th wave, ordered by frequency, belongs to the sync pattern
INNER, OUTER = 1.0, 2.5  # px; the band-pass is the difference of two Gaussian means
AROUND = 2.0  # px; what counts as local
QUIET = 2.0  # levels; places with less in the band count as flat
STEEPNESS = 1.4  # places count by local power to this; 1 is best for noise of known power, edges deserve less
UNIT = 0.1  # makes a coefficient of an unmarked photograph about 1
NEIGHBOURS = 201  # coefficients that are made equal together
EVENLY = 2.0  # medians that one counts at most after that
LIMIT = 3.0  # a coefficient counts at most this many medians, so that no single one decides


@dataclass(frozen=True, slots=True)
class Synced:
    """How well the sync pattern fits at its best `shift`: `score` is in standard deviations of one shift."""

    score: float
    shift: Shift


def luma_of(pixels: Pixels) -> Plane:
    """(H, W) luma of (H, W, 3) pixels."""
    luma: Plane = cv2.transform(pixels.astype(np.float32), LUMA.reshape(1, 3))
    return luma


def flattened(luma: Plane) -> tuple[Plane, Plane]:
    """(H, W) luma to the flattened picture and to what its band was divided by."""
    band = banded(luma)
    quiet = np.float32(QUIET**2)
    power = cv2.GaussianBlur(band * band, (0, 0), AROUND) * np.float32(1 / quiet) + np.float32(1.0)
    divisor: Plane = cv2.pow(power, STEEPNESS)
    return band / divisor, divisor


def flattened_colours(pixels: Pixels) -> Plane:
    """(H, W, 3) pixels, each channel flattened by itself.

    A mark changes all channels alike. Brightening fills some of them, mostly not all: what is left in the others would
    be drowned in luma.
    """
    red, green, blue = (flattened(channel)[0] for channel in cv2.split(pixels.astype(np.float32)))
    return red + green + blue


def partly_full(pixels: Pixels) -> bool:
    """True if enough places have some channels full or empty, but not all."""
    full = ((pixels >= FULL) | (pixels == 0)).sum(axis=2)
    return float(((full > 0) & (full < 3)).mean()) > PARTLY


def banded(plane: Plane) -> Plane:
    band: Plane = cv2.GaussianBlur(plane, (0, 0), INNER) - cv2.GaussianBlur(plane, (0, 0), OUTER)
    return band


def folded(plane: Plane) -> Plane:
    """(H, W) to (128, 128): the sum of all its tiles."""
    height, width = plane.shape
    padded = np.zeros((-(-height // PERIOD) * PERIOD, -(-width // PERIOD) * PERIOD), np.float32)
    padded[:height, :width] = plane
    tile: Plane = padded.reshape(-1, PERIOD, padded.shape[1] // PERIOD, PERIOD).sum(axis=(0, 2))
    return tile


def spectrum(tile: Plane, area: int) -> Tile:
    """The coefficients of a folded picture of `area` px."""
    waves: Tile = cv2.dft(tile, flags=cv2.DFT_COMPLEX_OUTPUT).view(np.complex64)[..., 0]
    return waves * np.float32(1.0 / (UNIT * np.sqrt(area)))


class Lattice:
    """Which wave means what, under one key. Derived tables only; threads may share it.

    Places and sync phases come from one derivation, the signs of the payload from another: whatever is chosen by
    looking at the sync pattern is chosen without knowledge of the signs.
    """

    def __init__(self, key: bytes) -> None:
        wave = np.fft.fftfreq(PERIOD, 1 / PERIOD)
        down, right = np.meshgrid(wave, wave, indexing="ij")
        radius = np.hypot(down, right)
        half = (down > 0) | ((down == 0) & (right > 0))
        # Waves along an axis are left alone: straight edges live there.
        inside = half & (radius >= LOWEST) & (radius <= HIGHEST) & (np.minimum(np.abs(down), np.abs(right)) >= 1)
        # Raw generator output is promised to stay the same for ever, which numpy's permutations are not.
        raw = _raw(key, "lattice")
        places = np.argwhere(inside)
        places = places[np.lexsort((raw(len(places)), np.rint(radius[inside])))]
        of_sync = np.arange(len(places)) % SYNC_EVERY == SYNC_EVERY // 2
        self._sync = tuple(places[of_sync].T)
        self._phase = np.exp(2j * np.pi * (raw(int(of_sync.sum())) / 2.0**64)).astype(np.complex64)
        self.sync_waves: NDArray[np.complexfloating[Any, Any]] = (right[self._sync] + 1j * down[self._sync]) / PERIOD
        """(F,) cycles per pixel of the sync pattern, right + i down."""

        payload = places[~of_sync]
        rings = 2 * len(payload) // CHIPS
        payload = payload[: rings * CHIPS // 2]
        self._payload = tuple(payload.T)
        self._waves = np.stack([down[self._payload], right[self._payload]])
        # A wave has two coefficients, and each ring of 96 neighbours in frequency gives one to each chip.
        self.chip: NDArray[np.signedinteger[Any]] = np.argsort(raw(rings * CHIPS).reshape(rings, CHIPS), axis=1).ravel()
        self.sign: Plane = np.where(_raw(key, "signs")(rings * CHIPS) >> np.uint64(63), 1.0, -1.0).astype(np.float32)

    def coefficients(self, seen: Tile, shift: Shift = (0, 0)) -> Plane:
        """(N,) real coefficients of the payload in a picture that was moved by `shift`, without their signs."""
        waves = seen[self._payload]
        if shift != (0, 0):
            waves = waves * np.exp(2j * np.pi / PERIOD * (np.array(shift) @ self._waves))
        real: Plane = np.stack([waves.real, waves.imag], axis=1).ravel()
        return real

    def gathered(self, coefficients: Plane) -> Plane:
        """(N,) coefficients to (96,) chips."""
        chips: Plane = np.bincount(self.chip, self.sign * coefficients, CHIPS).astype(np.float64)
        return chips

    def evened(self, coefficients: Plane) -> Plane:
        """(N,) limited coefficients over their mean size among neighbours in frequency. Their signs stay."""
        # The payload is in order of frequency but for one ring.
        size = cv2.blur(np.abs(coefficients).reshape(1, -1), (NEIGHBOURS, 1), borderType=cv2.BORDER_REFLECT_101)[0]
        return limited(coefficients / (size + np.float32(1e-9)), EVENLY)

    def sync(self, seen: Tile) -> Plane:
        """(F,) how far each sync wave is on its side in a picture that was not moved."""
        along: Plane = (seen[self._sync] * self._phase.conj()).real
        return along

    def synced(self, seen: Tile) -> float:
        """How well the sync pattern fits a picture that was not moved, in deviations."""
        waves = self._held(seen)
        return float((waves * self._phase.conj()).real.sum() / _deviation(waves))

    def _held(self, seen: Tile) -> Tile:
        """(F,) sync waves, of which a few strong edges must not decide."""
        waves = seen[self._sync]
        size = np.abs(waves)
        held: Tile = waves * np.minimum(1.0, 2.0 * np.median(size) / np.maximum(size, 1e-9))
        return held

    def best_shift(self, seen: Tile) -> Synced:
        waves = self._held(seen)
        surface = np.zeros((PERIOD, PERIOD), np.complex64)
        surface[self._sync] = waves * self._phase.conj()
        fit = _real(surface)
        down, right = np.unravel_index(int(fit.argmax()), fit.shape)
        return Synced(float(fit[down, right] / _deviation(waves)), (int(down), int(right)))

    def scattered(self, payload: Plane, sync: Plane, divisor: Plane) -> Plane:
        """The gradient of (N,) weighted payload and (F,) weighted sync coefficients by the luma: a transpose."""
        height, width = divisor.shape
        waves = payload.reshape(-1, 2)
        tile = np.zeros((PERIOD, PERIOD), np.complex64)
        tile[self._payload] = waves[:, 0] + 1j * waves[:, 1]
        tile[self._sync] = sync * self._phase
        pattern = _real(tile) * np.float32(1.0 / (UNIT * np.sqrt(height * width)))
        spread = np.tile(pattern, (-(-height // PERIOD), -(-width // PERIOD)))[:height, :width]
        return banded(spread / divisor)


def _real(waves: Tile) -> Plane:
    """(128, 128) the real part of the sum of waves."""
    planes: Plane = cv2.dft(waves.view(np.float32).reshape(PERIOD, PERIOD, 2), flags=cv2.DFT_INVERSE)
    return planes[..., 0]


def _deviation(waves: Tile) -> float:
    """How far one sum of their sides strays by chance."""
    return float(np.sqrt((np.abs(waves) ** 2).sum() / 2)) + 1e-9


def limited(values: Plane, medians: float = LIMIT) -> Plane:
    """Values held within so many medians. Their signs stay, so a p-value stays valid."""
    limit = float(np.median(np.abs(values))) * medians
    held: Plane = np.clip(values, -limit, limit)
    return held


def _raw(key: bytes, purpose: str) -> Any:
    return np.random.Philox(key=int.from_bytes(derive(key, purpose, 16), "big")).random_raw
