"""Tiny Stable Diffusion models with random weights: a diffusers folder, or one original-format file with its config.

SD 1.x, SD 2.x, SDXL and its refiner, each also with an inpainting UNet.

They have every part and every key name of the real ones, run in milliseconds, and make coloured noise.
"""

from __future__ import annotations

import shutil
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
from safetensors.torch import save_file
from tokenizers.pre_tokenizers import ByteLevel
from torch import Tensor
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection, CLIPTokenizer

from benchmarks._original import original

Family = Literal["sd1", "sd2", "sdxl", "sdxl-refiner"]
SIZE = 32
"""Width and height of a tiny picture in pixels; its latent is 16 x 16."""

_WORDS = ("cat", "dog", "photo", "red", "blue", "of", "a")


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
    return {name: tensor.contiguous().clone() for name, tensor in original(pipe).items()}


def copy_model(source: Path, target: Path) -> Path:
    """A second copy of a model folder, to be spoilt."""
    return Path(shutil.copytree(source, target))
