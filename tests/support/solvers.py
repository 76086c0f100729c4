"""Denoisers without a network, and runs of our plans and of stock schedulers over them."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from backend.engine.samplers import Stepper
from backend.solvers.moves import Move, Options, Plan
from backend.solvers.noise import NoiseTable
from backend.types import Churn

SD = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear", "num_train_timesteps": 1000}
TABLE = NoiseTable.of(SD)
SHAPE = (1, 2, 3, 5)

Denoiser = Callable[[Tensor, float], Tensor]
"""(sample in the variance-exploding space, level) -> denoised"""


def smooth(x: Tensor, sigma: float) -> Tensor:
    """Nonlinear in the sample, and different at every level."""
    scaled = x / math.hypot(1, sigma)
    return torch.tanh(1.3 * scaled + 0.2) / (1 + 0.3 * sigma) + 0.1 * torch.sin(scaled)


def noise(seed: int = 0) -> Tensor:
    return torch.randn(SHAPE, generator=torch.Generator().manual_seed(seed))


def drawing(seed: int) -> Callable[[], Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return lambda: torch.randn(SHAPE, generator=generator)


def planned(levels: Sequence[float], moves: Sequence[Move]) -> Plan:
    return Plan(tuple(moves), levels[0], 1.0, len(levels) - 1, end_sigma=levels[-1])


def options(eta: float = 1.0, table: NoiseTable = TABLE, **churn: float) -> Options:
    return Options(eta, Churn(**churn), table)


def run_plan(
    plan: Plan, x: Tensor, seed: int = 1, table: NoiseTable = TABLE, denoiser: Denoiser = smooth
) -> tuple[Tensor, Stepper]:
    """The finished sample, through the model output that `table.prediction_type` asks for."""
    stepper = Stepper(plan, table, x, drawing(seed))
    while stepper.left:
        prediction = predicted(table.prediction_type, stepper.model_input(), stepper.sigma, denoiser)
        stepper.advance(stepper.denoised(prediction))
    return stepper.sample, stepper


def predicted(kind: str, given: Tensor, sigma: float, denoiser: Denoiser = smooth) -> Tensor:
    """What a network of this kind would answer to an input of unit variance."""
    scale = math.hypot(1, sigma)
    x = given * scale
    clean = denoiser(x, sigma)
    if kind == "sample":
        return clean
    eps = (x - clean) / sigma
    return eps if kind == "epsilon" else (eps - sigma * clean) / scale


def run_stock(
    scheduler: Any, x: Tensor, levels: Sequence[float], seed: int = 1, *, vp: bool, **step: Any
) -> tuple[Tensor, list[float]]:
    """A diffusers scheduler over `smooth`: the finished sample, and the timesteps it asked at.

    `levels` are those of its forwards; `vp` says that its samples are variance-preserving.
    """
    if step.pop("random", False):
        step["generator"] = torch.Generator().manual_seed(seed)
    sample = x / math.hypot(1, levels[0]) if vp else x
    for sigma, time in zip(levels, scheduler.timesteps, strict=True):
        given = scheduler.scale_model_input(sample, time)
        output = predicted(scheduler.config.prediction_type, given, float(sigma))
        sample = scheduler.step(output, time, sample, return_dict=False, **step)[0]
    return sample, [float(time) for time in scheduler.timesteps]


def apart(one: Tensor, other: Tensor) -> float:
    """Largest difference, relative to the larger picture."""
    return float((one - other).abs().max() / other.abs().max())
