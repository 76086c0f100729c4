"""One sampler update of sixteen different rows against sixteen `scheduler.step` calls of diffusers, float32 on the CPU.

An update is all that happens to a latent between two forwards: scaling the next input, turning the model output into a
prediction, and the step itself. Latents are those of 512 px pictures, model outputs are given. Rows that draw noise
draw it in both, so they are measured apart: there the normals cost more than the arithmetic.

Gate: every row, walked to its end over a smooth denoiser, is within 1e-4 of the stock scheduler's largest value.
A missed goal ends with status 1. Run with: python3 launch.py bench solvers
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import math
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import diffusers
import torch
from torch import Tensor

from backend.engine.samplers import Stepper
from backend.solvers.noise import NoiseTable
from backend.solvers.plan import Plan, plan
from benchmarks._goals import Verdict, at_most, stated
from benchmarks._pairs import Ratio, compare

SD = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear", "timestep_spacing": "trailing"}
TABLE = NoiseTable.of(SD)
SHAPE = (1, 4, 64, 64)
SAME = 1e-4
UPDATES = 8
ROUNDS = 15
GOAL, EARLIER_GOAL = 0.10, 0.25


@dataclass(frozen=True, slots=True)
class Row:
    sampler: str
    schedule: str
    steps: int
    scheduler: str
    config: Mapping[str, Any] = field(default_factory=dict)

    def plan(self) -> Plan:
        return plan(self.sampler, self.schedule, self.steps, TABLE)

    def stock(self) -> Any:
        scheduler = getattr(diffusers, self.scheduler).from_config({**SD, **self.config})
        scheduler.set_timesteps(self.steps)
        return scheduler

    @property
    def vp(self) -> bool:
        return not self.scheduler.startswith(("Euler", "Heun"))


_EXACT = {"clip_sample": False, "set_alpha_to_one": True}
_KARRAS = {"use_karras_sigmas": True}
_SDE = {"algorithm_type": "sde-dpmsolver++"}
PLAIN = (
    *(Row("Euler", "Automatic", steps, "EulerDiscreteScheduler") for steps in (8, 20, 25, 50)),
    *(Row("DDIM", "Automatic", steps, "DDIMScheduler", _EXACT) for steps in (10, 20, 50)),
    *(Row("DPM++ 2M", "Karras", steps, "DPMSolverMultistepScheduler", _KARRAS) for steps in (12, 20, 25, 30)),
    *(Row("UniPC", "Automatic", steps, "UniPCMultistepScheduler") for steps in (8, 20, 30)),
    *(Row("Heun", "Automatic", steps, "HeunDiscreteScheduler") for steps in (10, 20)),
)
NOISY = (
    *(Row("Euler a", "Automatic", steps, "EulerAncestralDiscreteScheduler") for steps in (8, 12, 20, 25, 30, 50)),
    *(
        Row("DPM++ 2M SDE", "Karras", s, "DPMSolverMultistepScheduler", {**_KARRAS, **_SDE})
        for s in (10, 12, 20, 25, 30)
    ),
    *(Row("LCM", "Automatic", steps, "LCMScheduler", _EXACT) for steps in (8, 9, 10, 12, 16)),
)


def main() -> int:
    found = verdicts()
    for verdict in found:
        print(verdict.line())
    return int(any(verdict.missed for verdict in found))


def verdicts(short: bool = False) -> list[Verdict]:
    torch.set_num_threads(1)
    worst = max(_apart(row, seed) for seed, row in enumerate((*PLAIN, *NOISY)))
    if not worst <= SAME:
        raise SystemExit(f"gate: a row ends {worst:.1e} away from the stock scheduler's, more than {SAME:.0e}")
    print(f"gate: {len(PLAIN) + len(NOISY)} rows end within {worst:.1e} of the stock schedulers'")
    plain, noisy = _measured(PLAIN), _measured(NOISY)
    what = f"{len(PLAIN)} rows, {UPDATES} updates / stock schedulers"
    return [
        at_most("C2", what, plain, GOAL),
        at_most("C2", "the same, our earlier goal", plain, EARLIER_GOAL),
        stated("-", f"{len(NOISY)} rows that draw noise, {UPDATES} updates / stock", noisy),
    ]


def _measured(rows: Sequence[Row]) -> Ratio:
    """Each round walks runs of its own that were begun beforehand, so that only updates are timed."""
    warm_up = 2
    outputs = [_noise(1000 + seed) for seed in range(len(rows))]
    ours = iter([[_begun(row, seed) for seed, row in enumerate(rows)] for _ in range(ROUNDS + warm_up)])
    theirs = iter([[_Stock(row, seed) for seed, row in enumerate(rows)] for _ in range(ROUNDS + warm_up)])

    @torch.inference_mode()
    def update_ours() -> None:
        batch = next(ours)
        for _ in range(UPDATES):
            for stepper, output in zip(batch, outputs, strict=True):
                stepper.model_input()
                stepper.advance(stepper.denoised(output))

    @torch.inference_mode()
    def update_theirs() -> None:
        batch = next(theirs)
        for _ in range(UPDATES):
            for run, output in zip(batch, outputs, strict=True):
                run.given()
                run.advance(output)

    return compare(update_ours, update_theirs, ROUNDS, warm_up)


def _noise(seed: int) -> Tensor:
    return torch.randn(SHAPE, generator=torch.Generator().manual_seed(seed))


def _drawing(seed: int) -> Callable[[], Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return lambda: torch.randn(SHAPE, generator=generator)


def _begun(row: Row, seed: int) -> Stepper:
    run = row.plan()
    return Stepper(run, TABLE, _noise(seed) * run.start_sigma, _drawing(seed + 500))


class _Stock:
    """A stock scheduler on its way, as a pipeline would drive it."""

    def __init__(self, row: Row, seed: int) -> None:
        run = row.plan()
        self.scheduler = row.stock()
        self.times = iter(self.scheduler.timesteps)
        self.time = next(self.times)
        first = run.start_sigma / math.hypot(1, run.moves[0].sigma) if row.vp else run.start_sigma
        self.sample = _noise(seed) * first
        noisy = row in NOISY
        self.step = {"generator": torch.Generator().manual_seed(seed + 500)} if noisy else {}

    def given(self) -> Tensor:
        scaled: Tensor = self.scheduler.scale_model_input(self.sample, self.time)
        return scaled

    def advance(self, output: Tensor) -> None:
        self.sample = self.scheduler.step(output, self.time, self.sample, return_dict=False, **self.step)[0]
        self.time = next(self.times, self.time)


def _apart(row: Row, seed: int) -> float:
    """The largest difference at the end of a whole run, relative to the largest value."""
    mine, other = _begun(row, seed), _Stock(row, seed)
    while mine.left:
        sigma = mine.sigma
        mine.advance(mine.denoised(_eps(mine.model_input(), sigma)))
        other.advance(_eps(other.given(), sigma))
    return float((mine.sample - other.sample).abs().max() / other.sample.abs().max())


def _eps(given: Tensor, sigma: float) -> Tensor:
    """What an epsilon-predicting network with a smooth idea of the picture would answer."""
    scale = math.hypot(1, sigma)
    return (given * scale - torch.tanh(1.3 * given + 0.2) / (1 + 0.3 * sigma)) / sigma


if __name__ == "__main__":
    sys.exit(main())
