"""LoRA files: read in every common layout, written in kohya's. Safetensors only, checked before they are opened."""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from backend.engine.lora_deltas import Tensors
from backend.errors import UnreadableModel
from backend.models import formats

# How a tensor's name ends -> its role. The longest ending that fits counts.
_ROLES = {
    ".lora_up.weight": "up", ".lora_down.weight": "down", ".lora_mid.weight": "mid",
    ".lora_B.weight": "up", ".lora_A.weight": "down",
    ".lora.up.weight": "up", ".lora.down.weight": "down",
    ".lora_linear_layer.up.weight": "up", ".lora_linear_layer.down.weight": "down",
    ".alpha": "alpha", ".lora.alpha": "alpha",
    ".dora_scale": "dora", ".lora_magnitude_vector": "dora", ".lora_magnitude_vector.weight": "dora",
    ".diff": "diff", ".diff_b": "diff_b", ".w_norm": "diff", ".b_norm": "diff_b",
    **{f".{role}": role for role in (
        "hada_w1_a", "hada_w1_b", "hada_w2_a", "hada_w2_b", "hada_t1", "hada_t2",
        "lokr_w1", "lokr_w1_a", "lokr_w1_b", "lokr_w2", "lokr_w2_a", "lokr_w2_b", "lokr_t2",
    )},
}  # fmt: skip
_FOREIGN = {
    ".oft_blocks": "an OFT", ".oft_diag": "an OFT", ".a1.weight": "a GLoRA", ".on_input": "an (IA)3",
    "string_to_param": "a textual inversion", "emb_params": "a textual inversion",
}  # fmt: skip
# Files of early diffusers: "...attn1.processor.to_q_lora.down.weight".
_PROCESSOR = re.compile(r"\.processor\.(to_q|to_k|to_v|to_out)_lora\.(up|down)\.weight$")
_PEFT_CONFIG = "lora_adapter_metadata"


@dataclass(frozen=True, slots=True)
class Adapter:
    """A LoRA file in memory: the tensors of each layer it names, on the CPU. `name` is what people call it."""

    name: str
    layers: Mapping[str, Tensors]
    metadata: Mapping[str, str]


def read_adapter(path: Path, name: str) -> Adapter:
    """A LoRA of any known layout. Raises UnreadableModel, which names what is wrong with the file."""
    if path.suffix.lower() in formats.PICKLE_SUFFIXES:
        detail = f"{path.suffix} files are pickles, which could run code when opened."
        raise UnreadableModel(name, detail, "Look for a .safetensors version of this LoRA.")
    try:
        header = formats.read_header(path, name)
        with safe_open(path, "pt") as file:
            metadata = dict(file.metadata() or {})
            named = {key: (role_of(key), file.get_tensor(key)) for key in header if role_of(key) is not None}
    except (OSError, SafetensorError) as error:
        raise UnreadableModel(name, f"The file cannot be read: {str(error)[:120]}.", "Download it again.") from error
    layers: dict[str, dict[str, Tensor]] = {}
    for key, (found, tensor) in named.items():
        assert found is not None
        layer, role = found
        layers.setdefault(layer, {})[role] = _checked(name, key, tensor)
    if not any(set(tensors) - {"alpha"} for tensors in layers.values()):
        kind = next((what for mark, what in _FOREIGN.items() if any(mark in key for key in header)), None)
        detail = f"The file is {kind} file, which cannot be used as a LoRA." if kind else "No LoRA is in this file."
        raise UnreadableModel(name, detail, "LoRA, LoCon, LoHa, LoKr, DoRA and full differences can be used.")
    for layer, scale in _peft_scales(path, metadata, layers).items():
        layers[layer]["scale"] = torch.tensor(scale)
    return Adapter(name, layers, metadata)


def role_of(key: str) -> tuple[str, str] | None:
    """(layer, role) of a tensor's name, None for names that say nothing to us."""
    key = key.replace(".default.", ".") if ".lora_" in key else key
    key = key.removesuffix(".default")
    if found := _PROCESSOR.search(key):
        layer = key[: found.start()] + "." + found[1].replace("to_out", "to_out.0")
        return layer, found[2]
    ends = [end for end in _ROLES if key.endswith(end)]
    if not ends:
        return None
    end = max(ends, key=len)
    return key[: -len(end)], _ROLES[end]


def _checked(name: str, key: str, tensor: Tensor) -> Tensor:
    if not tensor.ndim:
        tensor = tensor.float()  # an alpha may be a whole number
    if not tensor.is_floating_point():
        raise UnreadableModel(name, f'The tensor "{key[:80]}" holds {tensor.dtype} numbers, not floating-point ones.')
    # float8 knows no isfinite; float32 holds every value of the smaller kinds exactly.
    tensor = tensor.float() if tensor.element_size() == 1 else tensor
    if not bool(tensor.isfinite().all()):
        hint = "The training failed; a picture made with it would be black."
        raise UnreadableModel(name, f'The tensor "{key[:80]}" holds values that are not numbers.', hint)
    return tensor


def _peft_scales(path: Path, metadata: Mapping[str, str], layers: Mapping[str, Tensors]) -> dict[str, float]:
    """alpha / rank where PEFT wrote it beside the tensors: in the metadata (diffusers) or in adapter_config.json."""
    try:
        if _PEFT_CONFIG in metadata:
            stated = json.loads(metadata[_PEFT_CONFIG])
            configs = {part: _under(stated, f"{part}.") for part in ("unet", "text_encoder", "text_encoder_2")}
        elif path.name == "adapter_model.safetensors" and path.with_name("adapter_config.json").is_file():
            configs = {"": formats.read_json(path.with_name("adapter_config.json"))}
        else:
            return {}
    except (ValueError, RecursionError):
        return {}
    scales = {}
    for layer, tensors in layers.items():
        part = "" if "" in configs else layer.removeprefix("base_model.model.").partition(".")[0]
        config = configs.get(part, {})
        if config and "alpha" not in tensors and "down" in tensors and tensors["down"].ndim:
            scales[layer] = _peft_scale(config, layer, tensors["down"].shape[0])
    return scales


def _under(stated: Any, stem: str) -> dict[str, Any]:
    items = stated.items() if isinstance(stated, dict) else ()
    return {key.removeprefix(stem): value for key, value in items if str(key).startswith(stem)}


def _peft_scale(config: Mapping[str, Any], layer: str, rank: int) -> float:
    pattern = config.get("alpha_pattern")
    patterns = pattern.items() if isinstance(pattern, dict) else ()
    alpha = next((value for end, value in patterns if layer.endswith(str(end))), config.get("lora_alpha"))
    if isinstance(alpha, bool) or not isinstance(alpha, int | float) or not rank:
        return 1.0
    return float(alpha) / (rank**0.5 if config.get("use_rslora") else rank)


def write_adapter(path: Path, layers: Mapping[str, Tensors], metadata: Mapping[str, str]) -> str:
    """A kohya file, whole or not at all: {kohya layer name: {up, down, alpha}}. Returns its sshs_model_hash.

    The hash is the sha256 of everything behind the header (AutoV3 is its first 12 digits), and part of the metadata.
    """
    endings = {"up": ".lora_up.weight", "down": ".lora_down.weight", "alpha": ".alpha"}
    tensors = {
        layer + endings[role]: tensor.detach().to("cpu").contiguous()
        for layer, roles in layers.items()
        for role, tensor in roles.items()
    }
    plain = safetensors.torch.save(tensors)
    digest = hashlib.sha256(plain[8 + int.from_bytes(plain[:8], "little") :]).hexdigest()
    write_whole(path, safetensors.torch.save(tensors, {**metadata, "sshs_model_hash": digest}))
    return digest


def write_whole(path: Path, data: bytes) -> None:
    """Under its name there is the old file or the new one, never half of one, whenever the power goes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(path.name + ".part")
    with part.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    part.replace(path)
