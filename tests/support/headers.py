"""Safetensors files made of shapes: whole and sound, with weights of zeros, without torch."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

Shapes = Mapping[str, tuple[int, ...]]

SD1_KEY = "cond_stage_model.transformer.text_model.final_layer_norm.weight"
_TO_K = "model.diffusion_model.input_blocks.1.1.transformer_blocks.0.attn2.to_k.weight"
CHECKPOINTS: Mapping[str, Shapes] = {
    "sd1": {SD1_KEY: (4,), _TO_K: (2, 768), "model.diffusion_model.input_blocks.0.0.weight": (2, 4, 3, 3)},
    "sd2": {"cond_stage_model.model.ln_final.weight": (4,), _TO_K: (2, 1024)},
    "sdxl": {
        "conditioner.embedders.1.model.ln_final.weight": (4,),
        _TO_K: (2, 2048),
    },
    "sdxl-refiner": {"conditioner.embedders.0.model.ln_final.weight": (4,), _TO_K: (2, 1280)},
}
LORA = "lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_attn2_to_k"


def lora(width: int = 768) -> Shapes:
    """As kohya's scripts save one."""
    return {f"{LORA}.lora_down.weight": (1, width), f"{LORA}.lora_up.weight": (2, 1), f"{LORA}.alpha": ()}


def encoded(shapes: Shapes, metadata: Mapping[str, Any] | None = None) -> bytes:
    header: dict[str, Any] = {} if metadata is None else {"__metadata__": dict(metadata)}
    end = 0
    for name, shape in shapes.items():
        begin, end = end, end + 2 * math.prod(shape)
        header[name] = {"dtype": "F16", "shape": list(shape), "data_offsets": [begin, end]}
    raw = json.dumps(header).encode()
    return len(raw).to_bytes(8, "little") + raw + bytes(end)


def save(path: Path, shapes: Shapes, metadata: Mapping[str, Any] | None = None) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(encoded(shapes, metadata))
    return path


def save_json(path: Path, **value: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value))
    return path


def save_pipeline(folder: Path, kind: str, parts: Mapping[str, tuple[str, str]], **configs: Mapping[str, Any]) -> Path:
    """A diffusers folder: `parts` are {name: (library, class)}; those with a config hold weights too."""
    save_json(folder / "model_index.json", _class_name=kind, **{name: list(part) for name, part in parts.items()})
    for name, config in configs.items():
        save_json(folder / name / "config.json", **config)
        save(folder / name / "model.safetensors", {"w": (2,)})
    return folder
