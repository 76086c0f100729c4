"""Names of layers, against diffusers' own way from the original names, for UNets of the true shapes."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from diffusers import UNet2DConditionModel
from diffusers.loaders.single_file_utils import convert_ldm_unet_checkpoint
from torch import nn

from backend.engine.lora_keys import BLOCKS, block_label, ldm_names, original_name

CROSS, PLAIN = "CrossAttnDownBlock2D", "DownBlock2D"
UP, PLAIN_UP = "CrossAttnUpBlock2D", "UpBlock2D"
SHAPES: dict[str, dict[str, Any]] = {
    "sd1": {"cross_attention_dim": 768},
    "sd2": {"cross_attention_dim": 1024, "use_linear_projection": True, "attention_head_dim": (5, 10, 20, 20)},
    "sdxl": {
        "block_out_channels": (320, 640, 1280), "down_block_types": (PLAIN, CROSS, CROSS),
        "up_block_types": (UP, UP, PLAIN_UP), "transformer_layers_per_block": (1, 2, 10), "cross_attention_dim": 2048,
        "attention_head_dim": (5, 10, 20), "use_linear_projection": True, "addition_embed_type": "text_time",
        "addition_time_embed_dim": 256, "projection_class_embeddings_input_dim": 2816,
    },
}  # fmt: skip


def _unet(family: str) -> UNet2DConditionModel:
    with torch.device("meta"):
        return UNet2DConditionModel(**SHAPES[family])


@pytest.mark.parametrize("family", SHAPES)
def test_the_names_of_the_original_are_those_diffusers_converts(family: str):
    unet = _unet(family)
    names = ldm_names(unet)
    ours = {}
    for path, module in unet.named_modules():
        for kind, _ in module.named_parameters(recurse=False):
            ours[f"{path}.{kind}"] = f"model.diffusion_model.{original_name(path, names)}.{kind}"
    numbers = {name: torch.tensor(number) for number, name in enumerate(ours.values())}
    assert len(numbers) == len(ours)
    converted = convert_ldm_unet_checkpoint(dict(numbers), dict(unet.config))
    assert {path: int(tensor) for path, tensor in converted.items()} == {
        path: int(numbers[name]) for path, name in ours.items()
    }


@pytest.mark.parametrize(("family", "length"), [("sd1", 17), ("sd2", 17), ("sdxl", 12)])
def test_the_short_block_lists_name_exactly_the_blocks_with_attention(family: str, length: int):
    unet = _unet(family)
    names = ldm_names(unet)
    attention = {block_label(name) for path, name in names.items() if ".attentions." in path}
    assert attention == set(BLOCKS[length]) - {"BASE"}


@pytest.mark.parametrize(("family", "length"), [("sd1", 26), ("sd2", 26), ("sdxl", 20)])
def test_the_long_block_lists_name_all_blocks(family: str, length: int):
    unet = _unet(family)
    names = ldm_names(unet)
    paths = [path for path, module in unet.named_modules() if isinstance(module, nn.Linear | nn.Conv2d)]
    labels = {block_label(original_name(path, names)) for path in paths} - {""}
    assert labels == set(BLOCKS[length]) - {"BASE"}
