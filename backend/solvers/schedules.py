"""Which noise levels a run visits: a schedule's name to (steps + 1) falling levels, the last of them 0.

As in A1111 1.10.1, but KL Optimal ends at 0 and not above it, DDIM makes no more steps than asked, and a single step
begins at the highest level, where some of the formulas would begin it at the lowest.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from backend.errors import InvalidParameter
from backend.samplers import AUTOMATIC
from backend.solvers.noise import Levels, NoiseTable

# Sabour, Fidler & Kreis 2024, "Align Your Steps": the published levels for the two families.
_ALIGNED_SD = (14.615, 6.475, 3.861, 2.697, 1.886, 1.396, 0.963, 0.652, 0.399, 0.152, 0.029)
_ALIGNED_XL = (14.615, 6.315, 3.771, 2.181, 1.342, 0.862, 0.555, 0.380, 0.234, 0.113, 0.029)
_BETA = 0.6


def sigmas(schedule: str, steps: int, table: NoiseTable, family: str = "sd1") -> Levels:
    """(steps + 1,) levels. Automatic is the model's own spacing, or Uniform for a model that has none.

    Raises InvalidParameter("steps") if the model has not that many different levels.
    """
    if steps == 1:
        levels = np.array([table.sigma_max])
    elif schedule == AUTOMATIC:
        levels = _uniform(steps, table) if table.spacing is None else _own(steps, table)
    elif schedule == "Align Your Steps":
        levels = _aligned(steps, _ALIGNED_XL if family.startswith("sdxl") else _ALIGNED_SD)
    else:
        levels = _SCHEDULES[schedule](steps, table)
    return ended(levels, steps)


def lcm(steps: int, table: NoiseTable) -> Levels:
    """LCMScheduler's choice out of the 50 timesteps such models are distilled on (Luo et al. 2023)."""
    stride = max(len(table.sigmas) // 50, 1)
    trained = np.arange(50, 0, -1) * stride - 1
    picked = trained[np.floor(np.arange(steps) * (50 / steps)).astype(np.int64)]
    return ended(table.sigmas[np.minimum(picked, len(table.sigmas) - 1)], steps)


def ended(levels: Levels, steps: int) -> Levels:
    """With a 0 behind it."""
    full = np.append(levels, 0.0)
    if not np.all(np.diff(full) < 0):
        hint = "Ask for fewer steps."
        raise InvalidParameter("steps", f"This model and schedule have no {steps} different noise levels.", hint)
    return full


def karras(steps: int, low: float, high: float, rho: float = 7.0) -> Levels:
    """Karras et al. 2022, equation 5: `steps` levels from `high` down to `low`."""
    ends = high ** (1 / rho), low ** (1 / rho)
    levels: Levels = np.power(np.linspace(*ends, steps), rho)
    return levels


def _own(steps: int, table: NoiseTable) -> Levels:
    """Lin et al. 2023, table 2, with diffusers' rounding (EulerDiscreteScheduler)."""
    count = len(table.sigmas)
    if table.spacing == "trailing":
        times = np.round(count - np.arange(steps) * (count / steps)) - 1
    elif table.spacing == "leading":
        times = np.arange(steps)[::-1] * float(count // steps) + table.steps_offset
    else:
        times = np.linspace(count - 1, 0, steps)
    levels: Levels = np.interp(times, np.arange(count), table.sigmas)
    return levels


def _at(times: Levels, table: NoiseTable) -> Levels:
    return np.array([table.sigma(float(time)) for time in times])


def _uniform(steps: int, table: NoiseTable) -> Levels:
    return _at(np.linspace(len(table.sigmas) - 1, 0, steps), table)


def _sgm_uniform(steps: int, table: NoiseTable) -> Levels:
    return _at(np.linspace(len(table.sigmas) - 1, 0, steps + 1)[:-1], table)


def _karras(steps: int, table: NoiseTable) -> Levels:
    return karras(steps, table.sigma_min, table.sigma_max)


def _exponential(steps: int, table: NoiseTable) -> Levels:
    levels: Levels = np.geomspace(table.sigma_max, table.sigma_min, steps)
    return levels


def _kl_optimal(steps: int, table: NoiseTable) -> Levels:
    share = np.arange(steps) / steps
    levels: Levels = np.tan(share * np.arctan(table.sigma_min) + (1 - share) * np.arctan(table.sigma_max))
    return levels


def _aligned(steps: int, known: tuple[float, ...]) -> Levels:
    levels: Levels = np.exp(np.interp(np.linspace(0, 1, steps), np.linspace(0, 1, len(known)), np.log(known)))
    return levels


def _simple(steps: int, table: NoiseTable) -> Levels:
    every = len(table.sigmas) / steps
    return table.sigmas[-1 - (np.arange(steps) * every).astype(np.int64) % len(table.sigmas)]


def _ddim(steps: int, table: NoiseTable) -> Levels:
    stride = max(len(table.sigmas) // steps, 1)
    return table.sigmas[np.minimum(1 + np.arange(steps) * stride, len(table.sigmas) - 1)][::-1]


def _beta(steps: int, table: NoiseTable) -> Levels:
    """Lee et al. 2024, "Beta Sampling is All You Need", with A1111's 0.6, 0.6."""
    shares = symmetric_beta_quantiles(1 - np.linspace(0, 1, steps), _BETA)
    return table.sigma_min + shares * (table.sigma_max - table.sigma_min)


def symmetric_beta_quantiles(shares: Levels, shape: float) -> Levels:
    """Quantiles of the Beta(shape, shape) distribution, by bisection: the density is symmetric about 1/2."""
    powers = np.arange(80)
    terms = np.cumprod(np.append(1.0, (powers[:-1] + 1 - shape) / (powers[:-1] + 1))) / (shape + powers)

    def mass(x: Levels) -> Levels:  # of (0, x) for x <= 1/2, not normalised: the hypergeometric series
        total: Levels = x**shape * (x[:, None] ** powers @ terms)
        return total

    half = mass(np.array([0.5]))[0]
    below = np.minimum(shares, 1 - shares) * 2 * half
    low, high = np.zeros_like(below), np.full_like(below, 0.5)
    for _ in range(60):
        middle = (low + high) / 2
        under = mass(middle) < below
        low, high = np.where(under, middle, low), np.where(under, high, middle)
    found = np.where(below > 0, (low + high) / 2, 0.0)
    quantiles: Levels = np.where(shares > 0.5, 1 - found, found)
    return quantiles


_SCHEDULES: Mapping[str, Callable[[int, NoiseTable], Levels]] = {
    "Uniform": _uniform,
    "Karras": _karras,
    "Exponential": _exponential,
    "Polyexponential": _exponential,  # the same at rho 1, which is A1111's setting
    "SGM Uniform": _sgm_uniform,
    "KL Optimal": _kl_optimal,
    "Simple": _simple,
    "Normal": _uniform,  # the same levels; A1111 has both names
    "DDIM": _ddim,
    "Beta": _beta,
}
