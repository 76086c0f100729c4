"""A request's sampler, schedule and steps to a Plan: every number of the run, computed once."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

from backend.errors import InvalidParameter
from backend.samplers import AUTOMATIC, SAMPLERS, Sampler, resolve
from backend.solvers import dpm, euler, heun, multistep, schedules
from backend.solvers.moves import Move, Options, Plan, stirred
from backend.solvers.noise import Levels, NoiseTable
from backend.types import Churn

__all__ = ["CHURNED", "SOLVERS", "Move", "Plan", "plan"]

Solver = Callable[[Sequence[float], Options], list[Move]]

SOLVERS: Mapping[str, Solver] = {
    "Euler": euler.euler,
    "Euler a": euler.euler_ancestral,
    "Heun": heun.heun,
    "LMS": multistep.lms,
    "DPM2": heun.dpm2,
    "DPM2 a": heun.dpm2_ancestral,
    "DPM++ 2M": multistep.dpmpp_2m,
    "DPM++ 2M SDE": multistep.dpmpp_2m_sde,
    "DPM++ 2M SDE Heun": multistep.dpmpp_2m_sde_heun,
    "DPM++ 3M SDE": multistep.dpmpp_3m_sde,
    "DPM++ SDE": dpm.dpmpp_sde,
    "DPM++ 2S a": dpm.dpmpp_2s_ancestral,
    "DPM fast": dpm.dpm_fast,
    "Restart": heun.restart,
    "DDIM": euler.euler_ancestral,
    "PLMS": multistep.plms,
    "UniPC": multistep.unipc,
    "LCM": euler.lcm,
}

CHURNED = frozenset({"Euler", "Heun", "DPM2"})
"""The samplers that put noise back (`Churn`), as in A1111; the others ignore it."""

_MOST_ETA = 10.0


def plan(
    sampler: str,
    schedule: str,
    steps: int,
    table: NoiseTable,
    *,
    denoise: float | None = None,
    eta: float | None = None,
    churn: Churn | None = None,
    family: str = "sd1",
) -> Plan:
    """Names as in `samplers.resolve`. `denoise` 0..1 is how much of a given picture is made anew, None is all of it.

    With a picture A1111 makes its last int(min(denoise, 0.999) * steps) + 1 steps, and so does this.
    Raises UnknownSampler, InvalidParameter("steps") for more steps than the sampler or the model has, and
    InvalidParameter("eta").
    """
    name, schedule = resolve(sampler, schedule)
    entry = SAMPLERS[name]
    if not 1 <= steps <= entry.max_steps:
        hint = f"Use 1 to {entry.max_steps}."
        raise InvalidParameter("steps", f"{name} cannot make {steps} steps.", hint)
    if eta is not None and not 0 <= eta <= _MOST_ETA:
        raise InvalidParameter("eta", f"Eta cannot be {eta:g}.", f"Use 0 (no noise) to {_MOST_ETA:g}; 1 is usual.")
    levels = _levels(entry, schedule, steps, table, family)
    if denoise is not None:
        levels = levels[steps - 1 - int(min(max(0.0, denoise), 0.999) * steps) :]
    end = _end(entry, table)
    path = [*levels[:-1].tolist(), end]
    options = Options(entry.eta if eta is None else eta, churn or Churn(), table)
    moves = tuple(SOLVERS[name](path, options))
    return Plan(
        moves,
        start_sigma=_start(entry, schedule, table, path[0]) if denoise is None else path[0],
        final_scale=1 / math.hypot(1, end) if entry.variance_preserving else 1.0,
        steps=moves[-1].step + 1,
        start_noise=stirred(path, options.churn)[0][1] if name in CHURNED else 0.0,
        end_sigma=end,
    )


def _levels(entry: Sampler, schedule: str, steps: int, table: NoiseTable, family: str) -> Levels:
    if entry.name == "LCM" and schedule == AUTOMATIC:
        return schedules.lcm(steps, table)
    if schedule == AUTOMATIC:
        schedule = entry.automatic or AUTOMATIC
    if not entry.drops_last_but_one:
        return schedules.sigmas(schedule, steps, table, family)
    levels = schedules.sigmas(schedule, steps + 1, table, family)
    return levels[[*range(steps), steps + 1]]


def _end(entry: Sampler, table: NoiseTable) -> float:
    return {"zero": 0.0, "final": table.final_sigma, "smallest": table.sigma_min}[entry.end]


def _start(entry: Sampler, schedule: str, table: NoiseTable, level: float) -> float:
    """The first noise of a run without a picture: unit noise in the model's own space is sqrt(1 + sigma^2) here.

    k-diffusion's samplers begin from sigma alone, but where "leading" spacing begins below the highest level.
    """
    own = schedule == AUTOMATIC and not entry.automatic
    below = own and table.spacing == "leading"
    return math.hypot(1, level) if entry.variance_preserving or below else level
