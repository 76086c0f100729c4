"""Tiny control models with random weights for tests.support.tiny's SD 1.x model, as the files people have."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from diffusers import ControlNetModel, T2IAdapter
from diffusers.loaders.single_file_utils import DIFFUSERS_TO_LDM_MAPPING
from safetensors.torch import save_file
from torch import Tensor
from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

from backend.types import ModelInfo, ModelKind
from benchmarks._original import unet_name
from tests.support import tiny

VISION_WIDTH, VISION_HIDDEN = 24, 32


def controlnet(*, seed: int = 10, hint: tuple[int, ...] = (8, 16), **options: Any) -> ControlNetModel:
    """Fits the tiny UNet. Its last layers, zero in a fresh ControlNet, are random as in a trained one."""
    torch.manual_seed(seed)
    net = ControlNetModel(
        **{
            "layers_per_block": 1,
            "block_out_channels": (32, 64),
            "norm_num_groups": 16,
            "down_block_types": ("CrossAttnDownBlock2D", "DownBlock2D"),
            "cross_attention_dim": 32,
            "attention_head_dim": 4,
            "conditioning_embedding_out_channels": hint,
            **options,
        }
    )
    for module in (*net.controlnet_down_blocks, net.controlnet_mid_block, net.controlnet_cond_embedding.conv_out):
        torch.nn.init.normal_(module.weight, std=0.1)
        torch.nn.init.normal_(module.bias, std=0.1)
    return net.eval()


def adapter(*, seed: int = 20, kind: str = "full_adapter", channels: tuple[int, ...] = (32, 64)) -> T2IAdapter:
    """Fits the tiny UNet, whose latent is a half of the picture."""
    torch.manual_seed(seed)
    factor = 2 if kind != "full_adapter_xl" else 4
    return T2IAdapter(channels=list(channels), num_res_blocks=2, downscale_factor=factor, adapter_type=kind).eval()


def image_prompt_tensors(unet: Any, *, seed: int = 30, plus: bool = False) -> dict[str, Tensor]:
    """The weights of an IP-Adapter for `unet` under the names of its published files."""
    torch.manual_seed(seed)
    width = unet.config.cross_attention_dim
    tensors = _resampler(width) if plus else _projection(width)
    modules = dict(unet.named_modules())
    for number, name in enumerate(unet.attn_processors):
        if "attn2" in name:
            inner = modules[name.removesuffix(".processor")].inner_dim
            tensors[f"ip_adapter.{number}.to_k_ip.weight"] = torch.randn(inner, width) * 0.3
            tensors[f"ip_adapter.{number}.to_v_ip.weight"] = torch.randn(inner, width) * 0.3
    return tensors


def _projection(width: int) -> dict[str, Tensor]:
    return {
        "image_proj.proj.weight": torch.randn(4 * width, VISION_WIDTH) * 0.3,
        "image_proj.proj.bias": torch.randn(4 * width),
        "image_proj.norm.weight": torch.ones(width),
        "image_proj.norm.bias": torch.zeros(width),
    }


def _resampler(width: int, hidden: int = 64, queries: int = 3) -> dict[str, Tensor]:
    shapes = {
        "latents": (1, queries, hidden), "proj_in.weight": (hidden, VISION_HIDDEN), "proj_in.bias": (hidden,),
        "proj_out.weight": (width, hidden), "proj_out.bias": (width,), "norm_out.weight": (width,),
        "norm_out.bias": (width,),
    }  # fmt: skip
    layer = {
        "0.norm1.weight": (hidden,), "0.norm1.bias": (hidden,), "0.norm2.weight": (hidden,), "0.norm2.bias": (hidden,),
        "0.to_q.weight": (hidden, hidden), "0.to_kv.weight": (2 * hidden, hidden), "0.to_out.weight": (hidden, hidden),
        "1.0.weight": (hidden,), "1.0.bias": (hidden,), "1.1.weight": (4 * hidden, hidden),
        "1.3.weight": (hidden, 4 * hidden),
    }  # fmt: skip
    shapes |= {f"layers.{number}.{name}": shape for number in range(4) for name, shape in layer.items()}
    return {f"image_proj.{name}": torch.randn(shape) * 0.2 for name, shape in shapes.items()}


def vision_model(*, seed: int = 40) -> CLIPVisionModelWithProjection:
    torch.manual_seed(seed)
    config = CLIPVisionConfig(
        hidden_size=VISION_HIDDEN, intermediate_size=40, projection_dim=VISION_WIDTH, num_hidden_layers=2,
        num_attention_heads=4, image_size=16, patch_size=8,
    )  # fmt: skip
    return CLIPVisionModelWithProjection(config).eval()


def info(path: Path, kind: ModelKind) -> ModelInfo:
    """A catalogue entry for a control model at `path`."""
    return ModelInfo(
        id=path.stem, title=path.stem, family="sd1", path=str(path), factor=2, native_size=tiny.SIZE, size=1, kind=kind,
        layout="diffusers" if path.is_dir() else "single-file",
    )  # fmt: skip


def save_original(net: ControlNetModel, path: Path) -> Path:
    """As one file in the original layout, all names below `control_model.`."""
    tensors = {f"control_model.{_original_name(name, net)}": tensor for name, tensor in net.state_dict().items()}
    save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, path)
    return path


def _original_name(name: str, net: ControlNetModel) -> str:
    plain = DIFFUSERS_TO_LDM_MAPPING["controlnet"]["layers"]
    match name.split("."):
        case _ if name in plain:
            return str(plain[name])
        case ["controlnet_down_blocks", number, *rest]:
            return f"zero_convs.{number}.0.{'.'.join(rest)}"
        case ["controlnet_mid_block", *rest]:
            return f"middle_block_out.0.{'.'.join(rest)}"
        case ["controlnet_cond_embedding", "blocks", number, *rest]:
            return f"input_hint_block.{2 * int(number) + 2}.{'.'.join(rest)}"
    return unet_name(name, net.config)


def save_tencent(net: T2IAdapter, path: Path) -> Path:
    """As one file under TencentARC's names: the blocks of a full adapter are numbered through."""
    tensors: dict[str, Tensor] = {}
    for name, tensor in net.state_dict().items():
        match name.split("."):
            case ["adapter", "body", level, "resnets", place, *rest] if net.config.adapter_type != "light_adapter":
                tensors[f"body.{int(level) * net.config.num_res_blocks + int(place)}.{'.'.join(rest)}"] = tensor
            case ["adapter", "body", level, "in_conv", *rest] if net.config.adapter_type != "light_adapter":
                tensors[f"body.{int(level) * net.config.num_res_blocks}.in_conv.{'.'.join(rest)}"] = tensor
            case ["adapter", "body", level, "resnets", place, *rest]:
                tensors[f"body.{level}.body.{place}.{'.'.join(rest)}"] = tensor
            case _:
                tensors[name.removeprefix("adapter.")] = tensor
    save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, path)
    return path
