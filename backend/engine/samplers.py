"""Sampler names to diffusers schedulers. The names themselves stand in backend.samplers, which needs no torch."""

from __future__ import annotations

import inspect
import math
from collections.abc import Mapping
from typing import Any

import diffusers
import torch
from torch import Tensor

from backend.samplers import SAMPLERS


class Stepper:
    """One picture's scheduler: holds the step index, so every picture has its own.

    All model inputs are in the variance-preserving space x_t = sqrt(a) x_0 + sqrt(1-a) noise that the denoiser was
    trained in, whatever space the scheduler keeps its sample in.
    """

    def __init__(
        self, sampler: str, schedule: str, steps: int, config: Mapping[str, Any], generator: torch.Generator
    ) -> None:
        entry = SAMPLERS[sampler]
        kind = getattr(diffusers, entry.scheduler)
        self._scheduler: Any = kind.from_config(dict(config), **entry.options, **entry.schedules[schedule])
        self._scheduler.set_timesteps(steps)
        takes_generator = "generator" in inspect.signature(self._scheduler.step).parameters
        self._noise = {"generator": generator} if takes_generator else {}
        self._velocity: bool = self._scheduler.config.prediction_type == "v_prediction"
        self._index = 0

    @property
    def left(self) -> int:
        """Steps still to do."""
        return len(self._scheduler.timesteps) - self._index

    @property
    def start_sigma(self) -> float:
        """What unit noise is multiplied by to become the first sample."""
        return float(self._scheduler.init_noise_sigma)

    @property
    def timestep(self) -> float:
        return float(self._scheduler.timesteps[self._index])

    def model_input(self, sample: Tensor) -> Tensor:
        scaled: Tensor = self._scheduler.scale_model_input(sample, self._scheduler.timesteps[self._index])
        return scaled

    def advance(self, prediction: Tensor, sample: Tensor) -> Tensor:
        """The next sample from the (guided) model output."""
        timestep = self._scheduler.timesteps[self._index]
        self._index += 1
        advanced: Tensor = self._scheduler.step(prediction, timestep, sample, return_dict=False, **self._noise)[0]
        return advanced

    def estimate(self, prediction: Tensor, model_input: Tensor) -> Tensor:
        """What the finished latent would be if the model were right at once; for previews. Call before `advance`."""
        products: Tensor = self._scheduler.alphas_cumprod
        alpha = float(products[min(round(self.timestep), len(products) - 1)])
        signal, noise = math.sqrt(alpha), math.sqrt(1 - alpha)
        if self._velocity:
            return signal * model_input - noise * prediction
        return (model_input - noise * prediction) / max(signal, 1e-3)
