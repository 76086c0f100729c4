"""Single-step DPM-Solvers, in lambda = -log(sigma): DPM++ 2S a, DPM++ SDE and DPM fast (Lu et al. 2022).

A stage of a data-prediction solver is x <- r * x + (1 - r) * denoised, where r = end / start.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

from backend.solvers.moves import Move, Options, ancestral, drawn


def dpmpp_2s_ancestral(levels: Sequence[float], options: Options) -> list[Move]:
    """DPM-Solver++(2S) down to the ancestral level, then noise."""
    moves = []
    for step, (start, end) in enumerate(pairwise(levels)):
        down, up = ancestral(start, end, options.eta)
        noise = drawn(up)
        if down == 0:
            moves.append(Move(start, 0.0, d=(1.0,), noise=noise, step=step))
            continue
        middle = math.sqrt(start * down)
        moves += [_stage(start, middle, step), _whole(middle, down / start, noise, step)]
    return moves


def dpmpp_sde(levels: Sequence[float], options: Options) -> list[Move]:
    """DPM-Solver++ for the SDE with a middle stage at r = 1/2, as in k-diffusion.

    Both stages add noise of one Brownian path (in sigma) from the step's start, so the second increment contains the
    first: with normals z1, z2 of the two halves it is (sqrt(half1) z1 + sqrt(half2) z2) / sqrt(half1 + half2).
    """
    moves = []
    for step, (start, end) in enumerate(pairwise(levels)):
        if end == 0:
            moves.append(Move(start, 0.0, d=(1.0,), step=step))
            continue
        middle = math.sqrt(start * end)
        middle_down, middle_up = ancestral(start, middle, options.eta)
        down, up = ancestral(start, end, options.eta)
        shared = math.sqrt((start - middle) / (start - end))
        fresh = math.sqrt((middle - end) / (start - end))
        trial = middle_down / start
        moves += [
            Move(start, trial, d=(1 - trial,), noise=drawn(middle_up), save=True, step=step),
            _whole(middle, down / start, drawn(up * fresh, up * shared), step),
        ]
    return moves


def dpm_fast(levels: Sequence[float], options: Options) -> list[Move]:
    """DPM-Solver-fast: third-order steps of equal size in lambda and one shorter one, with as many forwards as asked.

    Only the ends of `levels` are used. Every forward counts as a step.
    """
    forwards = len(levels) - 1
    parts = forwards // 3 + 1
    orders = [3] * (parts - 2) + [2, 1] if forwards % 3 == 0 else [3] * (parts - 1) + [forwards % 3]
    first, last = -math.log(levels[0]), -math.log(levels[-1])
    moves: list[Move] = []
    for number, order in enumerate(orders):
        begin = first + (last - first) * number / parts
        goal = math.exp(-(first + (last - first) * (number + 1) / parts))
        down, _ = ancestral(math.exp(-begin), goal, options.eta)
        down = max(down, levels[-1])  # never below where the run ends
        noise = drawn(math.sqrt(max(goal**2 - down**2, 0.0)) if goal - down > 1e-12 else 0.0)
        moves += _noise_prediction(order, begin, -math.log(down), noise, len(moves))
    return moves


def _noise_prediction(order: int, begin: float, end: float, noise: tuple[float, ...], step: int) -> list[Move]:
    """One step of DPM-Solver-1, -2 or -3 (Lu et al. 2022, algorithms 1 and 2; r = 1/2, or 1/3 and 2/3).

    With e = (x - denoised) / sigma a trial is u = x - sigma' expm1(r h) e [- more (e' - e)], always from the first x of
    the step, which is the saved one after the first forward.
    """
    h = end - begin
    start, stop = math.exp(-begin), math.exp(-end)
    if order == 1:
        return [_from_slope(start, -stop * math.expm1(h), noise, step, save=False)]
    if order == 2:
        middle = math.exp(-begin - h / 2)
        whole = stop * math.expm1(h)
        return [
            _from_slope(start, -middle * math.expm1(h / 2), (), step, save=True),
            _from_slopes(middle, start, -whole, 0.0, 1, noise, step + 1),
        ]
    near, far = math.exp(-begin - h / 3), math.exp(-begin - 2 * h / 3)
    bend = far * 2 * (math.expm1(2 * h / 3) / (2 * h / 3) - 1)
    curve = stop * 1.5 * (math.expm1(h) / h - 1)
    return [
        _from_slope(start, -near * math.expm1(h / 3), (), step, save=True),
        _from_slopes(near, start, -bend, bend - far * math.expm1(2 * h / 3), 1, (), step + 1),
        _from_slopes(far, start, -curve, curve - stop * math.expm1(h), 2, noise, step + 2),
    ]


def _from_slope(sigma: float, weight: float, noise: tuple[float, ...], step: int, *, save: bool) -> Move:
    """x + weight * (x - d) / sigma"""
    part = weight / sigma
    return Move(sigma, 1 + part, d=(-part,), noise=noise, save=save, step=step)


def _from_slopes(
    sigma: float, start: float, now: float, then: float, ago: int, noise: tuple[float, ...], step: int
) -> Move:
    """saved + now * (x - d) / sigma + then * (saved - first d) / start, where the first d is `ago` forwards old."""
    here, there = now / sigma, then / start
    gap = (0.0,) * (ago - 1)
    return Move(sigma, here, 1 + there, (-here, *gap, -there), noise, step=step)


def _stage(start: float, end: float, step: int) -> Move:
    keep = end / start
    return Move(start, keep, d=(1 - keep,), save=True, step=step)


def _whole(sigma: float, keep: float, noise: tuple[float, ...], step: int) -> Move:
    """From the saved x with the prediction just made."""
    return Move(sigma, 0.0, keep, (1 - keep,), noise, step=step)
