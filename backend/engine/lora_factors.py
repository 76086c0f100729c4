"""The factors that a training changes: an untrained LoRA on a model, as parameters."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from backend.engine import lora_file, lora_keys
from backend.engine.encoding import said
from backend.engine.lora import Assignment, Bound, RowAdditions, Site
from backend.engine.lora_dataset import TrainingImage
from backend.engine.lora_file import Adapter
from backend.engine.lora_objective import dice_of
from backend.engine.lora_patches import LowRank, shape_of
from backend.engine.lora_settings import TrainingSettings
from backend.models.loader import LoadedModel

_TRANSFORMER, _CONVOLUTIONS = ".attentions.", (".resnets.", ".downsamplers.", ".upsamplers.")
_TEXT_LAYERS = ("q_proj", "k_proj", "v_proj", "out_proj", "fc1", "fc2")


class Factors:
    """A LoRA as something to learn: an addition on the rows of the model, as when it is used."""

    def __init__(self, model: LoadedModel, settings: TrainingSettings, name: str = "") -> None:
        self._model, self._settings = model, settings
        self._additions = RowAdditions()
        self._bound = untrained(model, settings)

    def groups(self) -> list[dict[str, Any]]:
        settings = self._settings
        rates = (settings.learning_rate, settings.text_learning_rate or settings.learning_rate / 2)
        return [
            {"params": [factor for site in sites for factor in factors(site)], "lr": rates[part > 0]}
            for part, (_, sites) in enumerate(self._bound.parts)
            if sites
        ]

    def named(self) -> Iterator[tuple[str, nn.Parameter]]:
        for layer, (down, up) in self._layers():
            yield f"{layer}.down", down
            yield f"{layer}.up", up

    def captioned(self, pictures: Sequence[TrainingImage]) -> tuple[TrainingImage, ...]:
        return tuple(pictures)

    @property
    def bare(self) -> str:
        return ""

    def drawing(self) -> AbstractContextManager[None]:
        return self._applied(self._model.unet)

    def moves(self, caption: str) -> bool:
        return self._settings.train_text_encoder

    def said(self, caption: str) -> tuple[Tensor, Tensor | None]:
        limits = [(tokenizer, int(tokenizer.model_max_length)) for tokenizer in lora_keys.tokenizers(self._model)]
        ids = [words(caption, padding="max_length", max_length=n, truncation=True).input_ids for words, n in limits]
        return said(self._model, ids, lambda _, encoder: self._applied(encoder))

    def write(self, path: Path, told: Mapping[str, str]) -> None:
        """A kohya file in half precision, as LoRAs are shared."""
        alpha = torch.tensor(float(self._settings.alpha)).half()
        layers = {
            layer: {"up": up.detach().half(), "down": down.detach().half(), "alpha": alpha.clone()}
            for layer, (down, up) in self._layers()
        }
        lora_file.write_adapter(path, layers, told)

    def close(self) -> None:
        self._additions.forget()

    def _applied(self, network: Any) -> AbstractContextManager[None]:
        return self._additions.applied(network, [Assignment(slice(None), ((self._bound, 1.0, ()),))])

    def _layers(self) -> Iterator[tuple[str, tuple[nn.Parameter, nn.Parameter]]]:
        """Kohya's layer names with (down, up)."""
        several = len(self._bound.parts) > 2
        for part, (_, sites) in enumerate(self._bound.parts):
            for site in sites:
                name = lora_keys.kohya_text(site.path, part, several) if part else lora_keys.kohya_unet(site.path)
                yield name, factors(site)


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
