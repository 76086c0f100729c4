"""Stable Diffusion 1.x and 2.x (and the starter model, which has their architecture): one batched denoiser forward."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from backend.models.loader import LoadedModel
from backend.types import Bucket, Pixels


def latent_shape(model: LoadedModel, width: int, height: int) -> tuple[int, int, int, int]:
    """(1, channels, height, width) in latents for a size in pixels."""
    factor = model.latent_factor
    return 1, int(model.unet.config.in_channels), height // factor, width // factor


def denoise(
    model: LoadedModel, inputs: Sequence[Tensor], timesteps: Sequence[float], texts: Sequence[Tensor], bucket: Bucket
) -> Tensor:
    """One forward for rows of different requests: (1, C, h, w) each -> (rows, C, h, w).

    The batch is filled up with empty rows to exactly `bucket`, so that kernels, and with them the last bits of every
    row, depend on the bucket and never on who else is in it.
    """
    missing = bucket - len(inputs)
    rows = torch.cat([*inputs, *(torch.zeros_like(inputs[0]),) * missing])
    times = torch.tensor([*timesteps, *(0.0,) * missing], device=model.device, dtype=torch.float32)
    text = torch.cat([*texts, *(torch.zeros_like(texts[0]),) * missing])
    output: Tensor = model.unet(rows.to(model.dtype), times, encoder_hidden_states=text, return_dict=False)[0]
    return output[: len(inputs)].float()


def decode(model: LoadedModel, latent: Tensor) -> Pixels:
    """A finished latent (1, C, h, w) to pixels (H, W, 3). Always alone, so that nothing depends on company."""
    scaled = (latent / model.vae.config.scaling_factor).to(model.dtype)
    image = model.vae.decode(scaled, return_dict=False)[0][0].float()
    # Quantised on the device: a quarter of the bytes cross to the host.
    rounded = ((image / 2 + 0.5).clamp(0, 1) * 255).round().to(torch.uint8)
    return np.ascontiguousarray(rounded.permute(1, 2, 0).cpu().numpy())
