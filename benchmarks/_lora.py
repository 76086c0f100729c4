"""A LoRA with random factors for any UNet, as a file."""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import nn


def write_lora(file: Path, unet: nn.Module, rank: int, seed: int) -> None:
    """Under kohya's names and on kohya's choice: the Linears and 1 x 1 convolutions of the transformers."""
    dice, tensors = torch.Generator().manual_seed(seed), {}
    for path, layer in unet.named_modules():
        if "attentions" in path and isinstance(layer, nn.Linear | nn.Conv2d):
            name = "lora_unet_" + path.replace(".", "_")
            out, into, *kernel = layer.weight.shape
            tensors[f"{name}.lora_down.weight"] = torch.randn(rank, into, *kernel, generator=dice) / into**0.5
            tensors[f"{name}.lora_up.weight"] = torch.randn(out, rank, *kernel, generator=dice) * 0.02
            tensors[f"{name}.alpha"] = torch.tensor(rank / 2)
    save_file(tensors, file)
