"""The contact sheet: fixed prompts, fixed seeds, so that two versions of the model can be laid side by side."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from diffusers import (
    DDIMScheduler,
    DPMSolverMultistepScheduler,
    EulerAncestralDiscreteScheduler,
    EulerDiscreteScheduler,
    LCMScheduler,
    StableDiffusionPipeline,
    UniPCMultistepScheduler,
)
from PIL import Image, ImageDraw

PROMPTS = (
    "a red apple",
    "a cat, 3d style",
    "a dog, cartoon style",
    "a rocket, flat style",
    "a pizza, 3d style",
    "a house, classic style",
    "a tree, flat style",
    "a sun, classic style",
    "a red heart, 3d style",
    "a guitar, cartoon style",
    "a strawberry, 3d style",
    "a banana on a blue background",
    "a green apple, flat style",
    "a fish, 3d style",
    "a penguin, cartoon style",
    "an owl, flat style",
    "a butterfly, classic style",
    "a sunflower on a light blue background",
    "a cactus, 3d style",
    "a mushroom, cartoon style",
    "a red car, flat style",
    "an airplane, 3d style",
    "a sailboat, classic style",
    "a hamburger, flat style",
    "an ice cream, classic style",
    "a birthday cake, 3d style",
    "a smiling face, 3d style",
    "a crying face, cartoon style",
    "a soccer ball, flat style",
    "a hat on a pink background",
    "a purple umbrella, classic style",
    "a doctor, 3d style",
)
STEPS, GUIDANCE = 20, 4.0
COLUMNS, CAPTION_HEIGHT = 8, 14
SAMPLERS: dict[str, tuple[Any, dict[str, Any]]] = {
    "Euler": (EulerDiscreteScheduler, {}),
    "Euler a": (EulerAncestralDiscreteScheduler, {}),
    "DDIM": (DDIMScheduler, {"clip_sample": False, "set_alpha_to_one": False}),
    "DPM++ 2M": (DPMSolverMultistepScheduler, {}),
    "DPM++ 2M Karras": (DPMSolverMultistepScheduler, {"use_karras_sigmas": True}),
    "UniPC": (UniPCMultistepScheduler, {}),
    "LCM": (LCMScheduler, {}),
}


def load(folder: Path) -> StableDiffusionPipeline:
    """The exported model in float32, quiet."""
    pipeline = StableDiffusionPipeline.from_pretrained(folder, torch_dtype=torch.float32, local_files_only=True)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def use(pipeline: StableDiffusionPipeline, sampler: str) -> None:
    """Switches the pipeline to a sampler by its studio name."""
    kind, options = SAMPLERS[sampler]
    pipeline.scheduler = kind.from_config(pipeline.scheduler.config, **options)


def draw(
    pipeline: StableDiffusionPipeline,
    prompts: list[str],
    seeds: list[int],
    *,
    steps: int = STEPS,
    guidance: float = GUIDANCE,
) -> list[Image.Image]:
    """One picture per prompt, each with the noise of its own seed, so that batching changes nothing."""
    noise = [torch.Generator("cpu").manual_seed(seed) for seed in seeds]
    options = {"num_inference_steps": steps, "guidance_scale": guidance, "generator": noise}
    side = pipeline.unet.config.sample_size * pipeline.vae_scale_factor
    pictures: list[Image.Image] = pipeline(prompts, height=side, width=side, **options).images
    return pictures


def arrange(pictures: Sequence[Image.Image], captions: Sequence[str], *, columns: int = COLUMNS) -> Image.Image:
    """Pictures in rows, each with its caption below."""
    width, height = pictures[0].size
    rows = -(-len(pictures) // columns)
    sheet = Image.new("RGB", (columns * (width + 4) + 4, rows * (height + CAPTION_HEIGHT + 4) + 4), "white")
    pen = ImageDraw.Draw(sheet)
    for place, (picture, text) in enumerate(zip(pictures, captions, strict=True)):
        left = 4 + (place % columns) * (width + 4)
        top = 4 + (place // columns) * (height + CAPTION_HEIGHT + 4)
        sheet.paste(picture, (left, top))
        pen.text((left, top + height + 1), text[:26], fill="black", font_size=9)
    return sheet


def make(folder: Path, target: Path, *, sampler: str = "Euler a", seed: int = 7) -> None:
    """Draws the sheet of the model in `folder` to `target` (PNG)."""
    pipeline = load(folder)
    use(pipeline, sampler)
    pictures: list[Image.Image] = []
    for start in range(0, len(PROMPTS), COLUMNS):
        rows = list(PROMPTS[start : start + COLUMNS])
        pictures += draw(pipeline, rows, [seed] * len(rows))
    target.parent.mkdir(parents=True, exist_ok=True)
    arrange(pictures, list(PROMPTS)).save(target, optimize=True)
    print(f"sheet: {target} {target.stat().st_size // 1024} kB", flush=True)


def compare(folder: Path, target: Path, *, prompts: int = 8, seed: int = 7) -> None:
    """The first prompts once with every sampler, one row each, to `target`."""
    pipeline = load(folder)
    pictures: list[Image.Image] = []
    captions: list[str] = []
    for sampler in SAMPLERS:
        use(pipeline, sampler)
        pictures += draw(pipeline, list(PROMPTS[:prompts]), [seed] * prompts)
        captions += [f"{sampler}: {prompt}" for prompt in PROMPTS[:prompts]]
    arrange(pictures, captions, columns=prompts).save(target, optimize=True)
