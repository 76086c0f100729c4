"""signet-dct: our first mark, spread over the low frequencies of the whole picture; kept for pictures that carry it.

How it works. Luma is projected on the lowest K x K functions of the whole-picture DCT, which makes the mark indifferent
to resizing and stretching. A band of them is put on a small grid and divided by its own local strength there, so that
edges (in icons nearly all the energy) count no more than flat ground. The band of the result is dealt by the key to 96
chips, each a signed sum. Embedding knows the picture: it pushes every chip to the right side by a margin and spends
nothing on chips that are there already.

Why a p-value can be trusted. The signs that a mark would have are secret and independent of where the chips lie. Given
the chips of any picture, agreement with such signs is a sum of fair coin tosses; `evidence.sign_tail` bounds it with no
assumption about pictures.

Limits. Tried while reading: both bands, the four quarter turns and their mirror images. No search over crops, shifts,
other angles or perspective: those lose the mark. A white background can only be darkened, so strong brightening takes
the mark away there. Whoever holds the key can forge or remove it, and regenerating the picture with another model is
expected to remove it. A found mark is evidence of processing by a key holder, not of authorship.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from backend.types import Pixels
from safety.watermark.codes import CHIPS, PILOTS, Codebook, checked_key, checked_mark_id, derive
from safety.watermark.evidence import corrected, sign_tail
from safety.watermark.types import FOUND_LEVEL, Detection, checked_pixels, checked_room

Plane = NDArray[np.floating[Any]]
"""float32 inside; mypy takes numpy's products for wider."""
Chips = NDArray[np.floating[Any]]
"""(96,) soft chips or signs, pilots first."""

LARGEST_READ = 1024  # longer pictures are shrunk to this before reading
WORKING_SIDE = 256  # the mark of a larger picture is found on a copy of this size, then corrected in full size
LARGE_FROM = 224  # geometric mean of the sides from which a picture uses the wide band

LOWEST_MARGIN = 1.5
ROUNDS = 24
FULL_SIZE_ROUNDS = 3
LOCAL_FLOOR = 1.5  # luma levels; local strength below this is treated as flat
AXIS_GAP = 6  # functions with fewer half waves than this along a side are left alone: straight edges live there
FLAT_AMOUNT, BUSY_AMOUNT = 0.8, 1.5  # amplitude of the change, relative
RELIEF = 2.0  # dB
CARRIED = 0.97  # share of chips clearly on their side that makes a mark good
SOFT_LIMIT = 0.8  # chips count at most this many medians, so that no single one decides
LOOKS = 16  # both bands in eight positions
TESTS = 3  # pilots alone, pilots with a fitting CRC, a known record

_LUMA = np.array([0.299, 0.587, 0.114], np.float32)


@dataclass(frozen=True, slots=True)
class Band:
    """DCT functions with `low` to `high` half waves (radius), compared on a `grid` x `grid` raster.

    `margin` is how far embedding brings a chip to its side, in standard deviations of an unmarked chip, about.
    """

    label: str
    grid: int
    low: int
    high: int
    margin: float


NARROW = Band("narrow", grid=128, low=16, high=68, margin=4.0)
WIDE = Band("wide", grid=192, low=24, high=96, margin=5.5)


def _cosines(count: int, side: int) -> Plane:
    """(count, side): the first orthonormal DCT-II functions on `side` samples; rows past the last function are 0."""
    rows = np.arange(count)[:, None]
    waves = np.sqrt(2.0 / side) * np.cos(np.pi / side * rows * (np.arange(side)[None, :] + 0.5))
    waves[0] = np.sqrt(1.0 / side)
    waves[side:] = 0.0
    first: Plane = waves.astype(np.float32)
    return first


class _Reader:
    """The chips of one band under one key."""

    def __init__(self, band: Band, key: bytes) -> None:
        self.band = band
        self.count = band.high + 1
        u, v = np.meshgrid(np.arange(self.count), np.arange(self.count), indexing="ij")
        radius = np.hypot(u, v)
        inside = (radius >= band.low) & (radius <= band.high) & (np.minimum(u, v) >= AXIS_GAP)
        # Energy in pictures falls with frequency; the rising weight evens it out before local division.
        weight = np.where(inside, radius**1.5, 0.0)
        self.weight = (weight / np.sqrt((weight[inside] ** 2).mean())).astype(np.float32)

        # Raw generator output is promised to stay the same for ever, which numpy's permutations are not.
        seed = int.from_bytes(derive(key, f"layout {band.label}", 16), "big")
        raw = np.random.Philox(key=seed).random_raw
        places = np.argwhere(inside)
        places = places[np.lexsort((raw(len(places)), np.rint(radius[inside])))]
        rings = len(places) // CHIPS
        # Every ring of 96 neighbours in frequency gives one place to each chip: all chips see the same spectrum.
        self.u, self.v = places[: rings * CHIPS].T
        self.chip = np.argsort(raw(rings * CHIPS).reshape(rings, CHIPS), axis=1).ravel()
        signs = np.where(raw(rings * CHIPS) >> np.uint64(63), 1.0, -1.0)
        self.sign = (signs / np.sqrt(rings)).astype(np.float32)
        self.raster = _cosines(self.count, band.grid)

    def spectrum(self, luma: Plane) -> Plane:
        """(H, W) luma to (K, K) coefficients, in luma levels on the grid whatever the picture's size."""
        height, width = luma.shape
        scale = self.band.grid / np.sqrt(height * width)
        waves: Plane = _cosines(self.count, height) @ luma @ _cosines(self.count, width).T
        return waves * np.float32(scale)

    def local_strength(self, spectrum: Plane) -> Plane:
        """(grid, grid) root mean square of the band around each place."""
        plane = self.raster.T @ (self.weight * spectrum) @ self.raster
        power: Plane = cv2.GaussianBlur(plane * plane, (0, 0), 2.0)
        strength: Plane = np.sqrt(power + np.float32(LOCAL_FLOOR**2))
        return strength

    def evened(self, spectrum: Plane, strength: Plane) -> Plane:
        """(K, K) coefficients of the band after division by `strength`; linear and, but for weights, symmetric."""
        plane: Plane = (self.raster.T @ (self.weight * spectrum) @ self.raster) / strength
        return self.raster @ plane @ self.raster.T

    def gathered(self, evened: Plane) -> Chips:
        """(K, K) to the (96,) chips."""
        chips: Chips = np.bincount(self.chip, self.sign * evened[self.u, self.v], CHIPS).astype(np.float64)
        return chips

    def scattered(self, chips: Chips, strength: Plane) -> Plane:
        """The gradient of (96,) weighted chips by the (K, K) spectrum: the transpose of gathered(evened(.))."""
        spread = np.zeros((self.count, self.count), np.float32)
        spread[self.u, self.v] = self.sign * chips.astype(np.float32)[self.chip]
        plane: Plane = (self.raster.T @ spread @ self.raster) / strength
        gradient: Plane = self.weight * (self.raster @ plane @ self.raster.T)
        return gradient

    def straight(self, luma: Plane) -> Chips:
        """The chips of (H, W) luma as it is."""
        spectrum = self.spectrum(luma)
        return self.gathered(self.evened(spectrum, self.local_strength(spectrum)))

    def turned(self, luma: Plane) -> list[Chips]:
        """The chips of the picture in its eight positions. A mirror only flips the sign of odd functions."""
        spectrum = self.spectrum(luma)
        straight = self.evened(spectrum, self.local_strength(spectrum))
        odd = np.where(np.arange(self.count) % 2, -1.0, 1.0).astype(np.float32)
        positions = []
        for plane in (straight, straight.T):
            for rows in (None, odd[:, None]):
                for columns in (None, odd[None, :]):
                    mirrored = plane if rows is None else plane * rows
                    positions.append(self.gathered(mirrored if columns is None else mirrored * columns))
        return positions


def least_psnr(height: int, width: int) -> float:
    """The PSNR in dB that embedding aims to keep: small pictures need a stronger mark than large ones.

    Only a picture that does not carry its mark at that gets RELIEF dB less. Rounding may cost another 0.1 dB.
    """
    side = float(np.sqrt(height * width))
    return float(np.interp(np.log2(side), [6.0, 7.0, 8.0, 9.0], [39.0, 40.5, 42.0, 43.0]))


def _texture(luma: Plane) -> Plane:
    """(H, W) how much change each place hides: FLAT_AMOUNT on flat ground, up to BUSY_AMOUNT in texture."""
    sigma = 3.0 * max(1.0, float(np.sqrt(luma.size)) / WORKING_SIDE)
    mean = cv2.GaussianBlur(luma, (0, 0), sigma)
    variance = cv2.GaussianBlur(luma * luma, (0, 0), sigma) - mean * mean
    reach = 2 * round(sigma) + 1
    # The least texture around a place counts, so that flat ground next to an edge is spared.
    least = cv2.erode(np.sqrt(np.maximum(variance, 0.0)), np.ones((reach, reach), np.uint8))
    amount: Plane = np.clip(FLAT_AMOUNT + least / 12.0, FLAT_AMOUNT, BUSY_AMOUNT)
    return amount


class SignetDct:
    """See the module's text. An instance holds derived tables only and may be shared by threads."""

    name = "signet-dct"

    def __init__(self, key: bytes) -> None:
        checked_key(key)
        self._code = Codebook(key)
        self._narrow = _Reader(NARROW, key)
        self._wide = _Reader(WIDE, key)

    def embed(self, pixels: Pixels, mark_id: int) -> Pixels:
        """A marked copy, never below `least_psnr` less RELIEF.

        A picture too flat or too busy for a full mark gets the best that fits; what `detect` says of it afterwards is
        the truth about it. Raises InvalidParameter("pixels") if a side is below 64 px.
        """
        height, width, _ = checked_room(pixels).shape
        code = self._code.chips(checked_mark_id(mark_id)).astype(np.float64)
        reader = self._wide if np.sqrt(height * width) >= LARGE_FROM else self._narrow
        marked = pixels
        for psnr in (least_psnr(height, width), least_psnr(height, width) - RELIEF):
            marked = _marked(pixels, reader, code, psnr)
            if (reader.straight(marked.astype(np.float32) @ _LUMA) * code > 1.0).mean() >= CARRIED:
                break
        return marked

    def detect(self, pixels: Pixels, known: Iterable[tuple[str, int]]) -> Detection:
        """Read any picture, also one too small to be marked (which then says nothing, p = 1)."""
        luma = _luma_for_reading(checked_pixels(pixels))
        names, payloads = self._known(known)
        looks = [chips for reader in (self._narrow, self._wide) for chips in reader.turned(luma)]
        tries = len(looks) * TESTS
        best_p, best = 1.0, looks[0]
        for chips in looks:
            p_value = self._chance(_limited(chips), payloads)
            if p_value < best_p:
                best_p, best = p_value, chips
        p_value = corrected(best_p, tries)
        if p_value > FOUND_LEVEL:
            return Detection(False, p_value, None, None, self.name)
        limited = _limited(best)
        named = self._named(limited, payloads, len(looks))
        if named is not None:
            record_id, mark_id = names[named]
            return Detection(True, p_value, record_id, mark_id, self.name)
        return Detection(True, p_value, None, self._code.decode(limited[PILOTS:]), self.name)

    def _known(self, known: Iterable[tuple[str, int]]) -> tuple[list[tuple[str, int]], Plane]:
        names = list(known)
        numbers = np.fromiter((checked_mark_id(mark_id) for _, mark_id in names), np.uint64, len(names))
        return names, self._code.payloads(numbers)

    def _chance(self, chips: Chips, payloads: Plane) -> float:
        """The smallest of three p-values, not yet corrected for there being three; the last is for its records."""
        pilots = chips[:PILOTS]
        present = sign_tail(pilots, float(pilots @ self._code.pilots))
        p_value = present
        if self._code.decode(chips[PILOTS:]) is not None:
            # The whitening is independent of the pilots, so a fitting CRC is 16 more coin tosses, all heads.
            p_value = min(p_value, present * 2.0**-16)
        if len(payloads):
            agreement = float(pilots @ self._code.pilots) + float((payloads @ chips[PILOTS:].astype(np.float32)).max())
            p_value = min(p_value, sign_tail(chips, agreement) * len(payloads))
        return p_value

    def _named(self, chips: Chips, payloads: Plane, looks: int) -> int | None:
        """The record that the payload singles out.

        The pilots are left out here: they agree for every picture of this key, also one that is not in the history.
        """
        if not len(payloads):
            return None
        payload = chips[PILOTS:]
        agreement = payloads @ payload.astype(np.float32)
        first = int(agreement.argmax())
        p_value = corrected(sign_tail(payload, float(agreement[first])), len(payloads) * looks)
        return first if p_value <= FOUND_LEVEL else None


def _luma_for_reading(pixels: Pixels) -> Plane:
    height, width, _ = pixels.shape
    shrink = LARGEST_READ / max(height, width)
    if shrink < 1.0:
        size = (max(1, round(width * shrink)), max(1, round(height * shrink)))
        pixels = cv2.resize(pixels, size, interpolation=cv2.INTER_AREA)
    luma: Plane = pixels.astype(np.float32) @ _LUMA
    return luma


def _limited(chips: Chips) -> Chips:
    """Chips held within SOFT_LIMIT medians. Their signs stay, so the p-value stays valid."""
    limit = float(np.median(np.abs(chips))) * SOFT_LIMIT
    return np.clip(chips, -limit, limit)


def _marked(pixels: Pixels, reader: _Reader, code: Chips, psnr: float) -> Pixels:
    height, width, _ = pixels.shape
    # Rounding to whole levels adds 1/12 to the mean square error.
    budget = 255.0**2 / 10 ** (psnr / 10) - 1 / 12
    change: Plane | None = None
    rounds = ROUNDS
    shrink = WORKING_SIDE / min(height, width)
    if shrink < 0.8:
        small = cv2.resize(pixels, (round(width * shrink), round(height * shrink)), interpolation=cv2.INTER_AREA)
        rough = _push(small.astype(np.float32), reader, code, budget, rounds, None)
        change = cv2.resize(rough, (width, height), interpolation=cv2.INTER_CUBIC)
        rounds = FULL_SIZE_ROUNDS
    colours = pixels.astype(np.float32)
    change = _push(colours, reader, code, budget, rounds, change)
    marked: Pixels = np.rint(np.clip(colours + change[..., None], 0, 255)).astype(np.uint8)
    return marked


def _push(colours: Plane, reader: _Reader, code: Chips, budget: float, rounds: int, change: Plane | None) -> Plane:
    """The (H, W) grey change that brings the chips of (H, W, 3) colours to the side that `code` wants.

    Each round steps along the gradient of the missing margins with an exact line search on the linearised chips, sees
    the result through clipping and (later) rounding, and gives way where the mean square error exceeds `budget`.
    """
    height, width, _ = colours.shape
    rows, columns = _cosines(reader.count, height), _cosines(reader.count, width)
    scale = np.float32(reader.band.grid / np.sqrt(height * width))
    power = _texture(colours @ _LUMA) ** 2
    power = power / power.mean()
    lightest, darkest = colours.max(axis=2), colours.min(axis=2)
    refining = change is not None
    change = np.zeros((height, width), np.float32) if change is None else change
    drift: Plane = np.zeros_like(change)
    margin = reader.band.margin
    for turn in range(rounds):
        seen = np.clip(colours + change[..., None], 0, 255)
        if refining or turn >= rounds * 2 // 3:
            seen = np.rint(seen)
        error = float(((seen - colours) ** 2).mean())
        spectrum = reader.spectrum(seen @ _LUMA)
        strength = reader.local_strength(spectrum)
        chips = reader.gathered(reader.evened(spectrum, strength)) * code
        if error > budget:
            change = change * np.float32(0.98 * np.sqrt(budget / error))
            margin = max(margin * 0.9, LOWEST_MARGIN)
        missing = np.maximum(margin - chips, 0.0)
        if not missing.any():
            break
        step: Plane = power * (rows.T @ reader.scattered(missing * code, strength) @ columns) * scale
        # Full white cannot get lighter, nor full black darker.
        step[(step > 0) & (darkest + change >= 255)] = 0
        step[(step < 0) & (lightest + change <= 0)] = 0
        gain = reader.gathered(reader.evened((rows @ step @ columns.T) * scale, strength)) * code
        length = float(missing @ gain) / max(float(gain @ gain), 1e-12)
        drift = np.float32(0.5) * drift + np.float32(0.8 * length) * step
        change = np.clip(change + drift, -lightest, 255 - darkest)
    error = float(((np.clip(colours + change[..., None], 0, 255) - colours) ** 2).mean())
    return change * np.float32(min(1.0, np.sqrt(budget / max(error, 1e-9))))
