"""LoRAs for the tiny models: random tensors in every layout, and the same change merged into a copy of the weights."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from backend.models.loader import LoadedModel

ATTENTION = ("to_q", "to_k", "to_v", "to_out.0", "proj_in", "proj_out", "ff.net.2")
TEXT = ("q_proj", "k_proj", "v_proj", "out_proj", "fc1", "fc2")


def layers(
    root: nn.Module, ends: Iterable[str], kind: type | tuple[type, ...] = (nn.Linear, nn.Conv2d)
) -> dict[str, Any]:
    """The layers of a network whose path ends so."""
    return {path: m for path, m in root.named_modules() if isinstance(m, kind) and path.endswith(tuple(ends))}


def factors(module: Any, rank: int, dice: torch.Generator, size: float = 0.2) -> tuple[Tensor, Tensor]:
    """(down, up) for one layer, in kohya's shapes."""
    shape = tuple(module.weight.shape)
    down = torch.randn(rank, *shape[1:], generator=dice) * size
    up = torch.randn(shape[0], rank, *(1,) * (len(shape) - 2), generator=dice) * size
    return down, up


def product(down: Tensor, up: Tensor) -> Tensor:
    """The change of the weights that two factors stand for."""
    return (up.flatten(1) @ down.flatten(1)).reshape(up.shape[0], *down.shape[1:])


def random_lora(root: nn.Module, ends: Iterable[str] = ATTENTION, *, rank: int = 4, seed: int = 0) -> dict[str, Any]:
    """{path: (down, up)} for the layers that end so."""
    dice = torch.Generator().manual_seed(seed)
    return {path: factors(module, rank, dice) for path, module in layers(root, ends).items()}


def kohya(lora: Mapping[str, Any], stem: str = "lora_unet", *, alpha: float | None = None) -> dict[str, Tensor]:
    """Under kohya's names."""
    out: dict[str, Tensor] = {}
    for path, (down, up) in lora.items():
        layer = f"{stem}_{path.replace('.', '_')}"
        out |= {f"{layer}.lora_down.weight": down, f"{layer}.lora_up.weight": up}
        if alpha is not None:
            out[f"{layer}.alpha"] = torch.tensor(alpha)
    return out


def save(file: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str] | None = None) -> Path:
    save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, file, dict(metadata or {}))
    return file


def merged(root: nn.Module, deltas: Mapping[str, Tensor], biases: Mapping[str, Tensor] | None = None) -> nn.Module:
    """A copy with `W + delta`: what every layout is compared with."""
    other = copy.deepcopy(root)
    modules = dict(other.named_modules())
    with torch.no_grad():
        for path, delta in deltas.items():
            modules[path].weight += delta
        for path, delta in (biases or {}).items():
            modules[path].bias += delta
    return other


def denoised(unet: Any, rows: int = 2, *, seed: int = 5, size: int = 8) -> Tensor:
    """One forward of a UNet on rows that depend on `seed` alone: (rows, C, size, size)."""
    dice = torch.Generator().manual_seed(seed)
    x = torch.randn(rows, unet.config.in_channels, size, size, generator=dice)
    text = torch.randn(rows, 7, unet.config.cross_attention_dim, generator=dice)
    times = torch.linspace(900, 100, rows)
    with torch.inference_mode():
        out: Tensor = unet(x, times, encoder_hidden_states=text, return_dict=False)[0]
    return out


def said(model: LoadedModel, encoder: Any, text: str = "a red cat") -> Tensor:
    """What a text encoder makes of some words: (1, 77, dim)."""
    ids = model.tokenizer(text, padding="max_length", max_length=77, truncation=True).input_ids
    with torch.inference_mode():
        out: Tensor = encoder(torch.tensor([ids]))[0]
    return out
