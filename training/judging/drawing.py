"""Draws the asks with the stock pipeline: in batches, every picture from the noise of its own seed."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from safetensors.torch import load_file
from torch import Tensor

from training import sheet
from training.errors import BadInput
from training.judging.asks import Ask

BATCH = 8
SINGLES = 3  # pictures drawn one by one for the time of a single picture
STEMS = (("lora_unet", "unet"), ("lora_te", "text_encoder"))


class Unusable(BadInput):
    """A model folder, sampler or LoRA that cannot be drawn with."""


@dataclass(frozen=True, slots=True)
class Drawn:
    """Pictures in the order of the asks; seconds per picture in a batch and alone."""

    pictures: list[Image.Image]
    batched: float
    alone: float


def merge(pipeline: Any, lora: Path, strength: float = 1.0) -> int:
    """Adds a LoRA in kohya's naming (lora_down, lora_up, alpha) to the weights; gives the number of layers changed.

    Raises:
        Unusable: a key of the file has no layer of its name and shape.
    """
    tensors = load_file(lora)
    layers = {
        f"{stem}_{path.replace('.', '_')}": module
        for stem, part in STEMS
        for path, module in getattr(pipeline, part).named_modules()
        if isinstance(getattr(module, "weight", None), Tensor)
    }
    names = sorted({key.split(".", 1)[0] for key in tensors})
    for name in names:
        if name not in layers or f"{name}.lora_down.weight" not in tensors:
            raise Unusable(f"{lora.name}: {name} is no layer of this model, or is not stored as lora_down and lora_up.")
        change = _change(tensors, name)
        weight = layers[name].weight
        if change.numel() != weight.numel():
            raise Unusable(f"{lora.name}: {name} was made for a layer of another size.")
        with torch.no_grad():
            weight += strength * change.reshape(weight.shape).to(weight.dtype)
    if not names:
        raise Unusable(f"{lora.name} holds no LoRA.")
    return len(names)


def _change(tensors: Mapping[str, Tensor], name: str) -> Tensor:
    down, up = tensors[f"{name}.lora_down.weight"].float(), tensors[f"{name}.lora_up.weight"].float()
    rank = down.shape[0]
    alpha = float(tensors.get(f"{name}.alpha", torch.tensor(float(rank))))
    return (up.flatten(1) @ down.flatten(1)) * (alpha / rank)


def open_model(folder: Path, *, sampler: str, loras: Sequence[Path] = ()) -> Any:
    """The pipeline from an exported folder, with a sampler by its studio name and LoRAs merged in."""
    if not (folder / "model_index.json").is_file():
        raise Unusable(f"{folder} is no exported model: it has no model_index.json.")
    if sampler not in sheet.SAMPLERS:
        raise Unusable(f"There is no sampler {sampler!r}; choose one of {', '.join(sheet.SAMPLERS)}.")
    pipeline = sheet.load(folder)
    sheet.use(pipeline, sampler)
    for lora in loras:
        merge(pipeline, lora)
    return pipeline


def draw(
    pipeline: Any,
    asks: Sequence[Ask],
    *,
    steps: int,
    guidance: float,
    told: Callable[[int], None] = lambda done: None,
) -> Drawn:
    """One picture per ask, `BATCH` at a time; `told` hears how many are done."""
    side = pipeline.unet.config.sample_size * pipeline.vae_scale_factor
    options = {"num_inference_steps": steps, "guidance_scale": guidance, "height": side, "width": side}

    def some(chosen: Sequence[Ask]) -> list[Image.Image]:
        noise = [torch.Generator("cpu").manual_seed(ask.seed) for ask in chosen]
        made: list[Image.Image] = pipeline([ask.prompt for ask in chosen], generator=noise, **options).images
        return made

    pictures: list[Image.Image] = []
    began = time.monotonic()
    for start in range(0, len(asks), BATCH):
        pictures += some(asks[start : start + BATCH])
        told(len(pictures))
    batched = (time.monotonic() - began) / max(1, len(asks))
    began = time.monotonic()
    singles = asks[:SINGLES]
    for ask in singles:
        some([ask])
    return Drawn(pictures, batched, (time.monotonic() - began) / max(1, len(singles)))
