"""Models larger than the device: their layers are fetched from main memory when their turn comes."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from diffusers.hooks import apply_group_offloading

from backend.errors import OutOfMemory
from backend.models.loader import LoadedModel, load
from backend.types import ModelInfo

_MAIN_MEMORY = torch.device("cpu")


def stream_layers(model: LoadedModel, *, device: torch.device | None = None) -> None:
    """Keep the model's weights in main memory and bring each layer to `device` (the model's own) while it runs.

    Bit-equal and slow: every step moves all weights over the bus, on CUDA beside the computing. It cannot be undone for
    this copy of the model; unload it to get the fast one back.
    """
    for module in (model.unet, model.vae, *model.text_encoders):
        stream_module(module, device or model.device)


def stream_module(module: Any, device: torch.device) -> None:
    """The same for one module of diffusers or transformers."""
    on_cuda = device.type == "cuda"
    apply_group_offloading(
        module,
        onload_device=device,
        offload_device=_MAIN_MEMORY,
        offload_type="leaf_level",
        non_blocking=on_cuda,
        use_stream=on_cuda,
    )


def load_within(
    info: ModelInfo, device: torch.device, dtype: torch.dtype, precision: str = "auto", *, stream: bool = False
) -> LoadedModel:
    """`load`, and with `stream`, or where the whole model does not fit a GPU, with its layers fetched as they run.

    Raises UnreadableModel, and OutOfMemory if even that is too much.
    """
    if not stream:
        try:
            return load(info, device, dtype, precision)
        except OutOfMemory:
            if device.type != "cuda":
                raise
        torch.cuda.empty_cache()
    model = replace(load(info, _MAIN_MEMORY, dtype, precision), device=device)
    stream_layers(model)
    return model
