"""A latent to a small picture by a linear map: good enough to see the picture form, and nearly free."""

from __future__ import annotations

import logging
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from backend.models.loader import LoadedModel
from backend.types import Pixels

# Latent to RGB for the SD 1.x autoencoder, fitted by the ComfyUI and InvokeAI communities; rows are latent channels.
_SD1 = torch.tensor(
    [[0.3512, 0.2297, 0.3227], [0.3250, 0.4974, 0.2350], [-0.2829, 0.1762, 0.2721], [-0.2120, -0.2616, -0.7177]]
)
_LOG = logging.getLogger(__name__)
LARGEST_PATCH = 4
"""Pixels of preview per latent along a side: a preview shows what forms, and is no substitute for the picture."""
_FITTED = "latent_rgb.safetensors"


class LatentToRgb:
    """`weight` (C, 3*p*p), `bias` (3*p*p,): one latent pixel gives a p x p patch of RGB in [-1, 1]."""

    def __init__(self, weight: Tensor, bias: Tensor) -> None:
        self._weight, self._bias = weight.float().cpu(), bias.float().cpu()
        self._patch = round((weight.shape[1] / 3) ** 0.5)

    def __call__(self, latent: Tensor) -> Pixels:
        """(1, C, h, w) to pixels (h*p, w*p, 3)."""
        rows, columns = latent.shape[-2:]
        flat = latent[0].float().cpu().permute(1, 2, 0) @ self._weight + self._bias
        patches = flat.reshape(rows, columns, 3, self._patch, self._patch).permute(0, 3, 1, 4, 2)
        image = patches.reshape(rows * self._patch, columns * self._patch, 3)
        return ((image / 2 + 0.5).clamp(0, 1) * 255).round().to(torch.uint8).numpy()


def preview_map(model: LoadedModel) -> LatentToRgb:
    """The map that comes with the model, the known one for SD's 4 channels, or one fitted by decoding noise."""
    file = Path(model.info.path) / _FITTED
    if model.info.layout == "diffusers" and file.is_file():
        try:
            tensors = load_file(file)
            return _checked(tensors["weight"], tensors["bias"], model.vae.config.latent_channels)
        except (SafetensorError, OSError, KeyError, ValueError):  # only previews depend on it
            _LOG.warning("%s is damaged; a map is fitted instead", file)
    if model.latent_channels == 4 and model.latent_factor == 8 and not model.is_sdxl:
        return LatentToRgb(_SD1, torch.zeros(3))
    return _fit(model)


def _checked(weight: Tensor, bias: Tensor, channels: int) -> LatentToRgb:
    """Raises ValueError unless the tensors are a map of this many channels to patches of at most LARGEST_PATCH."""
    sizes = [3 * side * side for side in range(1, LARGEST_PATCH + 1)]
    if weight.ndim != 2 or len(weight) != channels or weight.shape[1] not in sizes or bias.shape != weight.shape[1:]:
        raise ValueError(f"a map of shape {tuple(weight.shape)} does not fit {channels} channels")
    return LatentToRgb(weight, bias)


def _fit(model: LoadedModel) -> LatentToRgb:
    """Least squares between random latents and the mean colours the autoencoder makes of their pixels."""
    channels, factor = model.vae.config.latent_channels, model.latent_factor
    latents = torch.randn(2, channels, 8, 8, generator=torch.Generator().manual_seed(0)).to(
        model.device, model.vae.dtype
    )
    with torch.inference_mode():
        image = model.vae.decode(latents / model.vae.config.scaling_factor, return_dict=False)[0].float()
    colours = torch.nn.functional.avg_pool2d(image, factor).permute(0, 2, 3, 1).reshape(-1, 3).cpu()
    points = latents.float().permute(0, 2, 3, 1).reshape(-1, channels).cpu()
    design = torch.cat([points, torch.ones(len(points), 1)], dim=1)
    solution = torch.linalg.lstsq(design, colours).solution
    return LatentToRgb(solution[:-1], solution[-1])
