"""The other side of a comparison: diffusers' own pipeline and the scheduler that walks as one of our samplers does."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import diffusers
import numpy as np
import torch

from backend.types import GenerationRequest, Pixels

# (sampler, schedule) -> the scheduler with the options in which it differs from its defaults.
_SCHEDULERS: Mapping[tuple[str, str], tuple[str, Mapping[str, Any]]] = {
    ("Euler", "Automatic"): ("EulerDiscreteScheduler", {}),
    ("Euler a", "Automatic"): ("EulerAncestralDiscreteScheduler", {}),
    ("Heun", "Automatic"): ("HeunDiscreteScheduler", {}),
    ("DDIM", "Automatic"): ("DDIMScheduler", {"clip_sample": False}),
    ("UniPC", "Automatic"): ("UniPCMultistepScheduler", {}),
    ("DPM++ 2M", "Karras"): ("DPMSolverMultistepScheduler", {"use_karras_sigmas": True}),
}


def scheduler(sampler: str, schedule: str, config: Mapping[str, Any]) -> Any:
    """For a model with this scheduler configuration."""
    kind, options = _SCHEDULERS[sampler, schedule]
    # Names with "_" before them would make diffusers forget values that happened to be another class's defaults.
    plain = {name: value for name, value in config.items() if not name.startswith("_")}
    ends = {"set_alpha_to_one": config.get("set_alpha_to_one", True)}
    return getattr(diffusers, kind).from_config({**plain, **ends}, **options)


def picture(pipe: Any, request: GenerationRequest) -> Pixels:
    """`pipe(...)` as its documentation has it, for one request: (H, W, 3) uint8."""
    pipe.scheduler = scheduler(request.sampler, request.schedule, pipe.scheduler.config)
    image = pipe(
        request.prompt,
        width=request.width,
        height=request.height,
        num_inference_steps=request.steps,
        guidance_scale=request.cfg,
        generator=torch.Generator().manual_seed(request.seed),
    ).images[0]
    return np.asarray(image)
