"""The factors that a training changes: an untrained LoRA on a model, as parameters."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import nn

from backend.engine import lora_keys
from backend.engine.lora import Bound, Site
from backend.engine.lora_file import Adapter
from backend.engine.lora_objective import dice_of
from backend.engine.lora_patches import LowRank, shape_of
from backend.engine.lora_settings import TrainingSettings
from backend.models.loader import LoadedModel

_TRANSFORMER, _CONVOLUTIONS = ".attentions.", (".resnets.", ".downsamplers.", ".upsamplers.")
_TEXT_LAYERS = ("q_proj", "k_proj", "v_proj", "out_proj", "fc1", "fc2")


def untrained(model: LoadedModel, settings: TrainingSettings) -> Bound:
    """Factors for every layer to be trained. `up` is zero, so that the first step begins with the model as it is."""
    dice = dice_of(settings.seed, "factors")
    labels = {(place.part, place.path): place.block for place in lora_keys.places(model).values()}
    parts = []
    for part, network in enumerate(lora_keys.parts_of(model)):
        sites = tuple(
            Site(path, module, labels[part, path], _fresh(module, settings, model.device, dice))
            for path, module in network.named_modules()
            if _is_trained(part, path, module, settings)
        )
        parts.append((network, sites))
    return Bound(Adapter("in training", {}, {}), tuple(parts), (), 0)


def _is_trained(part: int, path: str, module: nn.Module, settings: TrainingSettings) -> bool:
    if part:
        return settings.train_text_encoder and isinstance(module, nn.Linear) and path.endswith(_TEXT_LAYERS)
    if not isinstance(module, nn.Linear | nn.Conv2d):
        return False
    inside = (_TRANSFORMER, *_CONVOLUTIONS) if settings.targets == "all" else (_TRANSFORMER,)
    return any(stem in f".{path}" for stem in inside)


def _fresh(module: Any, settings: TrainingSettings, device: torch.device, dice: torch.Generator) -> LowRank:
    """kohya's start: `down` uniform as torch starts a Linear, `up` zero, both in float32."""
    out, *rest = shape_of(module)
    rank = min(settings.rank, out, math.prod(rest))
    bound = 1 / math.sqrt(math.prod(rest))
    down = torch.rand(rank, *rest, generator=dice) * 2 * bound - bound
    up = torch.zeros(out, rank, *(1,) * (len(rest) - 1))
    return LowRank(module, nn.Parameter(down.to(device)), nn.Parameter(up.to(device)), None, settings.alpha / rank)


def factors(site: Site) -> tuple[nn.Parameter, nn.Parameter]:
    patch = site.patch
    assert isinstance(patch, LowRank)
    assert isinstance(patch.down, nn.Parameter)
    assert isinstance(patch.up, nn.Parameter)
    return patch.down, patch.up
