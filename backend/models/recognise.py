"""What a safetensors file is, told by the names and shapes of its tensors and its metadata. Pure; no file is touched.

Key names are those of the programs that write such files: LDM and diffusers checkpoints, kohya's sd-scripts, PEFT,
LyCORIS, ControlNet, T2I-Adapter, IP-Adapter, textual inversion, BasicSR's upscalers.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from backend.models.pipelines import TEXT_WIDTHS, family_name
from backend.types.models import ModelKind, Variant

Shapes = Mapping[str, tuple[int, ...]]
Texts = Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Facts:
    """`width` is that of the text cross-attention takes, `factor` pixels per latent or an upscaler's scale.

    `problem` says why a file of a known kind cannot be used all the same, `hint` what to do instead.
    """

    kind: ModelKind
    family: str = "unknown"
    variant: Variant = "plain"
    width: int | None = None
    factor: int = 1
    problem: str = ""
    hint: str | None = None


def recognise(shapes: Shapes, metadata: Texts, name: str = "") -> Facts | None:
    """The facts, or None for a file that is nothing we know. `name` decides between SD 1.x and SDXL autoencoders only,
    whose tensors are alike."""
    for look in _LOOKS:
        found = look(shapes, metadata, name.casefold())
        if found is not None:
            return found
    return None


def _side(shapes: Shapes, key: str, axis: int) -> int | None:
    shape = shapes.get(key, ())
    return shape[axis] if len(shape) > axis else None


def _first(names: Iterable[str], *ends: str) -> str | None:
    return next((name for name in names if name.endswith(ends)), None)


def _text_width(shapes: Shapes) -> int | None:
    """Input features of the first cross-attention key projection (out, in)."""
    key = _first(shapes, "attn2.to_k.weight", "attn2.to_k.down")
    return _side(shapes, key, 1) if key else None


def _family_of_width(width: int | None) -> str | None:
    return next((family for family, known in TEXT_WIDTHS.items() if known == width), None)


# ---- checkpoints

_UNET = "model.diffusion_model."
# The first key that is present names the family (LDM names, as in the original checkpoints).
_TEXT_ENCODERS = (
    ("conditioner.embedders.1.model.ln_final.weight", "sdxl"),
    ("conditioner.embedders.0.model.ln_final.weight", "sdxl-refiner"),
    ("cond_stage_model.model.ln_final.weight", "sd2"),
    ("cond_stage_model.transformer.text_model.final_layer_norm.weight", "sd1"),
)
# Denoisers of which only diffusers folders can be run, by a key that each has with or without a prefix.
_TRANSFORMERS = (
    ("joint_blocks.0.x_block.attn.qkv.weight", "sd3"),
    ("double_blocks.0.img_attn.qkv.weight", "flux"),
    ("caption_projection.y_embedding", "pixart"),
    ("y_embedder.y_embedding", "pixart"),
    ("caption_projection.linear_1.weight", "pixart"),
)
_VARIANTS: Mapping[int | None, Variant] = {9: "inpaint", 8: "edit"}


def _checkpoint(shapes: Shapes, metadata: Texts, name: str) -> Facts | None:
    family = next((family for key, family in _TEXT_ENCODERS if key in shapes), None)
    if family is None:
        return None
    variant = _VARIANTS.get(_side(shapes, f"{_UNET}input_blocks.0.0.weight", 1), "plain")
    return Facts("checkpoint", family, "refiner" if family == "sdxl-refiner" else variant, _text_width(shapes), 8)


def _denoiser(shapes: Shapes, metadata: Texts, name: str) -> Facts | None:
    for end, family in _TRANSFORMERS:
        if any(prefix + end in shapes for prefix in ("", _UNET, "transformer.")):
            problem = f"This is a {family_name(family)} model in one file, which cannot be run."
            return Facts("checkpoint", family, problem=problem, hint="Use the model's folder in diffusers format.")
    if any(f"{prefix}.0.0.weight" in shapes for prefix in (_UNET + "input_blocks", "input_blocks")):
        parts = "a UNet without its text encoder"
    elif "conv_in.weight" in shapes and _first(shapes, "attn2.to_k.weight") and _first(shapes, "conv_out.weight"):
        parts = "a UNet in diffusers format, without the other parts of a model"
    else:
        return None
    family = _family_of_width(_text_width(shapes)) or "unknown"
    hint = "Use the complete checkpoint, or the model's folder in diffusers format."
    return Facts("checkpoint", family, problem=f"The file holds {parts}.", hint=hint)


# ---- what controls a checkpoint


def _controlnet(shapes: Shapes, metadata: Texts, name: str) -> Facts | None:
    if "lora_controlnet" in shapes:
        return _no_controlnet("a Control-LoRA, which holds only a part of a ControlNet", shapes)
    if any(key.startswith("lllite_") for key in shapes):
        return _no_controlnet("a ControlNet-LLLite", shapes)
    hint_blocks = ("controlnet_cond_embedding.conv_in.weight", "input_hint_block.0.weight")
    if not any(prefix + key in shapes for prefix in ("", "control_model.") for key in hint_blocks):
        return None
    width = _text_width(shapes)
    return Facts("controlnet", _family_of_width(width) or ("sd1" if width else "unknown"), width=width)


def _no_controlnet(what: str, shapes: Shapes) -> Facts:
    family = _family_of_width(_text_width(shapes)) or "unknown"
    return Facts("controlnet", family, problem=f"This is {what}.", hint="Use a full ControlNet of the same purpose.")


_ADAPTER_INPUTS = {64: "sd1", 192: "sd1", 256: "sdxl", 768: "sdxl"}
"""Channels after the picture (grey or colour) was folded 8-fold (SD 1.x) or 16-fold (SDXL)."""


def _t2i_adapter(shapes: Shapes, metadata: Texts, name: str) -> Facts | None:
    for prefix in ("adapter.", ""):
        if f"{prefix}conv_in.weight" in shapes or f"{prefix}body.0.in_conv.weight" in shapes:
            blocks = (f"{prefix}body.0.block1.weight", f"{prefix}body.0.resnets.0.block1.weight")
            if any(key in shapes for key in (*blocks, f"{prefix}body.0.body.0.block1.weight")):
                taken = _side(shapes, f"{prefix}conv_in.weight", 1) or _side(
                    shapes, f"{prefix}body.0.in_conv.weight", 1
                )
                return Facts("t2i-adapter", _ADAPTER_INPUTS.get(taken or 0, "sd1"))
    return None


def _ip_adapter(shapes: Shapes, metadata: Texts, name: str) -> Facts | None:
    key = next((key for key in shapes if key.startswith("ip_adapter.") and key.endswith("to_k_ip.weight")), None)
    if key is None or not any(key.startswith("image_proj.") for key in shapes):
        return None
    width = _side(shapes, key, 1)
    return Facts("ip-adapter", _family_of_width(width) or "unknown", width=width)


# ---- LoRA

_LORA = re.compile(
    r"(?P<module>.+?)[._](?:processor\.)?(?:to_[qkv](?:_out)?_lora[._])?"
    r"(?:lora_?(?:down|up|mid|A|B)\b.*|lora[._](?:down|up)\.weight|hada_w[12]_[ab]|lokr_w[12](?:_[ab])?|dora_scale"
    r"|oft_(?:blocks|diag)|diff|diff_b|lora_magnitude_vector.*)"
)
_OLD_LORA = re.compile(r"(?:unet|text_encoder):\d+:(?:up|down)")
_BASES = (  # in ss_base_model_version and modelspec.architecture
    ("refiner", "sdxl-refiner"), ("sdxl", "sdxl"), ("stable-diffusion-xl", "sdxl"), ("sd3", "sd3"),
    ("stable-diffusion-3", "sd3"), ("stable-diffusion-v3", "sd3"), ("flux", "flux"), ("sd_v2", "sd2"),
    ("stable-diffusion-v2", "sd2"), ("sd_v1", "sd1"), ("stable-diffusion-v1", "sd1"), ("pixart", "pixart"),
    ("sana", "sana"),
)  # fmt: skip


def _lora(shapes: Shapes, metadata: Texts, name: str) -> Facts | None:
    old = any(_OLD_LORA.fullmatch(key) for key in shapes)
    if not old and not any(_LORA.fullmatch(key) for key in shapes):
        return None
    if old:
        widths = {shape[1] for key, shape in shapes.items() if key.endswith(":down") and len(shape) == 2}
        return Facts("lora", "sd2" if 1024 in widths else "sd1", width=1024 if 1024 in widths else 768)
    said = lora_base(metadata)
    if any("double_blocks" in key or "single_transformer_blocks" in key for key in shapes):
        return Facts("lora", "flux")
    if any("joint_blocks" in key or ("transformer_blocks" in key and ".add_q_proj." in key) for key in shapes):
        return Facts("lora", "sd3")
    if not any(
        key.startswith(("lora_unet_", "lora_te", "unet.", "text_encoder")) or ".attn2." in key for key in shapes
    ):
        return Facts("lora", said or "unknown")
    width = _lora_width(shapes, r"attn2[._](?:processor[._])?to_[kv]")
    second = any(key.startswith(("lora_te2_", "text_encoder_2.")) for key in shapes)
    if width is None and not second:  # it changes the text encoder alone, whose own width is the same
        width = _lora_width(shapes, r"(?:lora_te|text_encoder).*self_attn[._](?:q_proj|to_q)")
    return Facts("lora", _family_of_width(width) or ("sdxl" if second else said or "sd1"), width=width)


def lora_base(metadata: Texts) -> str | None:
    """The family that kohya's or ModelSpec's metadata names."""
    for field in ("ss_base_model_version", "modelspec.architecture"):
        text = metadata.get(field, "").casefold()
        for part, family in _BASES:
            if part in text:
                return family
    return "sd2" if metadata.get("ss_v2") == "True" else None


def _lora_width(shapes: Shapes, module: str) -> int | None:
    """Input features of the first change to a module whose name matches, whatever the layout."""
    wanted = re.compile(module)
    for key, shape in shapes.items():
        if len(shape) < 2 or not wanted.search(key):
            continue
        if re.search(r"lora[._]?(?:down|A)\b|lora_down|lora_A|hada_w1_b$|\.diff$", key):
            return shape[1]
        if key.endswith(".lokr_w1") or key.endswith(".lokr_w1_b"):  # Kronecker: the sides multiply
            stem = key[: key.rindex(".lokr_w1")]
            other = _side(shapes, f"{stem}.lokr_w2", 1) or _side(shapes, f"{stem}.lokr_w2_b", 1)
            if other:
                return shape[1] * other
    return None


# ---- small parts


def _embedding(shapes: Shapes, metadata: Texts, name: str) -> Facts | None:
    if {"clip_l", "clip_g"} <= set(shapes):
        return Facts("embedding", "sdxl", width=2048)
    key = next((key for key in shapes if key == "emb_params" or key.startswith("string_to_param")), None)
    if key is None and len(shapes) == 1:  # diffusers: one tensor, named like the word
        key = next(iter(shapes))
        if not 1 <= len(shapes[key]) <= 2 or shapes[key][-1] not in (768, 1024, 1280) or "." in key:
            return None
    if key is None or not shapes[key]:
        return None
    width = shapes[key][-1]
    return Facts("embedding", {768: "sd1", 1024: "sd2", 1280: "sdxl"}.get(width, "sd1"), width=width)


def _vae(shapes: Shapes, metadata: Texts, name: str) -> Facts | None:
    for prefix in ("", "first_stage_model.", "vae."):
        latent = _side(shapes, f"{prefix}decoder.conv_in.weight", 1)
        if latent is not None and f"{prefix}encoder.conv_in.weight" in shapes:
            level = re.compile(re.escape(prefix) + r"decoder\.up(?:_blocks)?\.(\d+)\.")
            levels = {match[1] for match in map(level.match, shapes) if match}
            family = _vae_family(latent, f"{name} {metadata.get('modelspec.architecture', '')}".casefold())
            return Facts("vae", family, factor=2 ** min(max(0, len(levels) - 1), 8))
    return None


def _vae_family(latent: int, words: str) -> str:
    if latent == 4:
        return "sdxl" if "xl" in words else "sd1"
    return ("sd3" if "sd3" in words else "flux") if latent == 16 else "unknown"


def _upscaler(shapes: Shapes, metadata: Texts, name: str) -> Facts | None:
    prefix = next(
        (prefix for prefix in ("params_ema.", "params.", "module.") if any(key.startswith(prefix) for key in shapes)),
        "",
    )
    plain = {key.removeprefix(prefix): shape for key, shape in shapes.items()}
    scale = _rrdb_scale(plain) or _compact_scale(plain) or _transformer_scale(plain)
    return None if scale is None else Facts("upscaler", "any", factor=scale)


def _rrdb_scale(shapes: Shapes) -> int | None:
    """ESRGAN: the old layout counts its convolutions, the new one folds the picture for scales below 4."""
    if "conv_first.weight" in shapes and "body.0.rdb1.conv1.weight" in shapes:
        return {12: 2, 48: 1}.get(_side(shapes, "conv_first.weight", 1) or 3, 4)
    if "model.0.weight" in shapes and "model.1.sub.0.RDB1.conv1.0.weight" in shapes:
        tops = sum(bool(re.fullmatch(r"model\.\d+\.weight", key)) for key in shapes)
        return int(2 ** min(max(0, tops - 3), 4))
    return None


def _compact_scale(shapes: Shapes) -> int | None:
    """SRVGGNetCompact: its last convolution makes 3 x scale x scale channels."""
    numbers = [int(match[1]) for match in (re.fullmatch(r"body\.(\d+)\.weight", key) for key in shapes) if match]
    if len(numbers) < 3 or len(shapes.get("body.0.weight", ())) != 4 or len(shapes.get("body.1.weight", ())) != 1:
        return None
    made = _side(shapes, f"body.{max(numbers)}.weight", 0) or 0
    return next((scale for scale in (1, 2, 3, 4, 8) if made == 3 * scale * scale), None)


def _transformer_scale(shapes: Shapes) -> int | None:
    """SwinIR, HAT and kin: pixel shuffles of 2; 1 where the scale is not evident."""
    if "conv_first.weight" not in shapes or not _first(shapes, "attn.qkv.weight", "relative_position_bias_table"):
        return None
    return int(2 ** min(sum(bool(re.fullmatch(r"upsample\.\d+\.weight", key)) for key in shapes), 4))


def _text_encoder(shapes: Shapes, metadata: Texts, name: str) -> Facts | None:
    if _first(shapes, "vision_model.post_layernorm.weight"):
        return Facts(
            "preprocessor",
            problem="This is an image encoder, which IP-Adapters need in its folder.",
            hint="Put it with its config.json into a folder below clip_vision, as model.safetensors.",
        )
    if not _first(shapes, "text_model.final_layer_norm.weight", "encoder.final_layer_norm.weight"):
        return None
    return Facts(
        "preprocessor",
        problem="This is a text encoder: a part that a model brings along itself.",
        hint="Use the complete checkpoint, or the model's folder in diffusers format.",
    )


_LOOKS: tuple[Callable[[Shapes, Texts, str], Facts | None], ...] = (
    _checkpoint, _ip_adapter, _controlnet, _lora, _denoiser, _vae, _t2i_adapter, _upscaler, _embedding, _text_encoder,
)  # fmt: skip
