"""Checkpoints of a training: one safetensors file with what is learned and Adam's moments, the rest as JSON in it."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import safetensors.torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from backend.engine.lora_file import write_whole
from backend.engine.lora_settings import TrainingSettings
from backend.errors import InvalidParameter, NotFound, UnreadableModel
from backend.models import formats
from backend.types.training import TrainingKind

FILE = "training.safetensors"
_KEY = "signet_training"
# Nothing that has happened so far depends on these.
_FREE = ("save_every",)
# What the other kind of training has.
_FOREIGN: Mapping[TrainingKind, tuple[str, ...]] = {
    "lora": ("kind", "vectors", "init_word"),
    "embedding": ("rank", "alpha", "targets", "train_text_encoder", "text_learning_rate"),
}
_WORDS = {"data": "the pictures or captions", "model": "the model", "settings": "the settings"}


def describe(settings: TrainingSettings, data: str, model: str, step: int, average: float | None) -> dict[str, Any]:
    """What a checkpoint says beside its tensors. `data` is the digest of the pictures, `model` its id."""
    left = (*_FREE, *_FOREIGN[settings.kind])
    kept = {name: value for name, value in dataclasses.asdict(settings).items() if name not in left}
    if settings.schedule == "constant":
        del kept["steps"]  # only a falling learning rate looks ahead to the end
    return {"step": step, "average": average, "data": data, "model": model, "settings": kept}


def write(folder: Path, tensors: Mapping[str, Tensor], state: Mapping[str, Any]) -> Path:
    """Whole or not at all; replaces the checkpoint before it."""
    held = {name: tensor.detach().to("cpu").contiguous() for name, tensor in tensors.items()}
    write_whole(folder / FILE, safetensors.torch.save(held, {_KEY: json.dumps(state)}))
    return folder / FILE


def read(
    folder: Path, like: Mapping[str, Tensor], now: Mapping[str, Any]
) -> tuple[dict[str, Tensor], Mapping[str, Any]]:
    """The tensors and the rest of a checkpoint that belongs to the training described by `like` and `now`.

    Raises NotFound, InvalidParameter if it belongs to another training, UnreadableModel if it is damaged.
    """
    path = folder / FILE
    if not path.is_file():
        raise NotFound("checkpoint", f'in "{folder.name}"')
    try:
        formats.read_header(path)
        with safe_open(path, "pt") as file:
            state = json.loads((file.metadata() or {})[_KEY])
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a mapping
        _number(state)
    except (OSError, SafetensorError, KeyError, ValueError, TypeError, RecursionError) as error:
        raise UnreadableModel(path.name, "The checkpoint is damaged.", "Start the training again.") from error
    other = [words for key, words in _WORDS.items() if state.get(key) != now[key]]
    if other:
        detail = f"The checkpoint is from a training in which {' and '.join(other)} differed."
        raise InvalidParameter("resume", detail, "Use the same again, or start a new training.")
    if {name: tensor.shape for name, tensor in tensors.items()} != {name: t.shape for name, t in like.items()}:
        raise UnreadableModel(path.name, "The checkpoint does not hold this model's layers.")
    return tensors, state


def _number(state: Any) -> None:
    """Raises ValueError unless the numbers are numbers."""
    average = state["average"]
    if not isinstance(state["step"], int) or state["step"] < 0 or not isinstance(average, float | None):
        raise ValueError(state)
