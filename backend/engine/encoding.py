"""Pixels to latents, one picture at a time."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from backend.models.loader import LoadedModel
from backend.types import Pixels


def encode(model: LoadedModel, pixels: Pixels) -> Tensor:
    """(H, W, 3) to (1, C, h, w), float32: the mode of the autoencoder's distribution, scaled."""
    flat = torch.from_numpy(np.array(pixels)).permute(2, 0, 1)[None]
    signal = (flat.float() / 127.5 - 1).to(model.device, model.vae.dtype)
    latent: Tensor = model.vae.encode(signal).latent_dist.mode().float()
    scaled: Tensor = (latent - (model.vae.config.get("shift_factor") or 0.0)) * model.vae.config.scaling_factor
    return scaled
