"""Pictures for requests: drawn in code, put where the engine finds them."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np

from backend import images
from backend.types import Pixels, Relation, SourceImage


def gradient(width: int = 32, height: int = 32, seed: int = 0) -> Pixels:
    """Colours that run across the picture and some noise, so that no two pixels' neighbourhoods are alike."""
    rows, columns = np.mgrid[0:height, 0:width]
    base = np.stack([columns * 255 / max(width - 1, 1), rows * 255 / max(height - 1, 1), 128 + 0 * rows], axis=-1)
    noise = np.random.default_rng(seed).integers(0, 24, (height, width, 3))
    return np.clip(base + noise, 0, 255).astype(np.uint8)


def mask(width: int, height: int, box: tuple[int, int, int, int]) -> Pixels:
    """White within `box` (left, top, right, bottom), black elsewhere."""
    pixels = np.zeros((height, width, 3), np.uint8)
    left, top, right, bottom = box
    pixels[top:bottom, left:right] = 255
    return pixels


def put(pixels: Pixels, folder: Path, relation: Relation = "parent") -> SourceImage:
    """A PNG in `folder`, named as the input store would name it."""
    data = images.encode_png(pixels)
    name = hashlib.sha256(data).hexdigest()
    path = folder / name
    path.write_bytes(data)
    return SourceImage(name, str(path), "image/png", relation)
