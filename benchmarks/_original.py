"""The names under which the original checkpoints of Stable Diffusion keep the weights of diffusers' modules."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from diffusers.loaders.single_file_utils import DIFFUSERS_TO_LDM_MAPPING
from torch import Tensor

_RESNET = {
    "norm1": "in_layers.0",
    "conv1": "in_layers.2",
    "norm2": "out_layers.0",
    "conv2": "out_layers.3",
    "time_emb_proj": "emb_layers.1",
    "conv_shortcut": "skip_connection",
}
_LABELS = {
    f"add_embedding.linear_{number}.{kind}": f"label_emb.0.{place}.{kind}"
    for number, place in ((1, 0), (2, 2))
    for kind in ("weight", "bias")
}


def original(pipe: Any) -> dict[str, Tensor]:
    """The weights under the names of the original checkpoints."""
    tensors = {
        **_unet_to_ldm(pipe.unet.state_dict(), pipe.unet.config),
        **_vae_to_ldm(pipe.vae.state_dict(), len(pipe.vae.config.block_out_channels)),
        **_texts_to_ldm(pipe),
    }
    return tensors


def _texts_to_ldm(pipe: Any) -> dict[str, Tensor]:
    first, second = pipe.text_encoder, getattr(pipe, "text_encoder_2", None)
    if second is None:
        openclip = first.config.hidden_act == "gelu"
        convert, prefix = (
            (_text_to_openclip, "cond_stage_model.model.")
            if openclip
            else (_text_to_ldm, "cond_stage_model.transformer.")
        )
        return convert(first.state_dict(), prefix)
    if first is None:
        return _text_to_openclip(second.state_dict(), "conditioner.embedders.0.model.")
    return {
        **_text_to_ldm(first.state_dict(), "conditioner.embedders.0.transformer."),
        **_text_to_openclip(second.state_dict(), "conditioner.embedders.1.model."),
    }


def _replaced(name: str, table: Mapping[str, str]) -> str:
    for old, new in table.items():
        name = name.replace(old, new)
    return name


def _unet_to_ldm(tensors: Mapping[str, Tensor], config: Any) -> dict[str, Tensor]:
    return {f"model.diffusion_model.{unet_name(name, config)}": tensor for name, tensor in tensors.items()}


def unet_name(name: str, config: Any) -> str:
    """What the original calls a tensor of a UNet2DConditionModel with this configuration."""
    plain = {**DIFFUSERS_TO_LDM_MAPPING["unet"]["layers"], **_LABELS}
    if name in plain:
        return str(plain[name])
    per_block = config.layers_per_block + 1
    match name.split("."):
        case ["down_blocks", block, "downsamplers", "0", _, *rest]:
            return f"input_blocks.{(int(block) + 1) * per_block}.0.op.{'.'.join(rest)}"
        case ["down_blocks", block, kind, layer, *rest]:
            return f"input_blocks.{int(block) * per_block + int(layer) + 1}.{_slot(kind, rest)}"
        case ["mid_block", kind, layer, *rest]:
            place = int(layer) * 2 + (kind == "attentions")
            return f"middle_block.{place}.{_slot(kind, rest).partition('.')[2]}"
        case ["up_blocks", block, "upsamplers", "0", _, *rest]:
            slot = 2 if "CrossAttn" in config.up_block_types[int(block)] else 1
            return f"output_blocks.{(int(block) + 1) * per_block - 1}.{slot}.conv.{'.'.join(rest)}"
        case ["up_blocks", block, kind, layer, *rest]:
            return f"output_blocks.{int(block) * per_block + int(layer)}.{_slot(kind, rest)}"
    raise KeyError(name)


def _slot(kind: str, rest: list[str]) -> str:
    """Within a block of the original: the resnet is number 0, the attention number 1."""
    name = ".".join(rest)
    return f"1.{name}" if kind == "attentions" else f"0.{_replaced(name, _RESNET)}"


def _vae_to_ldm(tensors: Mapping[str, Tensor], blocks: int) -> dict[str, Tensor]:
    names = {
        "mid_block.resnets.0.": "mid.block_1.",
        "mid_block.resnets.1.": "mid.block_2.",
        "mid_block.attentions.0.": "mid.attn_1.",
        "conv_shortcut": "nin_shortcut",
        "conv_norm_out": "norm_out",
    }
    for number in range(blocks):
        down, up = f"encoder.down_blocks.{number}", f"decoder.up_blocks.{number}"
        names[f"{down}.resnets."] = f"encoder.down.{number}.block."
        names[f"{down}.downsamplers.0."] = f"encoder.down.{number}.downsample."
        names[f"{up}.resnets."] = f"decoder.up.{blocks - 1 - number}.block."
        names[f"{up}.upsamplers.0."] = f"decoder.up.{blocks - 1 - number}.upsample."
    attention = {"group_norm": "norm", "to_q": "q", "to_k": "k", "to_v": "v", "to_out.0": "proj_out"}
    out: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        ldm = _replaced(name, names)
        if "attn_1" in ldm:
            ldm = _replaced(ldm, attention)
            tensor = tensor[:, :, None, None] if tensor.ndim == 2 else tensor
        out[f"first_stage_model.{ldm}"] = tensor
    return out


def _text_to_ldm(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {f"{prefix}text_model.{name.removeprefix('text_model.')}": tensor for name, tensor in tensors.items()}


def _text_to_openclip(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """OpenCLIP keeps query, key and value of a layer in one tensor, and a projection that SD 2.x does not use."""
    names = {
        "text_model.": "",
        "embeddings.token_embedding": "token_embedding",
        "embeddings.position_embedding.weight": "positional_embedding",
        "encoder.layers.": "transformer.resblocks.",
        "final_layer_norm": "ln_final",
        "layer_norm1": "ln_1",
        "layer_norm2": "ln_2",
        "self_attn.out_proj": "attn.out_proj",
        "mlp.fc1": "mlp.c_fc",
        "mlp.fc2": "mlp.c_proj",
    }
    out: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        if name == "text_projection.weight":
            out[f"{prefix}text_projection"] = tensor.T
        elif "self_attn.q_proj" in name:
            parts = [tensors[name.replace("q_proj", part)] for part in ("q_proj", "k_proj", "v_proj")]
            joined = _replaced(name, names).replace("self_attn.q_proj.", "attn.in_proj_")
            out[f"{prefix}{joined}"] = torch.cat(parts)
        elif "k_proj" not in name and "v_proj" not in name:
            out[f"{prefix}{_replaced(name, names)}"] = tensor
    width = out[f"{prefix}ln_final.weight"].shape[0]
    out.setdefault(f"{prefix}text_projection", torch.eye(width))
    return out
