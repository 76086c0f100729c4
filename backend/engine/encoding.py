"""Pixels to latents and token ids to states, one picture at a time: what a training learns from."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import Any

import numpy as np
import torch
from torch import Tensor

from backend.engine.lora_keys import text_encoders
from backend.models.loader import LoadedModel
from backend.types import Pixels


def encode(model: LoadedModel, pixels: Pixels) -> Tensor:
    """(H, W, 3) to (1, C, h, w), float32: the mode of the autoencoder's distribution, scaled."""
    flat = torch.from_numpy(np.array(pixels)).permute(2, 0, 1)[None]
    signal = (flat.float() / 127.5 - 1).to(model.device, model.vae.dtype)
    latent: Tensor = model.vae.encode(signal).latent_dist.mode().float()
    scaled: Tensor = (latent - (model.vae.config.get("shift_factor") or 0.0)) * model.vae.config.scaling_factor
    return scaled


def said(
    model: LoadedModel, ids: Sequence[Sequence[int]], around: Callable[[int, Any], AbstractContextManager[None]]
) -> tuple[Tensor, Tensor | None]:
    """What the denoiser is told by the token ids of each text encoder: (1, 77, dim), and SDXL's pooled (1, dim).

    Each encoder runs within `around(its number, itself)`.
    """
    states, pooled = [], None
    for number, (encoder, own) in enumerate(zip(text_encoders(model), ids, strict=True)):
        with around(number, encoder):
            out = encoder(torch.tensor([own], device=model.device), output_hidden_states=True)
        # SDXL listens to the layer before the last, as it is (see backend.engine.conditioning).
        states.append(out.hidden_states[-2] if model.is_sdxl else out.last_hidden_state)
        pooled = getattr(out, "text_embeds", pooled)
    return torch.cat(states, dim=-1), pooled if model.is_sdxl else None
