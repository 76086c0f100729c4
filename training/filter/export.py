"""Writes the folder that safety.prompt_filter.classifier reads: eight-bit weights, vocabulary, calibration, hashes."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.numpy import load, save
from torch import nn

from training.filter.sources import HEADS
from training.filter.student import HEADS as ATTENTION_HEADS
from training.filter.student import Block, Student

ID = "signet-filter-2"
_NAMES = {
    "pieces": "pieces.weight",
    "widen": "widen.weight",
    "places": "places",
    "input_scale": "input_norm.weight",
    "input_shift": "input_norm.bias",
    "head": "head.weight",
    "head_bias": "head.bias",
}
_MATRIX = re.compile(r"widen|head|layer\d\.(join|mix|up|down)")
"""Matrices that the file holds turned; matched against whole names."""


def weights(student: Student) -> dict[str, NDArray[Any]]:
    """Float32, named and turned as the numpy network has them: (inputs, outputs)."""
    found = {
        "pieces": _array(student.pieces.weight),
        "widen": _array(student.widen.weight).T,
        "places": _array(student.places),
        "input_scale": _array(student.input_norm.weight),
        "input_shift": _array(student.input_norm.bias),
        "head": _array(student.head.weight).T,
        "head_bias": _array(student.head.bias),
    }
    for number, block in enumerate(student.blocks):
        assert isinstance(block, Block)
        for name, layer in (("join", block.join), ("mix", block.mix), ("up", block.up), ("down", block.down)):
            found[f"layer{number}.{name}"] = _array(layer.weight).T
            found[f"layer{number}.{name}_bias"] = _array(layer.bias)
        for name, norm in (("mix", block.mix_norm), ("out", block.out_norm)):
            found[f"layer{number}.{name}_scale"] = _array(norm.weight)
            found[f"layer{number}.{name}_shift"] = _array(norm.bias)
    return found


def compact(tensors: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    """Matrices of the layers as eight bits with a scale for each output, the pieces with one for each piece, the rest
    as float16."""
    found: dict[str, NDArray[Any]] = {}
    for name, values in tensors.items():
        if name == "pieces" or name.endswith((".join", ".mix", ".up", ".down")):
            scale = np.maximum(np.abs(values).max(int(name == "pieces")), 1e-8) / 127
            found[name] = np.round(values / (scale[:, None] if name == "pieces" else scale)).astype(np.int8)
            found[f"{name}.scale"] = scale.astype(np.float32)
        else:
            found[name] = values.astype(np.float16)
    return found


def read(folder: Path, pieces: Sequence[str]) -> dict[str, torch.Tensor]:
    """The state of a Student from a folder that `write` made, rounded as the file is. ValueError if its word pieces are
    others."""
    if (folder / "vocabulary.txt").read_text(encoding="utf-8").splitlines() != list(pieces):
        raise ValueError(f"The network in {folder} has other word pieces.")
    given = load((folder / "weights.safetensors").read_bytes())
    found: dict[str, torch.Tensor] = {}
    for name, values in given.items():
        if (ours := _named(name)) is not None:
            wide = values.astype(np.float32)
            if f"{name}.scale" in given:
                scale = given[f"{name}.scale"]
                wide = wide * (scale[:, None] if name == "pieces" else scale)
            turned = wide.T if _MATRIX.fullmatch(name) else wide
            found[ours] = torch.from_numpy(np.ascontiguousarray(turned))
    return found


def _named(name: str) -> str | None:
    """What the Student calls a tensor of the file, None for what is not the network's."""
    if match := re.fullmatch(r"layer(\d)\.(\w+?)(?:_(bias|scale|shift))?", name):
        number, part, kind = match.groups()
        norm = "_norm" if kind in ("scale", "shift") else ""
        return f"blocks.{number}.{part}{norm}.{'bias' if kind in ('bias', 'shift') else 'weight'}"
    return _NAMES.get(name)


def write(
    folder: Path,
    tensors: Mapping[str, NDArray[Any]],
    exact: Mapping[str, NDArray[Any]],
    vocabulary: Sequence[str],
    calibration: Mapping[str, Sequence[float]],
    thresholds: Mapping[str, float],
    recipe: Mapping[str, object],
) -> None:
    """`tensors` are made compact, `exact` are kept as they are; `recipe` says how the weights were made."""
    folder.mkdir(parents=True, exist_ok=True)
    files = {
        # safetensors writes memory as it lies: turned matrices must be laid out anew.
        "weights.safetensors": save({n: np.ascontiguousarray(v) for n, v in {**compact(tensors), **exact}.items()}),
        "vocabulary.txt": "".join(f"{piece}\n" for piece in vocabulary).encode(),
    }
    for name, data in files.items():
        (folder / name).write_bytes(data)
    config = {
        "id": ID,
        "files": {name: hashlib.sha256(data).hexdigest() for name, data in files.items()},
        "heads": HEADS,
        "attention_heads": ATTENTION_HEADS,
        "calibration": {name: [round(float(v), 5) for v in values] for name, values in calibration.items()},
        "thresholds": {name: round(float(value), 4) for name, value in thresholds.items()},
        "recipe": recipe,
    }
    (folder / "config.json").write_text(json.dumps(config, indent=1) + "\n", encoding="utf-8")


def _array(parameter: nn.Parameter | Any) -> NDArray[np.float32]:
    found: NDArray[np.float32] = parameter.detach().numpy()
    return found
