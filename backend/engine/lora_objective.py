"""What a training step is asked to do, as pure functions of (seed, step): which pictures, which noise, which target."""

from __future__ import annotations

import hashlib
import math
from typing import Any

import torch
from torch import Tensor

from backend.engine.lora_settings import TrainingSettings


def dice_of(seed: int, what: int | str) -> torch.Generator:
    """A generator of its own for each step, or for another purpose. Nothing has to be remembered to go on later."""
    whole = hashlib.sha256(f"{seed}/{what}".encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(whole[:7], "big"))


def chosen(count: int, settings: TrainingSettings, step: int) -> list[int]:
    """The numbers of the pictures of one batch. Every picture comes once before any comes again, in random order."""
    places = range(step * settings.batch, (step + 1) * settings.batch)
    orders = {
        epoch: torch.randperm(count, generator=dice_of(settings.seed, f"epoch {epoch}")).tolist()
        for epoch in {place // count for place in places}
    }
    return [orders[place // count][place % count] for place in places]


def rate_share(settings: TrainingSettings, step: int) -> float:
    """The share of the learning rate at a step: rising over the warm-up, then constant or a half cosine down to 0."""
    if step < settings.warmup:
        return (step + 1) / (settings.warmup + 1)
    if settings.schedule == "constant":
        return 1.0
    passed = (step - settings.warmup) / max(1, settings.steps - settings.warmup)
    return 0.5 * (1 + math.cos(math.pi * min(1.0, passed)))


def target(noising: Any, clean: Tensor, noise: Tensor, times: Tensor) -> Tensor:
    """What the denoiser should say, by what it was trained to predict: noise, velocity or the picture itself."""
    match noising.config.prediction_type:
        case "v_prediction":
            velocity: Tensor = noising.get_velocity(clean, noise, times)
            return velocity
        case "sample":
            return clean
    return noise


def snr_weights(noising: Any, times: Tensor, gamma: float | None) -> Tensor:
    """Min-SNR (Hang et al. 2023): steps with little noise count less. One weight for each row, 1 without `gamma`."""
    if gamma is None:
        return torch.ones(len(times))
    kept = noising.alphas_cumprod[times]
    snr = kept / (1 - kept)
    least = snr.clamp(max=gamma)
    match noising.config.prediction_type:
        case "v_prediction":
            weights: Tensor = least / (snr + 1)
        case "sample":
            weights = least
        case _:
            weights = least / snr.clamp(min=1e-8)
    return weights
