"""Pictures as they are shown: composited on a background, hue shifted, mirrored, in [-1, 1]."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from training.captions import COLOURS, HUES, Scene

_TO_YIQ = np.array([[0.299, 0.587, 0.114], [0.596, -0.274, -0.322], [0.211, -0.523, 0.312]], dtype=np.float32)
_TO_RGB = np.linalg.inv(_TO_YIQ).astype(np.float32)


def paint(picture: NDArray[np.uint8], hue: str) -> NDArray[np.float32]:
    """Premultiplied (H, W, 4) with every saturated colour turned to the named hue; lightness stays."""
    colour = picture[..., :3].astype(np.float32)
    target = np.array(_hue_rgb(HUES[hue]), dtype=np.float32)
    luma = colour @ _TO_YIQ[0]
    chroma = colour.max(-1) - colour.min(-1)
    tint = target - target @ _TO_YIQ[0]
    painted = np.clip(luma[..., None] + chroma[..., None] * tint, 0, picture[..., 3:])
    return np.concatenate([painted, picture[..., 3:]], axis=-1).astype(np.float32)


def _hue_rgb(degrees: float) -> tuple[float, float, float]:
    """Fully saturated colour of a hue, each channel 0 to 1."""
    sector = [abs((degrees / 60 + offset) % 6 - 3) - 1 for offset in (0, 4, 2)]
    red, green, blue = (min(1.0, max(0.0, value)) for value in sector)
    return red, green, blue


def show(picture: NDArray[np.uint8], scene: Scene) -> NDArray[np.float32]:
    """Premultiplied uint8 (H, W, 4) to the picture seen, float (3, H, W) in [-1, 1]."""
    layers = paint(picture, scene.hue) if scene.hue else picture.astype(np.float32)
    alpha = layers[..., 3:] / 255
    seen = layers[..., :3] + np.array(COLOURS[scene.background], dtype=np.float32) * (1 - alpha)
    if scene.mirrored:
        seen = seen[:, ::-1]
    return np.ascontiguousarray(seen.transpose(2, 0, 1) / 127.5 - 1, dtype=np.float32)


def batch(pictures: NDArray[np.uint8], rows: list[int], scenes: list[Scene]) -> Tensor:
    """Pictures at `rows` as shown by `scenes`: (B, 3, H, W) in [-1, 1]."""
    return torch.from_numpy(np.stack([show(pictures[row], scene) for row, scene in zip(rows, scenes, strict=True)]))
