"""How much a mark may change a picture: gentle first, stronger only where the gentle mark would not last."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, slots=True)
class Strength:
    """How much a picture may change: at least `psnr` dB, and the relative amplitude on flat ground and in texture.

    Structural similarity is lost on flat ground first, and texture does little for the reader: the larger the
    difference of the two, the more similar the picture and the weaker the mark. `lasting` and `synced` are
    what has to be left of agreement and sync pattern under stress, in deviations, for this strength to do; 0 asks for
    no more than to be found. `by_chip` brings 96 sums to their side instead of as many of their 1,900 parts as it can:
    in a picture that is texture all over that is what a small budget can do. `alone` looks at the picture as it is and
    at nothing else: where even that does not keep its mark, there is nothing to spare for what may happen to it.
    """

    psnr: float
    flat: float
    busy: float
    lasting: float = 0.0
    synced: float = 0.0
    by_chip: bool = False
    alone: bool = False

    @property
    def budget(self) -> float:
        """The mean square error."""
        return float(255.0**2 / 10 ** (self.psnr / 10))


FLAT, BUSY = 0.7, 1.6
LEAST = 42.05
"""dB that every picture with some room keeps."""
GENTLE = (
    (384, Strength(47.0, 0.25, 3.0, lasting=13.0, synced=7.5)),
    (212, Strength(44.5, 0.4, 2.5, lasting=13.0, synced=7.5)),
)
"""From which geometric mean of the sides, in px, each is tried."""
RELIEF = (2.0, 4.0, 6.0)
"""dB below `least_psnr` for pictures that do not carry their mark otherwise."""


def least_psnr(height: int, width: int) -> float:
    """The PSNR in dB that embedding keeps, lower only below 112 px, where there is too little room.

    Only a picture that does not carry its mark at that gets up to 6 dB less.
    """
    side = float(np.sqrt(height * width))
    return float(np.interp(np.log2(side), [6.0, np.log2(112)], [38.5, LEAST]))


def strengths(height: int, width: int) -> Iterator[Strength]:
    """From gentle to strong, and then with relief, in single sums."""
    least, side = least_psnr(height, width), float(np.sqrt(height * width))
    yield from (gentle for smallest, gentle in GENTLE if side >= smallest and gentle.psnr > least)
    yield Strength(least, FLAT, BUSY)
    yield Strength(least, FLAT, BUSY, by_chip=True)
    for relief in RELIEF:
        yield Strength(least - relief, FLAT, BUSY, by_chip=True, alone=True)
