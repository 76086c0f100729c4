"""Tiny Stable Diffusion models with random weights: a diffusers folder, or one original-format file with its config.

SD 1.x, SD 2.x, SDXL and its refiner, each also with an inpainting UNet.

They have every part and every key name of the real ones, run in milliseconds, and make coloured noise.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import torch
from diffusers import (
    AutoencoderKL,
    DDIMScheduler,
    StableDiffusionPipeline,
    StableDiffusionXLImg2ImgPipeline,
    StableDiffusionXLPipeline,
    UNet2DConditionModel,
)
from diffusers.loaders.single_file_utils import DIFFUSERS_TO_LDM_MAPPING
from safetensors.torch import save_file
from tokenizers.pre_tokenizers import ByteLevel
from torch import Tensor
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection, CLIPTokenizer

Family = Literal["sd1", "sd2", "sdxl", "sdxl-refiner"]
SIZE = 32
"""Width and height of a tiny picture in pixels; its latent is 16 x 16."""

_WORDS = ("cat", "dog", "photo", "red", "blue", "of", "a")
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


def tokenizer(family: Family = "sd1") -> CLIPTokenizer:
    """CLIP's way of splitting words, with a vocabulary of single bytes and a few words. For SDXL: its first one."""
    letters = sorted(ByteLevel.alphabet())
    vocab = {token: number for number, token in enumerate([*letters, *(letter + "</w>" for letter in letters)])}
    merges: list[tuple[str, str]] = []
    for word in _WORDS:
        tokens = [*word[:-1], word[-1] + "</w>"]
        while len(tokens) > 1:
            pair = tokens[0], tokens[1]
            if pair not in merges:
                merges.append(pair)
            tokens = ["".join(pair), *tokens[2:]]
            vocab.setdefault(tokens[0], len(vocab))
    for mark in ("<|startoftext|>", "<|endoftext|>"):
        vocab[mark] = len(vocab)
    pad = "<|endoftext|>" if family in ("sd1", "sdxl") else "!"
    return CLIPTokenizer(vocab=vocab, merges=merges, model_max_length=77, pad_token=pad)


def pipeline(family: Family = "sd1", *, seed: int = 0, velocity: bool = False, inpaint: bool = False) -> Any:
    """All parts with random weights that depend on `seed` alone. `velocity` says that the UNet predicts v.

    `inpaint` gives the UNet 9 channels. A StableDiffusionPipeline, or for SDXL the pipeline of its kind.
    """
    torch.manual_seed(seed)
    if family.startswith("sdxl"):
        return _xl_pipeline(family, _scheduler(velocity), 9 if inpaint else 4)
    words = tokenizer(family)
    return StableDiffusionPipeline(
        vae=_vae(),
        text_encoder=_text_encoder(words, family),
        tokenizer=words,
        unet=_unet(family, 9 if inpaint else 4),
        scheduler=_scheduler(velocity),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )


def _xl_pipeline(family: Family, scheduler: DDIMScheduler, channels: int) -> Any:
    second = tokenizer("sd2")
    refiner = family == "sdxl-refiner"
    parts = {
        "vae": _vae(scaling_factor=0.13025),
        "text_encoder": None if refiner else _text_encoder(tokenizer("sdxl"), "sdxl"),
        "text_encoder_2": _text_encoder(second, "sd2", CLIPTextModelWithProjection),
        "tokenizer": None if refiner else tokenizer("sdxl"),
        "tokenizer_2": second,
        "unet": _unet(family, channels),
        "scheduler": scheduler,
        "add_watermarker": False,
    }
    if refiner:
        return StableDiffusionXLImg2ImgPipeline(
            **parts, requires_aesthetics_score=True, force_zeros_for_empty_prompt=False
        )
    return StableDiffusionXLPipeline(**parts)


def _scheduler(velocity: bool) -> DDIMScheduler:
    return DDIMScheduler(
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        clip_sample=False,
        set_alpha_to_one=False,
        steps_offset=1,
        prediction_type="v_prediction" if velocity else "epsilon",
    )


def _vae(scaling_factor: float = 0.18215) -> AutoencoderKL:
    return AutoencoderKL(
        block_out_channels=(16, 32),
        norm_num_groups=8,
        down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2,
        sample_size=SIZE,
        scaling_factor=scaling_factor,
    ).eval()


def _text_encoder(words: CLIPTokenizer, family: Family, kind: Any = CLIPTextModel) -> Any:
    # In OpenCLIP's layout the width of a head is always 64.
    width, heads = (64, 1) if family == "sd2" else (32, 4)
    config = CLIPTextConfig(
        vocab_size=len(words),
        hidden_size=width,
        intermediate_size=40,
        num_hidden_layers=2,
        num_attention_heads=heads,
        projection_dim=width,
        hidden_act="gelu" if family == "sd2" else "quick_gelu",
        max_position_embeddings=77,
        bos_token_id=words.bos_token_id,
        eos_token_id=words.eos_token_id,
        pad_token_id=words.pad_token_id,
    )
    return kind(config).eval()


_TEXT_WIDTH = {"sd1": 32, "sd2": 64, "sdxl": 32 + 64, "sdxl-refiner": 64}
# SDXL's further inputs: the pooled text (64) and 6 sizes, or 5 with the refiner's score, of 8 channels each.
_XL = {
    family: {
        "addition_embed_type": "text_time",
        "addition_time_embed_dim": 8,
        "projection_class_embeddings_input_dim": 64 + 8 * numbers,
        "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D"),
        "up_block_types": ("CrossAttnUpBlock2D", "UpBlock2D"),
        "transformer_layers_per_block": (1, 2),
    }
    for family, numbers in (("sdxl", 6), ("sdxl-refiner", 5))
}


def _unet(family: Family, channels: int = 4) -> UNet2DConditionModel:
    plain = {
        "down_block_types": ("CrossAttnDownBlock2D", "DownBlock2D"),
        "up_block_types": ("UpBlock2D", "CrossAttnUpBlock2D"),
    }
    return UNet2DConditionModel(
        sample_size=SIZE // 2,
        in_channels=channels,
        layers_per_block=1,
        block_out_channels=(32, 64),
        norm_num_groups=16,
        cross_attention_dim=_TEXT_WIDTH[family],
        attention_head_dim=4,
        use_linear_projection=family != "sd1",
        **{**plain, **_XL.get(family, {})},
    ).eval()


def save_folder(pipe: Any, folder: Path) -> Path:
    """As a diffusers folder."""
    pipe.save_pretrained(folder, safe_serialization=True)
    return folder


def save_file_with_config(pipe: Any, file: Path, *, drop: str | None = None) -> Path:
    """As one original-format file with the configuration in a folder of the same name, without the tensor `drop`."""
    tensors = to_ldm(pipe)
    if drop is not None:
        del tensors[drop]
    file.parent.mkdir(parents=True, exist_ok=True)
    save_file(tensors, file)
    config = save_folder(pipe, file.with_name(file.name.removesuffix(".safetensors")))
    for weights in config.rglob("*.safetensors"):
        weights.unlink()
    return file


def to_ldm(pipe: Any) -> dict[str, Tensor]:
    """The weights under the names of the original checkpoints."""
    tensors = {
        **_unet_to_ldm(pipe.unet.state_dict(), pipe.unet.config),
        **_vae_to_ldm(pipe.vae.state_dict(), len(pipe.vae.config.block_out_channels)),
        **_texts_to_ldm(pipe),
    }
    return {name: tensor.contiguous().clone() for name, tensor in tensors.items()}


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
    return {f"model.diffusion_model.{_unet_name(name, config)}": tensor for name, tensor in tensors.items()}


def _unet_name(name: str, config: Any) -> str:
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


def copy_model(source: Path, target: Path) -> Path:
    """A second copy of a model folder, to be spoilt."""
    return Path(shutil.copytree(source, target))
