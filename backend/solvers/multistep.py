"""One forward a step and a memory of the last ones: LMS, PLMS, DPM++ 2M and its SDE kin, UniPC."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Literal

import numpy as np

from backend.solvers.moves import Move, Options, drawn

_LMS_ORDER = 4
_ADAMS_BASHFORTH = ((1.0,), (3 / 2, -1 / 2), (23 / 12, -16 / 12, 5 / 12), (55 / 24, -59 / 24, 37 / 24, -9 / 24))


def lms(levels: Sequence[float], options: Options) -> list[Move]:
    """Linear multistep over uneven levels: the polynomial through the last slopes, integrated over the step."""
    moves = []
    for step, start in enumerate(levels[:-1]):
        nodes = levels[max(step - _LMS_ORDER + 1, 0) : step + 1][::-1]
        weights = tuple(_integral(nodes, number, start, levels[step + 1]) for number in range(len(nodes)))
        moves.append(Move(start, 1.0, d=weights, step=step, slope=True))
    return moves


def _integral(nodes: Sequence[float], number: int, begin: float, end: float) -> float:
    """Of the Lagrange polynomial that is 1 at node `number` and 0 at the others; four Gauss points are exact."""
    points, weights = np.polynomial.legendre.leggauss(_LMS_ORDER)
    times = (begin + end) / 2 + (end - begin) / 2 * points
    others = [node for index, node in enumerate(nodes) if index != number]
    values = np.prod([(times - node) / (nodes[number] - node) for node in others], axis=0) * np.ones_like(times)
    return float((end - begin) / 2 * np.sum(weights * values))


def plms(levels: Sequence[float], options: Options) -> list[Move]:
    """Pseudo linear multistep (Liu et al. 2022) without Runge-Kutta steps: PNDMScheduler with `skip_prk_steps`.

    The transfer of equation 9 is a straight step along the slope here. The first step is done twice, the second time
    with the mean of the slopes at both ends; that trial's slope is remembered in between and never used again.
    """
    moves: list[Move] = []
    for step, (start, end) in enumerate(pairwise(levels)):
        if step == 0 and len(levels) > 2:
            moves.append(Move(start, 1.0, d=(end - start,), save=True, step=0, slope=True))
            moves.append(Move(end, 0.0, 1.0, ((end - start) / 2,) * 2, step=0, slope=True))
            continue
        weights = [(end - start) * weight for weight in _ADAMS_BASHFORTH[min(step, 3)]]
        if 0 < step < 4:
            weights.insert(step, 0.0)  # the trial's slope lies between those of the first and the second step
        moves.append(Move(start, 1.0, d=tuple(weights), step=step, slope=True))
    return moves


def dpmpp_2m(levels: Sequence[float], options: Options) -> list[Move]:
    """DPM-Solver++(2M) (Lu et al. 2022), first order at both ends."""
    moves = []
    for step, (start, end) in enumerate(pairwise(levels)):
        keep = end / start
        bend = (1 - keep) / 2 * _ratio(levels, step) if step and end else 0.0
        moves.append(Move(start, keep, d=_with_last(1 - keep, bend), step=step))
    return moves


def dpmpp_2m_sde(
    levels: Sequence[float], options: Options, kind: Literal["midpoint", "heun"] = "midpoint"
) -> list[Move]:
    """SDE-DPM-Solver++(2M); `kind` is the form of the second order."""
    moves = []
    for step, (start, end) in enumerate(pairwise(levels)):
        if end == 0:
            moves.append(Move(start, 0.0, d=(1.0,), step=step))
            continue
        keep, reach, noise = _diffused(start, end, options.eta)
        bend = 0.0
        if step:
            bend = _ratio(levels, step) * ((1 - keep) / 2 if kind == "midpoint" else _phi2(reach))
        moves.append(Move(start, keep, d=_with_last(1 - keep, bend), noise=noise, step=step))
    return moves


def dpmpp_2m_sde_heun(levels: Sequence[float], options: Options) -> list[Move]:
    return dpmpp_2m_sde(levels, options, "heun")


def dpmpp_3m_sde(levels: Sequence[float], options: Options) -> list[Move]:
    """k-diffusion's third order: divided differences of the last three predictions in lambda."""
    moves = []
    for step, (start, end) in enumerate(pairwise(levels)):
        if end == 0:
            moves.append(Move(start, 0.0, d=(1.0,), step=step))
            continue
        keep, reach, noise = _diffused(start, end, options.eta)
        phi2 = _phi2(reach)
        phi3 = phi2 / reach - 0.5
        if step < 2:
            d = _with_last(1 - keep, phi2 * _ratio(levels, step) if step else 0.0)
        else:
            h = math.log(start / end)
            r0, r1 = math.log(levels[step - 1] / start) / h, math.log(levels[step - 2] / levels[step - 1]) / h
            # d1 = a + (a - b) r0 / (r0 + r1), d2 = (a - b) / (r0 + r1), a = (D - D1) / r0, b = (D1 - D2) / r1
            near = (phi2 * (1 + r0 / (r0 + r1)) - phi3 / (r0 + r1)) / r0
            far = (phi3 - phi2 * r0) / (r0 + r1) / r1
            d = (1 - keep + near, far - near, -far)
        moves.append(Move(start, keep, d=d, noise=noise, step=step))
    return moves


def _diffused(start: float, end: float, eta: float) -> tuple[float, float, tuple[float, ...]]:
    """(weight of x, length of the step in (1 + eta) lambda, noise) of an exponential step of the SDE."""
    h = math.log(start / end)
    noise = end * math.sqrt(-math.expm1(-2 * eta * h))
    return math.exp(-(1 + eta) * h), (1 + eta) * h, drawn(noise)


def _phi2(reach: float) -> float:
    return math.expm1(-reach) / reach + 1


def _ratio(levels: Sequence[float], step: int) -> float:
    """1 / r: this step's length in lambda over the last one's."""
    before, start, end = levels[step - 1 : step + 2]
    return math.log(start / end) / math.log(before / start)


def _with_last(whole: float, bend: float) -> tuple[float, ...]:
    """whole * D + bend * (D - last D)"""
    return (whole + bend, -bend) if bend else (whole,)


def unipc(levels: Sequence[float], options: Options) -> list[Move]:
    """UniPC of order 2 with B2(h) = expm1(-h), predicting data (Zhao et al. 2023), as UniPCMultistepScheduler.

    Each forward first corrects the x it was made at, then predicts the next. Corrector and predictor begin at the same
    corrected x, so the correction is a difference of weights on the predictions alone and nothing needs to be saved.
    """
    moves = []
    last_predicted: tuple[float, ...] = ()
    for step, (start, end) in enumerate(pairwise(levels)):
        correction = _difference(_corrected(levels, step), last_predicted) if step else ()
        last_predicted = (0.0, *_predicted(levels, step))
        keep = end / start
        d = _sum([keep * weight for weight in correction], last_predicted[1:])
        moves.append(Move(start, keep, d=d, step=step))
    return moves


def _order(levels: Sequence[float], step: int) -> int:
    return min(2, step + 1, len(levels) - 1 - step)


def _predicted(levels: Sequence[float], step: int) -> tuple[float, ...]:
    """Weights on (D, last D) of the step to the next level."""
    keep = levels[step + 1] / levels[step]
    bend = (1 - keep) / 2 * _ratio(levels, step) if _order(levels, step) == 2 else 0.0
    return _with_last(1 - keep, bend)


def _corrected(levels: Sequence[float], step: int) -> tuple[float, ...]:
    """Weights on (this D, D of the step before, D before that) of the last step done again with its end known."""
    begin, end = levels[step - 1], levels[step]
    keep = end / begin
    h = math.log(begin / end)
    if _order(levels, step - 1) == 1:
        half = (1 - keep) / 2
        return half, 1 - keep - half
    r = math.log(begin / levels[step - 2]) / h  # negative: backwards
    b1 = _phi2(h) / (1 - keep)
    b2 = 2 * (0.5 - _phi2(h) / h) / (1 - keep)
    # The two unknowns of rho1 + rho2 = b1, r rho1 + rho2 = b2 weigh (D2 - D1) / r and (D - D1).
    rho1 = (b1 - b2) / (1 - r)
    rho2 = b1 - rho1
    far, near = (1 - keep) * rho1 / r, (1 - keep) * rho2
    return near, 1 - keep - near - far, far


def _difference(first: Sequence[float], second: Sequence[float]) -> list[float]:
    return list(_sum(first, [-weight for weight in second]))


def _sum(first: Sequence[float], second: Sequence[float]) -> tuple[float, ...]:
    size = max(len(first), len(second))
    return tuple(
        (first[at] if at < len(first) else 0.0) + (second[at] if at < len(second) else 0.0) for at in range(size)
    )
