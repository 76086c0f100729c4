"""The starter's two towers, text and picture into one space of meaning, computed with numpy: the studio has no torch.

A stock CLIPModel (Radford et al. 2021): pre-norm transformers with quick GELU; a text is read at its end token, a
picture at its class token; both are projected and brought to length 1. `training/vision.py` makes the files.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from safetensors import SafetensorError, safe_open

from backend.errors import SignetError, Unavailable
from backend.models import vocabulary
from backend.types import Pixels

Floats = NDArray[np.float32]
_HINT = "The files come with Signet: restore them (git checkout models), or unpack the release again."


@dataclass(frozen=True, slots=True)
class _Shape:
    heads: int
    layers: int
    epsilon: float


class Towers:
    """Texts and pictures to vectors (256,) of length 1. Loaded when constructed (about 0.1 s); safe to share.

    `version` names the picture tower: vectors of another version lie in another space. Raises Unavailable if files are
    missing or damaged, or were not trained together.
    """

    def __init__(self, starter: Path, vision: Path) -> None:
        try:
            text, _ = _read(starter / "text_encoder" / "model.safetensors")
            sight, facts = _read(vision / "model.safetensors")
            self.version = hashlib.sha256((vision / "model.safetensors").read_bytes()).hexdigest()[:16]
            told = json.loads((starter / "text_encoder" / "config.json").read_text(encoding="utf-8"))
            seen = json.loads((vision / "config.json").read_text(encoding="utf-8"))
            self._tokenizer = vocabulary.tokenizer(starter / "tokenizer")
            self._end, self._start = int(told["eos_token_id"]), int(told["bos_token_id"])
            self._most, self.side = int(told["max_position_embeddings"]), int(seen["image_size"])
            self._patch = int(seen["patch_size"])
            self._text_shape, self._sight_shape = _shape(told), _shape(seen)
        except (OSError, ValueError, KeyError, TypeError, SafetensorError, SignetError) as error:
            detail = f"The towers of meaning cannot be read ({type(error).__name__}: {str(error)[:200]})."
            raise Unavailable(detail, _HINT) from error
        if facts.get("text_encoder_sha256") != trunk_sha256(text):
            raise Unavailable(f"The towers in {vision.name} and {starter.name} were not trained together.", _HINT)
        self._text = {name: values.astype(np.float32) for name, values in text.items()}
        self._sight = {name.removeprefix("vision_model."): values.astype(np.float32) for name, values in sight.items()}

    def of_text(self, text: str) -> Floats:
        """What is beyond 77 tokens is not read, as with CLIP."""
        clean = text.encode("utf-8", errors="replace").decode("utf-8")
        ids = self._tokenizer.encode(clean, add_special_tokens=False).ids[: self._most - 2]
        # Attention looks back only, so nothing behind the end token needs to be computed.
        row = [self._start, *ids, self._end]
        weights = self._text
        states = weights["embeddings.token_embedding.weight"][row]
        states = states + weights["embeddings.position_embedding.weight"][: len(row)]
        ahead = np.triu(np.full((len(row), len(row)), -np.inf, dtype=np.float32), 1)
        states = _transformer(states, weights, self._text_shape, ahead)
        end = _norm(states[-1], weights, "final_layer_norm", self._text_shape.epsilon)
        return _unit(self._sight["text_projection.weight"] @ end)

    def of_picture(self, pixels: Pixels) -> Floats:
        """uint8 RGB (H, W, 3); of a picture that is not square the middle is seen."""
        weights, shape = self._sight, self._sight_shape
        count, patch = self.side // self._patch, self._patch
        seen = prepare(pixels, self.side).reshape(3, count, patch, count, patch).transpose(1, 3, 0, 2, 4)
        kernel = weights["embeddings.patch_embedding.weight"]
        patches = seen.reshape(count * count, -1) @ kernel.reshape(len(kernel), -1).T
        states = np.concatenate([weights["embeddings.class_embedding"][None], patches])
        states = states + weights["embeddings.position_embedding.weight"]
        states = _norm(states, weights, "pre_layrnorm", shape.epsilon)  # the library's own spelling
        states = _transformer(states, weights, shape, np.zeros((1, 1), dtype=np.float32))
        first = _norm(states[0], weights, "post_layernorm", shape.epsilon)
        return _unit(weights["visual_projection.weight"] @ first)


def prepare(pixels: Pixels, side: int) -> Floats:
    """uint8 RGB (H, W, 3) to (3, side, side) in [-1, 1]: the square in the middle, averaged down."""
    height, width = pixels.shape[:2]
    short = min(height, width)
    left, top = (width - short) / 2, (height - short) / 2
    # Cut out first: a very wide picture must not become a much wider one on the way.
    square = (left, top, left + short, top + short)
    image = Image.fromarray(pixels).resize((side, side), Image.Resampling.BOX, box=square)
    return np.asarray((np.asarray(image, dtype=np.float32) / 127.5 - 1).transpose(2, 0, 1))


def trunk_sha256(tensors: Mapping[str, NDArray[Any]]) -> str:
    """Of a text tower without its projection, by names and fp16 values: the same however its file is laid out."""
    digest = hashlib.sha256()
    for name in sorted(tensors):
        digest.update(name.encode() + tensors[name].astype("<f2").tobytes())
    return digest.hexdigest()


def _read(path: Path) -> tuple[dict[str, NDArray[Any]], Mapping[str, str]]:
    with safe_open(path, "np") as file:
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  (not a dict)
        return {name.removeprefix("text_model."): values for name, values in tensors.items()}, file.metadata() or {}


def _shape(config: Mapping[str, Any]) -> _Shape:
    if config["hidden_act"] != "quick_gelu":
        raise ValueError(f"activation {config['hidden_act']}")
    return _Shape(int(config["num_attention_heads"]), int(config["num_hidden_layers"]), float(config["layer_norm_eps"]))


def _transformer(states: Floats, weights: Mapping[str, Floats], shape: _Shape, mask: Floats) -> Floats:
    """States (T, D) through all layers; `mask` (T, T) is added to the attention's logits."""
    for number in range(shape.layers):
        layer = f"encoder.layers.{number}"
        normed = _norm(states, weights, f"{layer}.layer_norm1", shape.epsilon)
        states = states + _attention(normed, weights, f"{layer}.self_attn", shape.heads, mask)
        inner = _linear(_norm(states, weights, f"{layer}.layer_norm2", shape.epsilon), weights, f"{layer}.mlp.fc1")
        inner = inner * (1 + np.tanh(np.float32(0.851) * inner)) / 2  # x * sigmoid(1.702 x)
        states = states + _linear(inner, weights, f"{layer}.mlp.fc2")
    return states


def _attention(states: Floats, weights: Mapping[str, Floats], name: str, heads: int, mask: Floats) -> Floats:
    length, width = states.shape
    query, key, value = (
        _linear(states, weights, f"{name}.{part}_proj").reshape(length, heads, -1).transpose(1, 0, 2) for part in "qkv"
    )
    logits = query @ key.transpose(0, 2, 1) / np.float32(np.sqrt(width // heads)) + mask
    shares = np.exp(logits - logits.max(axis=-1, keepdims=True))
    mixed = (shares / shares.sum(axis=-1, keepdims=True)) @ value
    return _linear(mixed.transpose(1, 0, 2).reshape(length, width), weights, f"{name}.out_proj")


def _linear(states: Floats, weights: Mapping[str, Floats], name: str) -> Floats:
    return states @ weights[f"{name}.weight"].T + weights[f"{name}.bias"]


def _norm(states: Floats, weights: Mapping[str, Floats], name: str, epsilon: float) -> Floats:
    centred = states - states.mean(axis=-1, keepdims=True)
    scale = np.sqrt((centred**2).mean(axis=-1, keepdims=True) + np.float32(epsilon))
    return np.asarray(centred / scale * weights[f"{name}.weight"] + weights[f"{name}.bias"], dtype=np.float32)


def _unit(vector: Floats) -> Floats:
    return np.asarray(vector / max(float(np.linalg.norm(vector)), 1e-12), dtype=np.float32)
