"""signet-tile: our own mark as a repeating pattern, found again after crops, small turns and resizing.

How it works. A secret pattern of waves repeats every 128 px (of a picture brought to about 512 px if it is larger; see
`lattice`). One wave in 17 belongs to a sync pattern, the others are dealt by the key to 96 chips: 32 pilots, a 48-bit
id and its CRC-16. Embedding knows picture and reader, cancels what the picture itself adds to each chip, and spends a
budget of change where coefficients are still on the wrong side (see `shaping`). In small pictures, where little can be
spared, it also looks at lossy, brighter, cropped and halved copies, and works where the worst of them is short (see
`views`); in larger ones the budget is the smallest of a few with which the mark outlasts a WebP copy of quality 50
(see `strength`).

Reading tries the picture as it is; then its eight positions with the shift at which the sync pattern fits best; then
half and double size; then the angles up to 7 degrees, scales from a quarter to four times and stretches up to 1.6 that
fit the sync pattern best (see `registration`).

Why a p-value can be trusted. Given a picture and the places and phases of the sync pattern, the signs of the payload
are secret coin tosses: they come from a derivation of their own, and nothing that is chosen (position, shift, angle,
scale) is chosen by looking at them. Agreement with signs that a mark would have is then a sum of fair coin tosses with
known weights, bounded by `evidence.sign_tail` with no assumption about pictures. It is multiplied by the LOOKS at which
signs were compared at most, by the nine questions asked at each, and by the number of known records. The angles,
scales and shifts that only the sync pattern was asked about cost nothing, because they cannot favour any signs.

Limits. Perspective, turns by more than 7 degrees other than quarter turns, quarter turns and mirroring together with a
crop that was resized, crops to a small part of a small picture: those lose it. White ground can only be darkened, so
strong brightening takes the mark away there. A picture that is texture all over holds little of it: where it would not
be found at once, up to 6 dB more change is spent. Whoever holds the key can forge
or remove it, averaging many pictures of one key shows its sync pattern, and regenerating the picture with another
model is expected to remove it. A found mark is evidence of processing by a key holder, not of authorship.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from backend.types import Pixels
from safety.watermark import registration, shaping, views
from safety.watermark.codes import CHIPS, PILOTS, Codebook, checked_key, checked_mark_id, derive
from safety.watermark.evidence import corrected, sign_tail
from safety.watermark.lattice import (
    Lattice,
    Plane,
    Shift,
    Tile,
    flattened,
    flattened_colours,
    folded,
    limited,
    luma_of,
    partly_full,
    spectrum,
)
from safety.watermark.strength import Strength, strengths
from safety.watermark.types import FOUND_LEVEL, Detection, checked_pixels, checked_room

CANONICAL = registration.CANONICAL
LARGEST_SIDE = 2048  # of a very long picture after that
SMALL = 300  # px; geometric mean below which embedding takes more care
ROUNDS_SMALL, ROUNDS_LARGE = 24, 5
STRESS = 50  # quality of a WebP copy, which takes more of a mark than JPEG
LASTING_BRIGHTER = 8.5  # deviations of agreement that a small picture has to keep when it is brightened
CARRIED = 3e-12  # p-value of a mark that needs no relief
CARRIED_BY_CHIPS = 1e-18  # the same after relief, so that it has a name too
CERTAIN = 1e-12  # a mark this sure that fits no record belongs to none of them

POSITIONS = 6  # the best of the eight
SIZES = (0.5, 2.0)  # read as if the whole picture had been resized by this and nothing else
LOOKS = 2 + POSITIONS + len(SIZES) + registration.BEST
TESTS = 9  # pilots alone, pilots with a fitting CRC, a known record; each weighed in three ways
SOFT = 0.8  # chips count at most this many medians


@dataclass(frozen=True, slots=True)
class _Known:
    names: list[tuple[str, int]]
    payloads: Plane


class SignetTile:
    """See the module's text. An instance holds derived tables only and may be shared by threads."""

    name = "signet-tile"

    def __init__(self, key: bytes) -> None:
        own = derive(checked_key(key), self.name, 32)
        self._code = Codebook(own)
        self._lattice = Lattice(own)
        self._of_pilots = self._lattice.chip < PILOTS

    def embed(self, pixels: Pixels, mark_id: int) -> Pixels:
        """A marked copy, as gentle as lasts (see `strength`).

        What `detect` says of the result is the truth about it: a picture too flat or too busy gets the best that fits.
        Raises InvalidParameter("pixels") if a side is below 64 px.
        """
        height, width, _ = checked_room(pixels).shape
        code = self._code.chips(checked_mark_id(mark_id))
        marked = pixels
        delta: Plane | None = None
        for strength in strengths(height, width):
            delta = self._change(pixels, code, strength, delta)
            marked = shaping.within(pixels, _of_size(delta, height, width), strength.budget)
            # Found is not enough: a mark that cannot be named leads to no record.
            if self._lasts(marked, code, strength) and self.detect(marked, [("", mark_id)]).mark_id == mark_id:
                break
        return marked

    def chance(self, pixels: Pixels, mark_id: int) -> float:
        """The bound for one record and one comparison, of the picture as it is; not corrected. For calibration."""
        return self.chance_of(seen_of(_canonical(checked_pixels(pixels))), mark_id)

    def chance_of(self, seen: Tile, mark_id: int) -> float:
        """The same of a picture that was read already."""
        return sign_tail(*self._agreement(seen, self._code.chips(checked_mark_id(mark_id))))

    def _change(self, pixels: Pixels, code: Plane, strength: Strength, start: Plane | None) -> Plane:
        small = _canonical(pixels)
        careful = _is_small(small)
        rounds = ROUNDS_SMALL if careful else ROUNDS_LARGE
        looked_at = views.CAREFUL if careful and not strength.alone else (views.PLAIN,)
        return shaping.change(small, self._lattice, code, strength, rounds, views=looked_at, start=start)

    def _lasts(self, marked: Pixels, code: Plane, strength: Strength) -> bool:
        """Whether no stronger mark is needed."""
        small = _canonical(marked)
        if not strength.lasting:
            coefficients, agreement = self._agreement(seen_of(small), code)
            chips = limited(self._lattice.gathered(coefficients), SOFT)
            by_chips = sign_tail(chips, float(chips @ code))
            if strength.alone:
                return by_chips <= CARRIED_BY_CHIPS
            return min(by_chips, sign_tail(coefficients, agreement)) <= CARRIED
        seen = seen_of(views.as_webp(small, STRESS))
        synced = self._lattice.best_shift(seen).score
        if self._kept(seen, code) < strength.lasting or synced < strength.synced:
            return False
        if not _is_small(small):
            return True
        return self._kept(seen_of(views.brighter(small)), code) >= LASTING_BRIGHTER

    def _kept(self, seen: Tile, code: Plane) -> float:
        """Agreement in deviations."""
        coefficients, agreement = self._agreement(seen, code)
        return agreement / max(float(np.sqrt(coefficients @ coefficients)), 1e-9)

    def _agreement(self, seen: Tile, code: Plane) -> tuple[Plane, float]:
        coefficients = limited(self._lattice.coefficients(seen))
        return coefficients, float(self._lattice.gathered(coefficients) @ code)

    def detect(self, pixels: Pixels, known: Iterable[tuple[str, int]]) -> Detection:
        """Read any picture, also one too small to be marked (which then says nothing, p = 1)."""
        small = _canonical(checked_pixels(pixels))
        names = list(known)
        numbers = np.fromiter((checked_mark_id(mark_id) for _, mark_id in names), np.uint64, len(names))
        listed = _Known(names, self._code.payloads(numbers))
        best_p, p_value = 1.0, 1.0
        best: Plane = np.zeros(len(self._lattice.chip))
        named: int | None = None
        for seen, shift in self._looks(small):
            coefficients = limited(self._lattice.coefficients(seen, shift))
            chance = self._chance(coefficients, listed)
            if chance < best_p:
                best_p, best = chance, coefficients
            p_value = corrected(best_p, LOOKS * TESTS)
            named = self._named(best, listed) if p_value <= FOUND_LEVEL else None
            # A mark that nearly fits is found before it can be named; a better pose may follow.
            if named is not None or p_value <= CERTAIN:
                break
        if p_value > FOUND_LEVEL:
            return Detection(False, p_value, None, None, self.name)
        if named is not None:
            record_id, mark_id = names[named]
            return Detection(True, p_value, record_id, mark_id, self.name)
        return Detection(True, p_value, None, self._code.decode(self._lattice.gathered(best)[PILOTS:]), self.name)

    def _looks(self, pixels: Pixels) -> Iterator[tuple[Tile, Shift]]:
        """Where signs are compared, likely places first, at most LOOKS; only the sync pattern has a say in which."""
        luma = luma_of(pixels)
        tile = folded(flattened(luma)[0])
        yield spectrum(tile, luma.size), (0, 0)
        if partly_full(pixels):
            yield spectrum(folded(flattened_colours(pixels)), luma.size), (0, 0)
        positions = [spectrum(turned, luma.size) for turned in _positions(tile)]
        fits = sorted(
            ((self._lattice.best_shift(seen), seen) for seen in positions), key=lambda fit: fit[0].score, reverse=True
        )
        for synced, seen in fits[:POSITIONS]:
            yield seen, synced.shift
        for scale in SIZES:
            if (look := registration.judged(self._lattice, luma, registration.Pose(scale, scale))) is not None:
                yield look.seen, (0, 0)
        for look in registration.search(self._lattice, luma):
            yield look.seen, look.synced.shift

    def _chance(self, coefficients: Plane, known: _Known) -> float:
        """The smallest of TESTS p-values, not yet corrected for their number; those of records are for their number."""
        chips = self._lattice.gathered(coefficients)
        held = limited(chips, SOFT)
        fits = self._code.decode(chips[PILOTS:]) is not None
        evened = self._lattice.evened(coefficients)
        # What is weighed: single coefficients, which say more, the same made equal from low waves to high ones, which
        # lossy copies leave unequal, or their sums, which a weak mark is made of.
        return min(
            self._chance_of(chips, coefficients, self._of_pilots, known, fits=fits),
            self._chance_of(self._lattice.gathered(evened), evened, self._of_pilots, known, fits=fits),
            self._chance_of(held, held, np.arange(CHIPS) < PILOTS, known, fits=fits),
        )

    def _chance_of(
        self, chips: Plane, weights: Plane, of_pilots: NDArray[np.bool_], known: _Known, *, fits: bool
    ) -> float:
        agreement = float(chips[:PILOTS] @ self._code.pilots)
        present = sign_tail(weights[of_pilots], agreement)
        # The whitening is independent of the pilots, so a fitting CRC is 16 more coin tosses, all heads.
        p_value = present * 2.0**-16 if fits else present
        if len(known.names):
            agreement += float((known.payloads @ chips[PILOTS:].astype(np.float32)).max())
            p_value = min(p_value, sign_tail(weights, agreement) * len(known.names))
        return p_value

    def _named(self, coefficients: Plane, known: _Known) -> int | None:
        """The record that the payload singles out.

        The pilots are left out here: they agree for every picture of this key, also one that is not in the history.
        """
        if not len(known.names):
            return None
        # By chips, not by coefficients: those of one chip all lean to the side of the id that is really there.
        payload = limited(self._lattice.gathered(coefficients)[PILOTS:], SOFT)
        agreement = known.payloads @ payload.astype(np.float32)
        first = int(agreement.argmax())
        chance = sign_tail(payload, float(agreement[first]))
        return first if corrected(chance, len(known.names) * LOOKS) <= FOUND_LEVEL else None


def _canonical(pixels: Pixels) -> Pixels:
    """`pixels` itself, or a copy of CANONICAL size if it is larger."""
    height, width, _ = pixels.shape
    shrink = min(CANONICAL / float(np.sqrt(height * width)), LARGEST_SIDE / max(height, width))
    if shrink >= 1.0:
        return pixels
    size = (max(1, round(width * shrink)), max(1, round(height * shrink)))
    smaller: Pixels = cv2.resize(pixels, size, interpolation=cv2.INTER_AREA)
    return smaller


def _is_small(pixels: Pixels) -> bool:
    return bool(pixels.shape[0] * pixels.shape[1] < SMALL**2)


def _of_size(delta: Plane, height: int, width: int) -> Plane:
    if delta.shape[:2] == (height, width):
        return delta
    whole: Plane = cv2.resize(delta, (width, height), interpolation=cv2.INTER_CUBIC)
    return whole.reshape(height, width, -1)


def seen_of(pixels: Pixels) -> Tile:
    """The coefficients of a picture as it is; no key has a say in them."""
    luma = luma_of(pixels)
    return spectrum(folded(flattened(luma)[0]), luma.size)


def _positions(tile: Plane) -> Iterator[Plane]:
    """A folded picture in its eight positions; shifts that come with it do not matter."""
    for turned in (tile, tile.T):
        for rows in (turned, turned[::-1]):
            yield rows
            yield rows[:, ::-1]
