"""Files of ControlNets, T2I-Adapters and IP-Adapters to modules ready to run.

Shapes are read off the tensors themselves, so a single file needs no configuration from anywhere; a configuration that
is there (a diffusers folder, or a folder of the file's name beside it) is taken instead. Nothing is looked up outside.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from diffusers import ControlNetModel, T2IAdapter
from safetensors.torch import load_file
from torch import nn

from backend.engine import control_shapes, image_prompt
from backend.errors import InvalidParameter, OutOfMemory, SignetError, UnreadableModel
from backend.models import formats
from backend.models.loader import free_memory
from backend.types import ModelInfo

_CLASSES: Mapping[str, Mapping[str, type[Any]]] = {
    "controlnet": {"ControlNetModel": ControlNetModel},
    "t2i-adapter": {"T2IAdapter": T2IAdapter},
}
_CONFIGS = {"controlnet": control_shapes.controlnet_config, "t2i-adapter": control_shapes.adapter_config}
_RENAMED = {"controlnet": control_shapes.controlnet_tensors, "t2i-adapter": control_shapes.adapter_tensors}

# The first key that is part of a tensor's name tells what a file is instead; none of these can be run here.
_OTHERS = (
    ("lora_controlnet", "a Control-LoRA, which borrows the weights of its base model"),
    ("lllite_", "a ControlLLLite"),
    ("task_embedding", "a ControlNet-Union"),
    ("difference", "a ControlNet stored as the difference to its base model"),
    ("style_embedding", "a T2I style adapter"),
)


@dataclass(frozen=True, slots=True)
class LoadedControl:
    """One control model in memory. `net` is a ControlNetModel, a T2IAdapter or an image_prompt.ImagePromptNet."""

    info: ModelInfo
    net: Any
    device: torch.device
    dtype: torch.dtype
    size: int

    @property
    def kind(self) -> str:
        return self.info.kind


def load_control(
    info: ModelInfo, device: torch.device, dtype: torch.dtype, encoders: tuple[Path, ...] = ()
) -> LoadedControl:
    """Read a catalogue entry of kind "controlnet", "t2i-adapter" or "ip-adapter".

    `encoders` are folders to search for the CLIP vision model an IP-Adapter needs. Raises UnreadableModel if the file
    is something else or damaged, Unavailable if an IP-Adapter's vision model is missing.
    """
    path = Path(info.path)
    try:
        net = image_prompt.load(path, encoders, dtype) if info.kind == "ip-adapter" else _network(path, info, dtype)
        net.to(device).eval().requires_grad_(False)
    except SignetError:
        raise
    except torch.OutOfMemoryError as error:
        raise OutOfMemory(f'the control model "{info.title}"', free_memory(), "Use fewer units.") from error
    except (OSError, ValueError, KeyError, IndexError, RuntimeError, TypeError, ArithmeticError) as error:
        detail = f"The weights are not those of a {info.kind} ({type(error).__name__}: {str(error)[:200]})."
        raise UnreadableModel(info.id, detail, "Download the model again.") from error
    size = sum(tensor.numel() * tensor.element_size() for tensor in net.state_dict().values())
    return LoadedControl(info, net, device, dtype, size)


def check_fit(control: LoadedControl, unet: Any, factor: int) -> None:
    """Raises InvalidParameter("control") unless `control` is made for models like `unet` (`factor` pixels a latent)."""
    mismatch = _MISMATCH[control.kind](control.net, unet, factor)
    if mismatch:
        raise InvalidParameter(
            "control",
            f'"{control.info.title}" was made for another kind of model: {mismatch}.',
            "Choose a control model for the same base (SD 1.x, SD 2.x, SDXL) as the checkpoint.",
        )


def _controlnet_mismatch(net: Any, unet: Any, factor: int) -> str:
    mine, theirs = net.config, unet.config
    reads = bool(image_prompt.text_attentions(net))  # the smallest nets do not look at the words
    shrinks = 2 ** (len(mine.conditioning_embedding_out_channels) - 1)
    pairs = (
        ("text width", mine.cross_attention_dim if reads else theirs.cross_attention_dim, theirs.cross_attention_dim),
        ("channels", tuple(mine.block_out_channels), tuple(theirs.block_out_channels)),
        ("layers per block", mine.layers_per_block, theirs.layers_per_block),
        ("pixels per latent", shrinks, factor),
        ("extra conditioning", mine.addition_embed_type, theirs.addition_embed_type),
    )
    if mine.in_channels > theirs.in_channels:
        return f"latent channels are {mine.in_channels}, the checkpoint has {theirs.in_channels}"
    return _first_difference(pairs)


def _adapter_mismatch(net: Any, unet: Any, factor: int) -> str:
    mine = net.config
    channels = tuple(mine.channels) + ((mine.channels[-1],) if mine.adapter_type == "light_adapter" else ())
    # SDXL adapters shrink by 16 and feed the block behind the first downsampling, which shrinks once more.
    shrinks = factor * 2 if mine.adapter_type == "full_adapter_xl" else factor
    expected = tuple(unet.config.block_out_channels) + (
        (unet.config.block_out_channels[-1],) if len(channels) == 4 else ()
    )
    return _first_difference(
        (
            ("channels", channels, expected[: len(channels)]),
            ("pixels per latent", mine.downscale_factor, shrinks),
        )
    )


def _image_prompt_mismatch(net: Any, unet: Any, factor: int) -> str:
    return str(net.mismatch(unet))


_MISMATCH = {
    "controlnet": _controlnet_mismatch,
    "t2i-adapter": _adapter_mismatch,
    "ip-adapter": _image_prompt_mismatch,
}


def _first_difference(pairs: tuple[tuple[str, object, object], ...]) -> str:
    differing = ((name, mine, theirs) for name, mine, theirs in pairs if mine != theirs)
    return next((f"its {name} is {mine}, the checkpoint's {theirs}" for name, mine, theirs in differing), "")


def _network(path: Path, info: ModelInfo, dtype: torch.dtype) -> nn.Module:
    weights = _weights_file(path)
    config_file = (path if path.is_dir() else path.with_name(path.name.removesuffix(".safetensors"))) / "config.json"
    _refuse_others(weights, formats.read_header(weights))
    tensors = load_file(weights)
    if config_file.is_file():
        config = formats.read_json(config_file)
        kind = str(config.get("_class_name"))
        if kind not in _CLASSES[info.kind]:
            raise UnreadableModel(path.name, f"Its config.json says {kind[:60]}, which is no {info.kind}.")
    else:
        config = _CONFIGS[info.kind](tensors)
        if (
            info.kind == "controlnet"
        ):  # A1111 1.10.1 goes by the name, too: the weights look like any other ControlNet's
            config["global_pool_conditions"] = "shuffle" in path.stem.casefold()
    named = {name: tensor.to(dtype) for name, tensor in _RENAMED[info.kind](tensors, config).items()}
    with torch.device("meta"):
        net: nn.Module = next(iter(_CLASSES[info.kind].values())).from_config(config)
    net.load_state_dict(named, assign=True)
    return net


def _weights_file(path: Path) -> Path:
    if path.is_file():
        return path
    if any(path.rglob("*.py")):
        raise UnreadableModel(path.name, "The folder contains Python files, which are never run.", "Remove them.")
    names = ("diffusion_pytorch_model.safetensors", "diffusion_pytorch_model.fp16.safetensors")
    found = next((path / name for name in names if (path / name).is_file()), None)
    if found is None:
        raise UnreadableModel(path.name, "The folder has no diffusion_pytorch_model.safetensors.")
    return found


def _refuse_others(path: Path, header: Mapping[str, Any]) -> None:
    for part, looks in _OTHERS:
        if any(part in key for key in header):
            raise UnreadableModel(path.name, f"The file is {looks}; that cannot be run here.")
