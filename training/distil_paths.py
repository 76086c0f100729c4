"""The teacher's side of the few-step version: captions, guided paths from noise to picture, and LCM's own jump.

Everything lives in the variance-preserving space of the denoiser: x = sqrt(a) picture + sqrt(1 - a) noise, where a is
the share of signal at a timestep. A point of a guided path belongs to the picture at the path's end, which is all a
consistency model has to know (Song et al. 2023); so a path gives its pairs without a second model's guesses.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from random import Random

import torch
from torch import Tensor

from backend.models.loader import LoadedModel
from training.captions import COLOURS, HUES, SYNONYMS, article
from training.everyday import EVERYDAY

JUMPS = (999, 759, 499, 259)
"""Where four LCM steps begin: LCMScheduler's choice out of its 50 timesteps."""
STEPS_BETWEEN = 3
"""Of the teacher's solver from one of them to the next: about as exact as twenty of Euler's over the whole way."""
LAST = 25
"""The solver's last timestep, so near to the picture that no step remains to be bent."""
GUIDANCE = 4.0
_SIGMA_DATA, _TIMESTEP_SCALING = 0.5, 10.0  # LCMScheduler's

Velocity = Callable[[Tensor, int], Tensor]
"""What a denoiser says to (B, C, h, w) at a timestep."""


def captions(count: int, rng: Random) -> list[str]:
    """In the grammar of the training, about everyday things; one in sixteen is empty, for guidance above 1."""
    return ["" if rng.random() < 1 / 16 else _caption(rng) for _ in range(count)]


def _caption(rng: Random) -> str:
    things, roll = sorted(EVERYDAY), rng.random()
    text = rng.choice(things)
    if roll < 0.05:
        text = f"{rng.choice(list(HUES))} {text}"
    elif roll < 0.12:
        text = f"{text} and {article(rng.choice(things))}"
    text = article(text) if rng.random() < 0.7 else text
    if rng.random() < 0.35:
        text += f" on {article(rng.choice(list(COLOURS)))} background"
    if rng.random() < 0.7:
        text += f", {rng.choice(SYNONYMS[rng.choice(list(SYNONYMS))])}"
    return text


@torch.no_grad()
def said(model: LoadedModel, texts: list[str]) -> Tensor:
    """States of captions, (N, 77, D)."""
    limit = int(model.tokenizer.model_max_length)
    ids = model.tokenizer(texts, padding="max_length", max_length=limit, truncation=True, return_tensors="pt").input_ids
    states: Tensor = model.text_encoder(ids).last_hidden_state
    return states


def spread(values: Tensor) -> Tensor:
    """(B,) as (B, 1, 1, 1)."""
    return values.view(-1, 1, 1, 1)


def cleaned(velocity: Tensor, x: Tensor, times: Tensor, signal: Tensor) -> Tensor:
    """The picture a v-prediction stands for (Salimans & Ho 2022); times (B,), signal (1000,)."""
    share = spread(signal[times])
    return share.sqrt() * x - (1 - share).sqrt() * velocity


def jump(velocity: Tensor, x: Tensor, times: Tensor, signal: Tensor) -> Tensor:
    """The consistency function as LCMScheduler carries it out, boundary scalings included (Luo et al. 2023)."""
    far = spread(times.float() * _TIMESTEP_SCALING)
    keep, out = _SIGMA_DATA**2 / (far**2 + _SIGMA_DATA**2), far / (far**2 + _SIGMA_DATA**2).sqrt()
    return out * cleaned(velocity, x, times, signal) + keep * x


def noised(clean: Tensor, noise: Tensor, times: Tensor, signal: Tensor) -> Tensor:
    """Pictures brought up to timesteps (B,)."""
    share = spread(signal[times])
    return share.sqrt() * clean + (1 - share).sqrt() * noise


def guided(unet: torch.nn.Module, states: Tensor, nothing: Tensor, scale: float) -> Velocity:
    """A denoiser under classifier-free guidance; at scale 1 it is asked once only."""

    def velocity(x: Tensor, time: int) -> Tensor:
        at = torch.full((len(x),), time)
        with torch.autocast("cpu", torch.bfloat16):
            if scale == 1:
                plain: Tensor = unet(x, at, states).sample.float()
                return plain
            both = torch.cat([nothing.expand_as(states), states])
            without, told = unet(torch.cat([x, x]), torch.cat([at, at]), both).sample.float().chunk(2)
        stretched: Tensor = without + scale * (told - without)
        return stretched

    return velocity


def times_from(stage: int) -> list[int]:
    """The solver's falling timesteps from `JUMPS[stage]` on; every later jump is one of them."""
    spans = pairwise([*JUMPS[stage:], 0])
    parts = range(STEPS_BETWEEN)
    return [*(round(high + (low - high) * part / STEPS_BETWEEN) for high, low in spans for part in parts), LAST]


def solve(velocity: Velocity, x: Tensor, times: list[int], signal: Tensor) -> tuple[Tensor, Tensor]:
    """DPM-Solver++(2M) (Lu et al. 2022) down `times`: the points it passes (B, T, C, h, w) and the pictures."""
    alphas, sigmas = signal.sqrt(), (1 - signal).sqrt()
    halves = (alphas / sigmas).log()  # half the logarithm of the signal-to-noise ratio
    points, before, step = [], None, 0.0
    for place, time in enumerate(times):
        points.append(x)
        clean = alphas[time] * x - sigmas[time] * velocity(x, time)
        if place + 1 == len(times):
            return torch.stack(points, 1), clean
        then = times[place + 1]
        last, step = step, float(halves[then] - halves[time])
        bent = clean if before is None else clean + (clean - before) * (step / (2 * last))
        x = sigmas[then] / sigmas[time] * x + alphas[then] * (1 - math.exp(-step)) * bent
        before = clean
    raise ValueError("no timesteps")


@dataclass(frozen=True, slots=True)
class Paths:
    """Of one stage: points (B, T, C, h, w) at `times`, the pictures at their ends, and what they were told."""

    times: list[int]
    points: Tensor
    pictures: Tensor
    states: Tensor


@torch.no_grad()
def walk(teacher: torch.nn.Module, start: Tensor, stage: int, states: Tensor, nothing: Tensor, signal: Tensor) -> Paths:
    """The teacher's guided paths from x (B, C, h, w) at `JUMPS[stage]`."""
    times = times_from(stage)
    points, pictures = solve(guided(teacher, states, nothing, GUIDANCE), start, times, signal)
    return Paths(times, points, pictures, states)


@torch.no_grad()
def lcm(velocity: Velocity, noise: Sequence[Tensor], signal: Tensor, jumps: int = len(JUMPS)) -> Tensor:
    """What an LCM sampler makes of `noise`, one tensor for each jump: x in the noise of the next, or the picture."""
    x = noise[0]
    for place, time in enumerate(JUMPS[:jumps]):
        x = jump(velocity(x, time), x, torch.full((len(x),), time), signal)
        if place + 1 < len(JUMPS):
            x = noised(x, noise[place + 1], torch.full((len(x),), JUMPS[place + 1]), signal)
    return x
