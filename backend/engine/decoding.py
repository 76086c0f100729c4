"""Finished latents to pixels, whole or in pieces where memory is short."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from backend.errors import Problem, SignetError
from backend.models.loader import LoadedModel
from backend.types import Pixels

HowToDecode = Literal["plain", "sliced", "tiled"]

TILE = 32
"""Latents along a side of a tile: 256 pixels with SD's autoencoders, a quarter of the memory that 512 take."""
OVERLAP = 0.25


class Overflowed(SignetError):
    """The numbers ran out of range: the picture would be black, and nobody has blackened it."""

    def __init__(self, what: str) -> None:
        detail = (
            f"The numbers of this picture overflowed in {what} (infinite or not a number); it would have come out "
            "black. This is a fault of the arithmetic: no filter or policy had a part in it."
        )
        hint = "Use precision fp32 or bf16, a lower guidance scale, or a VAE made for half precision."
        super().__init__(Problem("overflowed", "The picture could not be computed", detail, 500, hint=hint))


def decode(model: LoadedModel, latent: Tensor, *, measure: HowToDecode = "plain") -> Pixels:
    """A finished latent (1, C, h, w) to pixels (H, W, 3). Always alone, so that nothing depends on company.

    "sliced" decodes the rows of a batch one by one, which is what happens here anyway: bit-equal to "plain". "tiled"
    blends tiles of 32 latents over a quarter of their width. It is not exact: the autoencoder's group norms and its
    attention see a tile at a time, which shifts colours by several grey levels (8 on average with the starter's small
    autoencoder). The record of the picture should say that it was done. Raises Overflowed.
    """
    vae = model.vae
    if not torch.isfinite(latent).all():
        raise Overflowed("the denoiser")
    scaled = latent / vae.config.scaling_factor + (vae.config.get("shift_factor") or 0.0)
    with _pieces(vae, measure), torch.inference_mode():
        return to_pixels(vae.decode(scaled.to(vae.device, vae.dtype), return_dict=False)[0][0])


def to_pixels(image: Tensor) -> Pixels:
    """(3, H, W) in [-1, 1] to uint8 (H, W, 3). Quantised on the device: a quarter of the bytes cross to the host.

    Raises Overflowed where a number is none: clamped it would be a black pixel.
    """
    if not torch.isfinite(image).all():
        raise Overflowed("the autoencoder")
    rounded = ((image.float() / 2 + 0.5).clamp(0, 1) * 255).round().to(torch.uint8)
    return np.ascontiguousarray(rounded.permute(1, 2, 0).cpu().numpy())


@contextmanager
def _pieces(vae: Any, measure: HowToDecode) -> Iterator[None]:
    """The autoencoder set to work in pieces, and set back afterwards: other pictures are decoded plainly."""
    before = {
        name: getattr(vae, name) for name in ("tile_latent_min_size", "tile_sample_min_size", "tile_overlap_factor")
    }
    try:
        if measure == "sliced":
            vae.enable_slicing()
        elif measure == "tiled":
            vae.enable_tiling()
            vae.tile_latent_min_size = min(TILE, before["tile_latent_min_size"])
            vae.tile_sample_min_size = vae.tile_latent_min_size * 2 ** (len(vae.config.block_out_channels) - 1)
            vae.tile_overlap_factor = OVERLAP
        yield
    finally:
        vae.disable_slicing()
        vae.disable_tiling()
        for name, value in before.items():
            setattr(vae, name, value)
