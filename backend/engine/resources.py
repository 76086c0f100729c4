"""What a request names beside its model, loaded once and kept: VAEs, LoRAs, ControlNets, embeddings, upscalers."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import torch

from backend.engine.control_loader import LoadedControl, load_control
from backend.engine.embeddings import Embedding, fits, read_embedding
from backend.engine.lora import Bound, bind, read_adapter
from backend.engine.upscale import LoadedUpscaler, load_upscaler
from backend.errors import UnreadableModel
from backend.models.loader import LoadedModel, load_vae
from backend.types import ModelInfo

T = TypeVar("T")
_KEEP = {"lora": 24, "embedding": 256, "vae": 2, "control": 4, "upscaler": 2}


class Resources:
    """Least recently used goes first, counted by kind. Used by the engine's loop alone.

    `encoders` are folders with the CLIP vision models that IP-Adapters need.
    """

    def __init__(self, encoders: tuple[Path, ...] = ()) -> None:
        self._encoders = encoders
        self._kept: dict[str, OrderedDict[Hashable, Any]] = {name: OrderedDict() for name in _KEEP}

    def lora(self, info: ModelInfo, model: LoadedModel) -> Bound:
        """Raises UnreadableModel if the file is damaged or made for another architecture."""
        key = (id(model.unet), _ident(info))
        return self._get("lora", key, lambda: bind(read_adapter(Path(info.path), info.title), model))

    def embedding(self, info: ModelInfo, model: LoadedModel) -> Embedding | None:
        """None for an embedding of another architecture: its name is then only a word."""
        found: Embedding = self._get("embedding", _ident(info), lambda: read_embedding(Path(info.path), info.id))
        return found if fits(found, model) else None

    def control(self, info: ModelInfo, model: LoadedModel) -> LoadedControl:
        return self._get("control", _ident(info), lambda: load_control(info, model.device, model.dtype, self._encoders))

    def upscaler(self, info: ModelInfo, device: torch.device, dtype: torch.dtype) -> LoadedUpscaler:
        return self._get("upscaler", _ident(info), lambda: load_upscaler(info, device, dtype))

    def with_vae(self, info: ModelInfo, model: LoadedModel) -> LoadedModel:
        """The same model with another autoencoder; all else is shared."""
        vae = self._get("vae", (id(model.unet), _ident(info)), lambda: load_vae(Path(info.path), model))
        if vae.config.latent_channels != model.latent_channels:
            raise UnreadableModel(info.id, "This VAE has another number of channels than the model.")
        return self._get("vae", (id(model.unet), _ident(info), "model"), lambda: replace(model, vae=vae))

    def forget(self) -> None:
        """After a model was unloaded: what was bound to it must not meet its successor at the same address."""
        for kept in self._kept.values():
            kept.clear()

    def _get(self, kind: str, key: Hashable, load: Callable[[], T]) -> T:
        kept = self._kept[kind]
        if key not in kept:
            kept[key] = load()
            while len(kept) > _KEEP[kind] * (2 if kind == "vae" else 1):
                kept.popitem(last=False)
        kept.move_to_end(key)
        return kept[key]  # type: ignore[no-any-return]


def _ident(info: ModelInfo) -> Hashable:
    """A file that was replaced is another file."""
    return info.kind, info.path, info.modified_ns
