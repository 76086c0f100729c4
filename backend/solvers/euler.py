"""One forward, one straight step: Euler, Euler a, DDIM and LCM."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

from backend.solvers.moves import Move, Options, added_after, ancestral, drawn, stirred

_SIGMA_DATA = 0.5
_TIMESTEP_SCALING = 10.0


def euler(levels: Sequence[float], options: Options) -> list[Move]:
    """Karras et al. 2022, algorithm 2 without its correction."""
    stirring = stirred(levels, options.churn)
    moves = []
    for step, end in enumerate(levels[1:]):
        hat, _ = stirring[step]
        keep = end / hat
        moves.append(Move(hat, keep, d=(1 - keep,), noise=added_after(stirring, step), step=step))
    return moves


def euler_ancestral(levels: Sequence[float], options: Options) -> list[Move]:
    """Down further than asked, then up again with fresh noise.

    DDIM (Song et al. 2021, equation 12) is this too: divided by the signal, its variance is that of an ancestral step.
    """
    moves = []
    for step, (start, end) in enumerate(pairwise(levels)):
        down, up = ancestral(start, end, options.eta)
        keep = down / start
        moves.append(Move(start, keep, d=(1 - keep,), noise=drawn(up), step=step))
    return moves


def lcm(levels: Sequence[float], options: Options) -> list[Move]:
    """All the way to the picture, then up with fresh noise (Luo et al. 2023); boundary scalings as in LCMScheduler."""
    moves = []
    for step, (start, end) in enumerate(pairwise(levels)):
        time = options.table.timestep(start) * _TIMESTEP_SCALING
        skip = _SIGMA_DATA**2 / (time**2 + _SIGMA_DATA**2)
        out = time / math.hypot(time, _SIGMA_DATA)
        moves.append(Move(start, skip / math.hypot(1, start), d=(out,), noise=drawn(end), step=step))
    return moves
