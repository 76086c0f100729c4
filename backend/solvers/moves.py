"""The shape of a planned run: one move per denoiser forward, all of its numbers known beforehand.

Samples live in the variance-exploding space x = picture + sigma * noise of k-diffusion. There every sampler with fixed
noise levels is linear in what it has: x, one saved x, the denoised predictions so far, and the noise drawn so far.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from backend.solvers.noise import NoiseTable
from backend.types import Churn


@dataclass(frozen=True, slots=True)
class Move:
    """Ask the denoiser at `sigma`, then x <- x * `x` + saved * `saved` + sum(d * history) + sum(noise * normals).

    `d` weighs what was remembered, newest first: the denoised predictions, or with `slope` the derivatives
    (x - denoised) / sigma. A move that has `noise` draws one fresh normal; the weights are of the newest normals, fresh
    one first. `save` keeps x as it was before this move as the saved x, after that has been used. `step` is the user's
    step this move belongs to, from 0.
    """

    sigma: float
    x: float
    saved: float = 0.0
    d: tuple[float, ...] = ()
    noise: tuple[float, ...] = ()
    save: bool = False
    step: int = 0
    slope: bool = False

    @property
    def straight(self) -> bool:
        """Whether (but for noise) it only goes from x towards the newest prediction: most moves do."""
        return len(self.d) == 1 and not self.saved and not self.slope and abs(self.x + self.d[0] - 1) < 1e-12


@dataclass(frozen=True, slots=True)
class Plan:
    """A run: begin at picture + `start_sigma` * noise, plus `start_noise` of a fresh normal if that is not 0.

    It ends at picture + `end_sigma` * noise, and `final_scale` brings that into the model's own space. `steps` is how
    many of the user's steps the moves make (fewer than asked for when a picture is given).
    """

    moves: tuple[Move, ...]
    start_sigma: float
    final_scale: float
    steps: int
    start_noise: float = 0.0
    end_sigma: float = 0.0

    @property
    def memory(self) -> int:
        """How many predictions have to be remembered, the newest included."""
        return max((len(move.d) for move in self.moves), default=0)

    @property
    def normals(self) -> int:
        """How many drawn normals have to be remembered, the fresh one included."""
        return max((len(move.noise) for move in self.moves), default=0)


@dataclass(frozen=True, slots=True)
class Options:
    """What a solver may need beside the levels."""

    eta: float
    churn: Churn
    table: NoiseTable


def ancestral(start: float, end: float, eta: float) -> tuple[float, float]:
    """(level to step down to, noise to add) of a step that gives part of itself back; their squares add up."""
    up = min(end, eta * math.sqrt(max(end**2 * (start**2 - end**2), 0.0)) / start)
    return math.sqrt(max(end**2 - up**2, 0.0)), up


def drawn(*weights: float) -> tuple[float, ...]:
    """Noise weights, or nothing when they are all 0, so that no normal is drawn in vain."""
    return weights if any(weights) else ()


def stirred(levels: Sequence[float], churn: Churn) -> list[tuple[float, float]]:
    """Per step (level after the noise put back before it, how much noise that is): Karras et al. 2022, algorithm 2."""
    count = len(levels) - 1
    share = min(churn.churn / count, math.sqrt(2) - 1)
    top = math.inf if churn.tmax is None else churn.tmax
    hats = [level * (1 + share) if share > 0 and churn.tmin <= level <= top else level for level in levels[:-1]]
    return [
        (hat, churn.noise * math.sqrt(hat**2 - level**2) if hat > level else 0.0)
        for hat, level in zip(hats, levels, strict=False)
    ]


def added_after(stirring: Sequence[tuple[float, float]], step: int) -> tuple[float, ...]:
    """The noise put back before the next step belongs to the last move of this one."""
    return drawn(stirring[step + 1][1]) if step + 1 < len(stirring) else ()
