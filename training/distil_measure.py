"""How near four steps come to the teacher's twenty, in the teacher's own latents, and a sheet to look at.

An LCM sampler stirs fresh noise in, so its picture is not the teacher's of the same seed. It is therefore held against
a bank of the teacher's pictures of the same words: the distance to the nearest of them, beside that of one more picture
of the teacher, which nothing should undercut by much. A blurred picture lies near to all; so detail is told as well.
"""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from diffusers import EulerDiscreteScheduler, LCMScheduler
from PIL import Image
from torch import Tensor

from backend.engine.lora import Assignment, Bound, RowAdditions
from backend.models.loader import LoadedModel
from training import sheet
from training.distil_paths import GUIDANCE, guided, said

BANK = 6
FIRST_SEED = 9_000_000
ROWS = 16  # pictures of a variant drawn together


@dataclass(frozen=True, slots=True)
class Variant:
    """A way to draw: scheduler, steps, guidance scale, whether with the LoRA."""

    name: str
    scheduler: Any
    steps: int
    scale: float
    lora: bool


VARIANTS = (
    Variant("teacher", EulerDiscreteScheduler, 20, GUIDANCE, False),
    Variant("few", LCMScheduler, 4, 1.0, True),
    Variant("guided", LCMScheduler, 4, 1.5, True),
    Variant("euler", EulerDiscreteScheduler, 4, GUIDANCE, False),
    Variant("bare", LCMScheduler, 4, GUIDANCE, False),
)
"""The first is the measure; "few" is the LoRA as it is meant, "bare" the same sampler without it."""


@torch.no_grad()
def draw(model: LoadedModel, variant: Variant, states: Tensor, nothing: Tensor, seeds: list[int]) -> Tensor:
    """Latents (B, C, h, w) by the stock scheduler, each row from its own seed. Any LoRA must be on already."""
    scheduler = variant.scheduler.from_config(dict(model.scheduler))
    scheduler.set_timesteps(variant.steps)
    side = model.unet.config.sample_size
    dice = [torch.Generator().manual_seed(seed) for seed in seeds]
    noise = torch.cat([torch.randn(1, model.latent_channels, side, side, generator=one) for one in dice])
    x: Tensor = noise * scheduler.init_noise_sigma
    velocity = guided(model.unet, states, nothing, variant.scale)
    for time in scheduler.timesteps:
        answer = velocity(scheduler.scale_model_input(x, time), int(time))
        x = scheduler.step(answer, time, x, generator=dice, return_dict=False)[0]
    return x


@torch.no_grad()
def pixels(model: LoadedModel, latents: Tensor) -> Tensor:
    """Pictures (B, 3, H, W) in [0, 1]."""
    scale = model.vae.config.scaling_factor
    parts = [model.vae.decode(some / scale, return_dict=False)[0] for some in torch.split(latents, ROWS)]
    return (torch.cat(parts) / 2 + 0.5).clamp(0, 1)


def nearest(made: Tensor, bank: Tensor) -> float:
    """Mean over rows of the root mean square distance from (B, ...) to the nearest of (B, K, ...)."""
    return float((bank - made.unsqueeze(1)).flatten(2).pow(2).mean(2).sqrt().amin(1).mean())


def detail(pictures: Tensor) -> float:
    """Mean absolute difference of neighbouring pixels: falls where pictures blur."""
    across, down = pictures.diff(dim=3).abs().mean(), pictures.diff(dim=2).abs().mean()
    return float(across + down)


def scores(
    model: LoadedModel, bound: Bound, prompts: tuple[str, ...] = sheet.PROMPTS, bank: int = BANK
) -> tuple[dict[str, float], dict[str, Tensor]]:
    """Figures by name, and pictures (N, 3, H, W) of each variant, with the same seeds."""
    states, nothing = said(model, list(prompts)), said(model, [""])
    additions, drawn = RowAdditions(), dict[str, Tensor]()

    def rows(variant: Variant, first: int) -> Tensor:
        everywhere = [Assignment(slice(None), ((bound, 1.0, ()),))]
        on: AbstractContextManager[None] = additions.applied(model.unet, everywhere) if variant.lora else nullcontext()
        with on:
            numbers = torch.arange(first, first + len(states))
            parts = zip(torch.split(states, ROWS), torch.split(numbers, ROWS), strict=True)
            return torch.cat([draw(model, variant, told, nothing, seeds.tolist()) for told, seeds in parts])

    others = [rows(VARIANTS[0], FIRST_SEED + (number + 1) * len(prompts)) for number in range(bank)]
    known, found = torch.stack(others, 1), dict[str, float]()
    for variant in VARIANTS:
        latents = rows(variant, FIRST_SEED)
        drawn[variant.name] = pixels(model, latents)
        found[variant.name] = nearest(latents, known)
        found[f"{variant.name} detail"] = detail(drawn[variant.name]) / detail(drawn["teacher"])
    additions.forget()
    return {**found, "prompts": len(prompts), "bank": bank}, drawn


def contact(drawn: dict[str, Tensor], target: Path, count: int = 12) -> None:
    """One row of pictures for each variant, in the order of VARIANTS, to `target` (PNG)."""
    rows = [torch.cat(list(pictures[:count]), 2) for pictures in drawn.values()]
    whole = (torch.cat(rows, 1) * 255).round().to(torch.uint8).permute(1, 2, 0).numpy()
    target.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(whole).save(target)
