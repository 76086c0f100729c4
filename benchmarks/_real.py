"""Stable Diffusion in its true size with random weights: modules in memory, folders, and headers of single files."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import diffusers
import torch
from torch import Tensor, nn
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

from backend.models.catalog import config_folder
from backend.models.loader import LoadedModel, clip_tokenizer
from backend.types import ModelInfo
from benchmarks._original import original

Shapes = Mapping[str, tuple[int, ...]]
CPU = torch.device("cpu")
_DRAWN = 1 << 20


def modules(family: str) -> Mapping[str, Any]:
    """Every network of a family ("sd1", "sdxl") by the name of its folder, without memory for its weights."""
    folder = config_folder(Path("none.safetensors"), family)
    unet, vae = diffusers.UNet2DConditionModel, diffusers.AutoencoderKL
    kinds = {"text_encoder": CLIPTextModel, "text_encoder_2": CLIPTextModelWithProjection}
    with torch.device("meta"):
        found = {
            "unet": unet.from_config(unet.load_config(folder / "unet")),
            "vae": vae.from_config(vae.load_config(folder / "vae")),
        }
        for name, kind in kinds.items():
            if (folder / name).is_dir():
                found[name] = kind(CLIPTextConfig.from_pretrained(folder / name))
    return found


def names_and_shapes(family: str) -> Shapes:
    """What is in a checkpoint of this family, under its original names."""
    parts = SimpleNamespace(**{"text_encoder": None, "text_encoder_2": None, **modules(family)})
    return {name: tuple(tensor.shape) for name, tensor in original(parts).items()}


def header(shapes: Shapes) -> tuple[bytes, int]:
    """The beginning of a safetensors file of float16 tensors, and how many bytes of weights follow it."""
    entries, end = {}, 0
    for name, shape in shapes.items():
        begin, end = end, end + 2 * math.prod(shape)
        entries[name] = {"dtype": "F16", "shape": shape, "data_offsets": [begin, end]}
    raw = json.dumps(entries).encode()
    raw += b" " * (-len(raw) % 8)
    return len(raw).to_bytes(8, "little") + raw, end


def write_random(file: Path, shapes: Shapes) -> None:
    """A safetensors file of float16 noise, written as it is made: never more than one tensor in memory."""
    dice = torch.Generator().manual_seed(0)
    with file.open("wb") as out:
        out.write(header(shapes)[0])
        for name, shape in shapes.items():
            out.write(_weights(name, shape, dice).half().numpy().tobytes())


def write_hollow(file: Path, shapes: Shapes) -> None:
    """The same size and header, but its weights are a hole that takes no disk."""
    start, weights = header(shapes)
    with file.open("wb") as out:
        out.write(start)
        out.truncate(len(start) + weights)


def write_folder(family: str, folder: Path) -> None:
    """A diffusers folder in float16 with the tokenizers that Signet carries."""
    config = config_folder(Path("none.safetensors"), family)
    for name, part in modules(family).items():
        filled(part, torch.float16).save_pretrained(folder / name)
    words = {"tokenizer": clip_tokenizer()} | ({"tokenizer_2": clip_tokenizer("!")} if family == "sdxl" else {})
    for name, one in words.items():
        one.save_pretrained(folder / name)
    for name in ("model_index.json", "scheduler/scheduler_config.json"):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes((config / name).read_bytes())


def model(family: str, dtype: torch.dtype) -> LoadedModel:
    """In memory as if it had been loaded; "trailing" spacing, as every sampler of diffusers can walk it."""
    folder = config_folder(Path("none.safetensors"), family)
    parts = {name: filled(part, dtype).eval() for name, part in modules(family).items()}
    size = sum(value.numel() * value.element_size() for part in parts.values() for value in part.state_dict().values())
    scheduler = json.loads((folder / "scheduler" / "scheduler_config.json").read_text())
    info = ModelInfo(f"random {family}", f"random {family}", family, str(folder), "diffusers", 8, 512, size)
    return LoadedModel(
        info=info, unet=parts.pop("unet"), vae=parts.pop("vae"), text_encoders=tuple(parts.values()),
        tokenizers=(clip_tokenizer(), clip_tokenizer("!"))[: len(parts)],
        scheduler={**scheduler, "timestep_spacing": "trailing"}, device=CPU, dtype=dtype, size=size,
    )  # fmt: skip


def filled(part: Any, dtype: torch.dtype) -> Any:
    """`part` with weights of the usual size."""
    dice = torch.Generator().manual_seed(0)
    weights = {
        name: _weights(name, tuple(value.shape), dice).to(dtype)
        for name, value in part.state_dict().items()
        if value.is_floating_point()
    }
    part.load_state_dict(weights, strict=False, assign=True)
    for owner in part.modules():  # buffers that no checkpoint holds: the places of CLIP's tokens
        _places(owner)
    return part.requires_grad_(False)


def _places(owner: nn.Module) -> None:
    for name, value in list(owner.named_buffers(recurse=False)):
        if value.is_meta:
            owner.register_buffer(name, torch.arange(value.shape[-1]).expand(value.shape), persistent=False)


def _weights(name: str, shape: tuple[int, ...], dice: torch.Generator) -> Tensor:
    """Noise of the usual size, large tensors of repeated noise, which is drawn sooner and computed no faster.

    Ones for the weights of norms, so that nothing vanishes or explodes.
    """
    if len(shape) == 1:
        return torch.full(shape, float(name.endswith("weight")))
    count = math.prod(shape)
    noise = torch.randn(min(count, _DRAWN), generator=dice) / math.sqrt(max(math.prod(shape[1:]), 1))
    return torch.cat([noise] * -(-count // _DRAWN))[:count].view(shape)
