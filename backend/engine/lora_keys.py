"""What a module of a model is called in LoRA files.

Every trainer has its own names for the same layer. Nothing is guessed from a key: the modules of the model at hand are
walked, each under all of its names, and a file's keys are looked up among them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from torch import nn

from backend.models.loader import LoadedModel

PATCHABLE = (nn.Linear, nn.Conv2d, nn.GroupNorm, nn.LayerNorm)
TEXT_BLOCK = "BASE"

# Layers of a residual block in the original checkpoints ("LDM" names), by their diffusers names.
_RESNET = {
    "norm1": "in_layers.0",
    "conv1": "in_layers.2",
    "norm2": "out_layers.0",
    "conv2": "out_layers.3",
    "time_emb_proj": "emb_layers.1",
    "conv_shortcut": "skip_connection",
}
_OUTSIDE = {
    "time_embedding.linear_1": "time_embed.0",
    "time_embedding.linear_2": "time_embed.2",
    "add_embedding.linear_1": "label_emb.0.0",
    "add_embedding.linear_2": "label_emb.0.2",
    "conv_in": "input_blocks.0.0",
    "conv_norm_out": "out.0",
    "conv_out": "out.2",
}


@dataclass(frozen=True, slots=True)
class Place:
    """One layer that can be patched: `part` 0 is the UNet, 1 and 2 are the text encoders; `path` is diffusers' name.

    `block` is the label it has in block weights: "IN04", "M00", "OUT11", "BASE" for text, "" for what is in no block.
    """

    part: int
    path: str
    block: str


def text_encoders(model: LoadedModel) -> tuple[Any, ...]:
    """The text encoders of a model, one or two."""
    several = getattr(model, "text_encoders", None)
    return tuple(several) if several else (model.text_encoder,)


def tokenizers(model: LoadedModel) -> tuple[Any, ...]:
    """The tokenizers of a model, one for each text encoder."""
    several = getattr(model, "tokenizers", None)
    return tuple(several) if several else (model.tokenizer,)


def parts_of(model: LoadedModel) -> tuple[Any, ...]:
    """The networks a LoRA can patch, in the order of `Place.part`."""
    return (model.unet, *text_encoders(model))


def places(model: LoadedModel) -> Mapping[str, Place]:
    """Every name a LoRA file may use for a layer of this model."""
    names: dict[str, Place] = {}
    unet, *texts = parts_of(model)
    ldm = ldm_names(unet)
    for path in _paths(unet):
        original = original_name(path, ldm)
        place = Place(0, path, block_label(original))
        for name in _unet_names(path, original):
            names.setdefault(name, place)
    for part, encoder in enumerate(texts, 1):
        for path in _paths(encoder):
            place = Place(part, path, TEXT_BLOCK)
            for name in _text_names(path.removeprefix("text_model."), part):
                names.setdefault(name, place)
    return MappingProxyType(names)


def _paths(root: nn.Module) -> Iterator[str]:
    for path, module in root.named_modules():
        if isinstance(module, PATCHABLE) and module.weight is not None:
            yield path


def kohya_unet(path: str) -> str:
    """kohya-ss/sd-scripts' name for a layer of the UNet."""
    return "lora_unet_" + path.replace(".", "_")


def kohya_text(path: str, part: int, several: bool) -> str:
    """kohya-ss/sd-scripts' name for a layer of text encoder number `part` (from 1)."""
    stem = f"lora_te{part}" if several else "lora_te"
    return f"{stem}_text_model_" + path.removeprefix("text_model.").replace(".", "_")


def _unet_names(path: str, original: str) -> Iterator[str]:
    yield kohya_unet(path)
    yield kohya_unet(original)
    yield "lycoris_" + path.replace(".", "_")
    for stem in ("unet.", "base_model.model.unet.", "base_model.model.", ""):
        yield stem + path
    yield "diffusion_model." + original
    yield "model.diffusion_model." + original


def _text_names(path: str, part: int) -> Iterator[str]:
    inner = "text_model." + path
    yield kohya_text(path, part, several=True)
    if part == 1:
        yield kohya_text(path, part, several=False)
        yield "lycoris_" + inner.replace(".", "_")
    stem = "text_encoder" if part == 1 else f"text_encoder_{part}"
    for outer in (f"{stem}.", f"base_model.model.{stem}.", *(("base_model.model.",) if part == 1 else ())):
        yield outer + inner
        yield outer + path


def ldm_names(unet: Any) -> Mapping[str, str]:
    """Diffusers' names of the blocks' parts (resnets, attentions, samplers) and the layers outside -> LDM names.

    The original counts every residual block and every sampler on the way down as one input block, each residual block
    on the way up as one output block; within a block the residual is number 0, the attention 1, an upsampler the last.
    """
    names = dict(_OUTSIDE)
    number = 1
    for index, block in enumerate(unet.down_blocks):
        for layer in range(len(block.resnets)):
            names |= _block(f"down_blocks.{index}", layer, f"input_blocks.{number}", block)
            number += 1
        if getattr(block, "downsamplers", None):
            names[f"down_blocks.{index}.downsamplers.0.conv"] = f"input_blocks.{number}.0.op"
            number += 1
    for layer in range(len(unet.mid_block.resnets)):
        names[f"mid_block.resnets.{layer}"] = f"middle_block.{2 * layer}"
        names[f"mid_block.attentions.{layer}"] = f"middle_block.{2 * layer + 1}"
    number = 0
    for index, block in enumerate(unet.up_blocks):
        for layer in range(len(block.resnets)):
            names |= _block(f"up_blocks.{index}", layer, f"output_blocks.{number}", block)
            number += 1
        if getattr(block, "upsamplers", None):
            slot = 2 if _has_attention(block) else 1
            names[f"up_blocks.{index}.upsamplers.0.conv"] = f"output_blocks.{number - 1}.{slot}.conv"
    return names


def _has_attention(block: Any) -> bool:
    return bool(getattr(block, "attentions", None))


def _block(ours: str, layer: int, theirs: str, block: Any) -> dict[str, str]:
    names = {f"{ours}.resnets.{layer}": f"{theirs}.0"}
    if _has_attention(block):
        names[f"{ours}.attentions.{layer}"] = f"{theirs}.1"
    return names


def original_name(path: str, ldm: Mapping[str, str]) -> str:
    """The LDM name of a layer; layers the original does not have keep theirs."""
    if path in ldm:
        return ldm[path]
    pieces = path.split(".")
    for length in (4, 3):
        stem, rest = ".".join(pieces[:length]), pieces[length:]
        if stem in ldm and rest:
            inner = _RESNET.get(rest[0], rest[0]) if "resnets" in stem else rest[0]
            return ".".join((ldm[stem], inner, *rest[1:]))
    return path


def block_label(original: str) -> str:
    """ "IN04" for input_blocks.4, "M00", "OUT11"; "" for layers outside the blocks."""
    match original.split("."):
        case ["input_blocks", number, *_]:
            return f"IN{int(number):02}"
        case ["middle_block", *_]:
            return "M00"
        case ["output_blocks", number, *_]:
            return f"OUT{int(number):02}"
    return ""


def _numbered(stem: str, numbers: Sequence[int]) -> tuple[str, ...]:
    return tuple(f"{stem}{number:02}" for number in numbers)


# How many block weights somebody gives -> what they stand for, as in the well-known "LoRA Block Weight" extension:
# blocks with attention of SD 1.x and of SDXL, then all blocks of both.
BLOCKS: Mapping[int, tuple[str, ...]] = {
    17: (TEXT_BLOCK, *_numbered("IN", (1, 2, 4, 5, 7, 8)), "M00", *_numbered("OUT", range(3, 12))),
    26: (TEXT_BLOCK, *_numbered("IN", range(12)), "M00", *_numbered("OUT", range(12))),
    12: (TEXT_BLOCK, *_numbered("IN", (4, 5, 7, 8)), "M00", *_numbered("OUT", range(6))),
    20: (TEXT_BLOCK, *_numbered("IN", range(9)), "M00", *_numbered("OUT", range(9))),
}
