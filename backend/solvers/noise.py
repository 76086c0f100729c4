"""The noise levels a model was trained on, from the configuration of its scheduler."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal, cast

import numpy as np
from numpy.typing import NDArray

from backend.errors import UnreadableModel

Levels = NDArray[np.float64]
"""Noise levels (standard deviations of the noise on a picture of unit scale)."""

Prediction = Literal["epsilon", "v_prediction", "sample"]
Spacing = Literal["leading", "linspace", "trailing"]

_MOST_TIMESTEPS = 100_000
_SMALLEST_SIGNAL = 2.0**-24  # of the last step under zero terminal SNR, so that its level is finite (as in diffusers)


@dataclass(frozen=True, eq=False)
class NoiseTable:
    """`sigmas` (N,) rise with the timestep: sigma = sqrt((1 - a) / a), where a is the cumulative product of 1 - beta.

    `spacing` is the model's own way of choosing timesteps, None if it has none. `final_sigma` is where DDIM and PLMS
    end: 0, or the smallest level for a model with `set_alpha_to_one: false`.
    """

    sigmas: Levels
    prediction_type: Prediction = "epsilon"
    spacing: Spacing | None = None
    steps_offset: int = 0
    final_sigma: float = 0.0

    @classmethod
    def of(cls, config: Mapping[str, Any]) -> NoiseTable:
        """From a diffusers `scheduler_config.json`. Raises UnreadableModel for values that make no sense."""
        try:
            sigmas = _sigmas(config)
            offset = int(config.get("steps_offset") or 0)
        except (TypeError, ValueError, OverflowError) as error:
            raise _wrong(f"its noise schedule has a value that is not a number: {str(error)[:80]}") from None
        prediction = config.get("prediction_type") or "epsilon"
        spacing = config.get("timestep_spacing")
        if prediction not in ("epsilon", "v_prediction", "sample"):
            raise _wrong(f'it predicts "{str(prediction)[:40]}", which no sampler here understands')
        if spacing not in (None, "leading", "linspace", "trailing"):
            raise _wrong(f'its timestep spacing "{str(spacing)[:40]}" is unknown')
        final = 0.0 if config.get("set_alpha_to_one", True) else float(sigmas[0])
        return cls(sigmas, cast(Prediction, prediction), cast("Spacing | None", spacing), offset, final)

    @property
    def sigma_min(self) -> float:
        return float(self.sigmas[0])

    @property
    def sigma_max(self) -> float:
        return float(self.sigmas[-1])

    @cached_property
    def _logs(self) -> Levels:
        return np.log(self.sigmas)

    @cached_property
    def _steps(self) -> Levels:
        return np.arange(len(self.sigmas), dtype=np.float64)

    def timestep(self, sigma: float) -> float:
        """The (fractional) timestep of a level, linear in its logarithm and held at the ends (k-diffusion)."""
        return float(np.interp(math.log(max(sigma, 1e-10)), self._logs, self._steps))

    def sigma(self, timestep: float) -> float:
        """The level at a (fractional) timestep: the inverse of `timestep`."""
        return float(np.exp(np.interp(timestep, self._steps, self._logs)))


def _wrong(detail: str) -> UnreadableModel:
    return UnreadableModel("scheduler_config.json", f"The model's scheduler cannot be used: {detail}.")


def _sigmas(config: Mapping[str, Any]) -> Levels:
    betas = _betas(config)
    if betas.ndim != 1 or not 2 <= len(betas) <= _MOST_TIMESTEPS or not np.all((betas > 0) & (betas < 1)):
        raise _wrong("its betas must be between 0 and 1, and at least two")
    signal = np.cumprod(1 - betas)
    if config.get("rescale_betas_zero_snr"):
        roots = np.sqrt(signal)
        signal = ((roots - roots[-1]) * roots[0] / (roots[0] - roots[-1])) ** 2  # Lin et al. 2023, algorithm 1
        signal[-1] = _SMALLEST_SIGNAL
    signal = np.maximum(signal, np.finfo(np.float64).tiny)
    sigmas: Levels = np.sqrt((1 - signal) / signal)
    if not np.all(np.isfinite(sigmas)) or not np.all(np.diff(sigmas) > 0):
        raise _wrong("its noise levels do not rise")
    return sigmas


def _betas(config: Mapping[str, Any]) -> Levels:
    trained = config.get("trained_betas")
    if trained is not None:
        return np.asarray(trained, dtype=np.float64)
    count = int(config.get("num_train_timesteps", 1000))
    if not 2 <= count <= _MOST_TIMESTEPS:
        raise _wrong(f"{count} training timesteps")
    first, last = float(config.get("beta_start", 0.0001)), float(config.get("beta_end", 0.02))
    match config.get("beta_schedule", "linear"):
        case "linear":
            return np.linspace(first, last, count)
        case "scaled_linear":
            return np.square(np.linspace(math.sqrt(first), math.sqrt(last), count))
        case "squaredcos_cap_v2":  # Nichol & Dhariwal 2021
            signal: Levels = np.cos((np.arange(count + 1) / count + 0.008) / 1.008 * math.pi / 2) ** 2
            return np.minimum(1 - signal[1:] / signal[:-1], 0.999)
        case other:
            raise _wrong(f'its beta schedule "{str(other)[:40]}" is unknown')
