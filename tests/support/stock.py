"""The diffusers scheduler that makes the same pictures as one of our samplers, where there is one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import diffusers

_SCHEDULERS: Mapping[str, tuple[str, Mapping[str, Any]]] = {
    "Euler": ("EulerDiscreteScheduler", {}),
    "Euler a": ("EulerAncestralDiscreteScheduler", {}),
    "Heun": ("HeunDiscreteScheduler", {}),
    "LMS": ("LMSDiscreteScheduler", {}),
    # The stock ones would clip to [-1, 1] unless told otherwise, which is for pixels and not for latents.
    "DDIM": ("DDIMScheduler", {"clip_sample": False}),
    "PLMS": ("PNDMScheduler", {"skip_prk_steps": True}),
    "UniPC": ("UniPCMultistepScheduler", {}),
    "LCM": ("LCMScheduler", {"clip_sample": False}),
}

_ONLY: Mapping[str, str] = {"PLMS": "leading", "UniPC": "trailing"}
"""With other spacings these walk other timesteps than the stock Euler, which our Automatic follows."""


def equals(spacing: str) -> tuple[str, ...]:
    """Samplers that, on Automatic with a model of this spacing, make the picture of `scheduler`.

    Not so DDIM with "trailing" for numbers of steps that do not divide the trained ones, and PLMS for a model that
    predicts velocities: the stock one averages them before it knows their levels.
    """
    return tuple(name for name in _SCHEDULERS if _ONLY.get(name, spacing) == spacing)


def scheduler(sampler: str, config: Mapping[str, Any]) -> Any:
    """For a model with this scheduler configuration, which must have a `timestep_spacing`."""
    kind, options = _SCHEDULERS[sampler]
    # An absent value means True to us and to DDIM, and False to PNDM.
    ends = {"set_alpha_to_one": config.get("set_alpha_to_one", True)}
    # Names with "_" before them would make diffusers forget values that happened to be another class's defaults.
    stated = {name: value for name, value in config.items() if not name.startswith("_")}
    return getattr(diffusers, kind).from_config({**stated, **ends}, **options)
