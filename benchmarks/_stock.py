"""The other side of a comparison: diffusers' own pipeline and the scheduler that walks as one of our samplers does."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import diffusers
import numpy as np
import torch

from backend.types import GenerationRequest, Pixels

_SCHEDULERS: Mapping[str, tuple[str, Mapping[str, Any]]] = {
    "Euler": ("EulerDiscreteScheduler", {}),
    "Euler a": ("EulerAncestralDiscreteScheduler", {}),
    # The stock one would clip to [-1, 1] unless told otherwise, which is for pixels and not for latents.
    "DDIM": ("DDIMScheduler", {"clip_sample": False}),
    "UniPC": ("UniPCMultistepScheduler", {}),
}


def pipeline(model: Path) -> Any:
    """The model in that folder as diffusers opens it, float32, without progress bars."""
    pipe = diffusers.StableDiffusionPipeline.from_pretrained(model, dtype=torch.float32)
    pipe.set_progress_bar_config(disable=True)
    return pipe


def scheduler(sampler: str, config: Mapping[str, Any]) -> Any:
    """The one of "Automatic" for a model with this scheduler configuration, whose spacing is "trailing"."""
    kind, options = _SCHEDULERS[sampler]
    # Names with "_" before them would make diffusers forget values that happened to be another class's defaults.
    plain = {name: value for name, value in config.items() if not name.startswith("_")}
    ends = {"set_alpha_to_one": config.get("set_alpha_to_one", True)}
    return getattr(diffusers, kind).from_config({**plain, **ends}, **options)


def picture(pipe: Any, request: GenerationRequest) -> Pixels:
    """`pipe(...)` as its documentation has it, for one request: (H, W, 3) uint8."""
    own = pipe.scheduler
    pipe.scheduler = scheduler(request.sampler, own.config)
    try:
        return np.asarray(_image(pipe, request))
    finally:
        pipe.scheduler = own  # what one sampler was told must not reach the next


def _image(pipe: Any, request: GenerationRequest) -> Any:
    return pipe(
        request.prompt,
        width=request.width,
        height=request.height,
        num_inference_steps=request.steps,
        guidance_scale=request.cfg,
        generator=torch.Generator().manual_seed(request.seed),
    ).images[0]
