"""The shape of a control model, told from its weights, and their names as diffusers has them.

Pure functions on names and shapes: a single file of a ControlNet or T2I-Adapter needs no configuration from elsewhere.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from diffusers.loaders.single_file_utils import convert_controlnet_checkpoint
from torch import Tensor


def controlnet_tensors(tensors: Mapping[str, Tensor], config: Mapping[str, Any]) -> dict[str, Tensor]:
    """The weights under diffusers' names, whether they have them already or are in the original layout."""
    converted = convert_controlnet_checkpoint(dict(tensors), config)
    return {name: tensor for name, tensor in converted.items() if tensor is not None}


def controlnet_config(tensors: Mapping[str, Tensor]) -> dict[str, Any]:
    """The ControlNetModel configuration told from the weights, in diffusers' or the original names.

    The number of attention heads leaves no trace in the shapes: SD 1.x has 8, later models heads 64 wide.
    """
    bare = {name.removeprefix("control_model."): tensor for name, tensor in tensors.items()}
    if "time_embed.0.weight" in bare:
        bare = _diffusers_names(bare)
    channels = _block_channels(bare)
    layers = sum(name.startswith("down_blocks.0.resnets.") and name.endswith(".conv1.weight") for name in bare)
    attended = [f"down_blocks.{block}.attentions.0.norm.weight" in bare for block in range(len(channels))]
    width = next(
        (int(tensor.shape[1]) for name, tensor in bare.items() if name.endswith("attn2.to_k.weight")), 768
    )  # fmt: skip
    depths = [_depth(bare, f"down_blocks.{block}.attentions.0.") or 1 for block in range(len(channels))]
    linear = any(name.endswith("proj_in.weight") and tensor.ndim == 2 for name, tensor in bare.items())
    hint = [bare["controlnet_cond_embedding.conv_in.weight"]]
    numbers = sorted({int(name.split(".")[2]) for name in bare if name.startswith("controlnet_cond_embedding.blocks.")})
    hint += [bare[f"controlnet_cond_embedding.blocks.{number}.weight"] for number in numbers if number % 2]
    config: dict[str, Any] = {
        "in_channels": int(bare["conv_in.weight"].shape[1]),
        "conditioning_channels": int(hint[0].shape[1]),
        "block_out_channels": channels,
        "layers_per_block": layers,
        "down_block_types": tuple("CrossAttnDownBlock2D" if here else "DownBlock2D" for here in attended),
        "mid_block_type": "UNetMidBlock2DCrossAttn" if _depth(bare, "mid_block.attentions.0.") else "UNetMidBlock2D",
        "cross_attention_dim": width,
        "transformer_layers_per_block": depths,
        "attention_head_dim": 8 if width == 768 else [max(1, side // 64) for side in channels],
        "use_linear_projection": linear,
        "conditioning_embedding_out_channels": tuple(int(tensor.shape[0]) for tensor in hint),
    }
    if "add_embedding.linear_1.weight" in bare:
        config |= {
            "addition_embed_type": "text_time",
            "addition_time_embed_dim": 256,
            "projection_class_embeddings_input_dim": int(bare["add_embedding.linear_1.weight"].shape[1]),
        }
    return config


def _diffusers_names(bare: Mapping[str, Tensor]) -> dict[str, Tensor]:
    # A zero convolution follows the first convolution and every layer and downsampling of the encoder.
    downs = sum(name.endswith(".0.op.weight") for name in bare)
    inputs = len({name.split(".")[1] for name in bare if name.startswith("input_blocks.")})
    per_block = (inputs - 1 - downs) // (downs + 1)
    return controlnet_tensors(bare, {"layers_per_block": per_block})


def _block_channels(bare: Mapping[str, Tensor]) -> tuple[int, ...]:
    firsts = (f"down_blocks.{block}.resnets.0.conv1.weight" for block in range(len(bare)))
    channels: list[int] = []
    for name in firsts:
        if name not in bare:
            break
        channels.append(int(bare[name].shape[0]))
    if not channels:
        raise KeyError("down_blocks.0.resnets.0.conv1.weight")
    return tuple(channels)


def _depth(bare: Mapping[str, Tensor], prefix: str) -> int:
    """Transformer layers below `prefix`, 0 if there is no attention."""
    start = prefix + "transformer_blocks."
    return len({name[len(start) :].split(".")[0] for name in bare if name.startswith(start)})


def adapter_config(tensors: Mapping[str, Tensor]) -> dict[str, Any]:
    """The T2IAdapter configuration told from the weights, in diffusers' or TencentARC's names."""
    bare = adapter_tensors(tensors, {})
    bodies = 1 + max(int(name.split(".")[2]) for name in bare if name.startswith("adapter.body."))
    layers = 1 + max(int(name.split(".")[4]) for name in bare if name.startswith("adapter.body.0.resnets."))
    if "adapter.conv_in.weight" not in bare:
        channels = [int(bare[f"adapter.body.{body}.out_conv.weight"].shape[0]) for body in range(bodies - 1)]
        kind, entrance = "light_adapter", int(bare["adapter.body.0.in_conv.weight"].shape[1])
    else:
        channels = [int(bare[f"adapter.body.{body}.resnets.0.block1.weight"].shape[0]) for body in range(bodies)]
        kind, entrance = "full_adapter", int(bare["adapter.conv_in.weight"].shape[1])
    factor, inputs = _unshuffled(entrance)
    if kind == "full_adapter" and factor == 16:
        kind = "full_adapter_xl"
    return {
        "in_channels": inputs,
        "channels": channels,
        "num_res_blocks": layers,
        "downscale_factor": factor,
        "adapter_type": kind,
    }


def _unshuffled(entrance: int) -> tuple[int, int]:
    """(pixels a side, picture channels) of a pixel-unshuffled input: 64 = 1 * 8 * 8, 192 = 3 * 8 * 8, 768 = 3 * 16²."""
    return {64: (8, 1), 192: (8, 3), 256: (16, 1), 768: (16, 3)}[entrance]


def adapter_tensors(tensors: Mapping[str, Tensor], _: Mapping[str, Any]) -> dict[str, Tensor]:
    """The weights under diffusers' names, whether they have them already or are in TencentARC's layout."""
    if any(name.startswith("adapter.") for name in tensors):
        return dict(tensors)
    light = "conv_in.weight" not in tensors
    per_body = 1 if light else _per_body(tensors)
    return {_adapter_name(name, light, per_body): tensor for name, tensor in tensors.items()}


def _per_body(tensors: Mapping[str, Tensor]) -> int:
    """Residual blocks per level: channels change (`in_conv`) at the first block of the second level."""
    changes = sorted(int(name.split(".")[1]) for name in tensors if name.endswith("in_conv.weight"))
    return changes[0] if changes else 2


def _adapter_name(name: str, light: bool, per_body: int) -> str:
    match name.split("."):
        case ["body", body, "body", layer, *rest]:
            return ".".join(("adapter.body", body, "resnets", layer, *rest))
        case ["body", number, "in_conv", *rest] if not light:
            return ".".join(("adapter.body", str(int(number) // per_body), "in_conv", *rest))
        case ["body", number, *rest] if not light:
            level, place = divmod(int(number), per_body)
            return ".".join(("adapter.body", str(level), "resnets", str(place), *rest))
    return f"adapter.{name}"
