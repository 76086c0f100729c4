"""Two forwards a step, the second after a trial: Heun, DPM2, DPM2 a, and Restart, which is made of Heun's steps."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from backend.solvers.moves import Move, Options, added_after, ancestral, drawn, stirred
from backend.solvers.schedules import karras


def heun(levels: Sequence[float], options: Options) -> list[Move]:
    """Karras et al. 2022, algorithm 2: the mean of the slopes at both ends; a plain step where the end is 0."""
    stirring = stirred(levels, options.churn)
    return [
        move
        for step, end in enumerate(levels[1:])
        for move in _trapezoid(stirring[step][0], end, added_after(stirring, step), step)
    ]


def dpm2(levels: Sequence[float], options: Options) -> list[Move]:
    """The slope in the (geometric) middle of the step: k-diffusion's second-order step after DPM-Solver-2."""
    stirring = stirred(levels, options.churn)
    return [
        move
        for step, end in enumerate(levels[1:])
        for move in _midpoint(stirring[step][0], end, added_after(stirring, step), step)
    ]


def dpm2_ancestral(levels: Sequence[float], options: Options) -> list[Move]:
    moves = []
    for step, (start, end) in enumerate(pairwise(levels)):
        down, up = ancestral(start, end, options.eta)
        moves += _midpoint(start, down, drawn(up), step)
    return moves


def restart(levels: Sequence[float], options: Options) -> list[Move]:
    """Heun, and from twenty steps on back up from about 0.1 to about 2 with fresh noise and down again.

    Xu et al. 2023, with A1111's numbers. The steps stay as many as asked: the ways down again are taken from them.
    """
    ways = _ways(levels)
    moves: list[Move] = []
    for step, (start, end) in enumerate(ways):
        after = ways[step + 1][0] if step + 1 < len(ways) else end
        rise = math.sqrt(after**2 - end**2) if after > end else 0.0
        moves += _trapezoid(start, end, drawn(rise), step)
    return moves


def _ways(levels: Sequence[float]) -> list[tuple[float, float]]:
    steps = len(levels) - 1
    if steps < 20:
        return list(pairwise(levels))
    again, times = (9, 1) if steps < 36 else (steps // 4, 2)
    main = [*karras(steps - again * times, levels[-2], levels[0]).tolist(), 0.0]
    low, high = (int(np.argmin(np.abs(np.array(main) - goal))) for goal in (0.1, 2.0))
    ways = list(pairwise(main))
    if high < low and main[low] > 0:
        back = list(pairwise(karras(again + 1, main[low], main[high]).tolist()))
        ways[low:low] = back * times
    return ways


def _trapezoid(start: float, end: float, noise: tuple[float, ...], step: int) -> list[Move]:
    if end == 0:
        return [_straight(start, end, noise, step)]
    trial = end / start
    half = (end - start) / 2
    second = Move(
        end, half / end, 1 + half / start, (-half / end, -half / start), noise, step=step
    )  # saved + half * ((saved - d1) / start + (x - d2) / end)
    return [Move(start, trial, d=(1 - trial,), save=True, step=step), second]


def _midpoint(start: float, end: float, noise: tuple[float, ...], step: int) -> list[Move]:
    if end == 0:
        return [_straight(start, end, noise, step)]
    middle = math.sqrt(start * end)
    trial = middle / start
    slope = (end - start) / middle
    return [
        Move(start, trial, d=(1 - trial,), save=True, step=step),
        Move(middle, slope, 1.0, (-slope,), noise, step=step),
    ]


def _straight(start: float, end: float, noise: tuple[float, ...], step: int) -> Move:
    return Move(start, end / start, d=(1 - end / start,), noise=noise, step=step)
