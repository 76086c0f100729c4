"""Models larger than the device: their layers are fetched from main memory when their turn comes."""

from __future__ import annotations

from typing import Any

import torch
from diffusers.hooks import apply_group_offloading

from backend.models.loader import LoadedModel

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
