"""All randomness of one picture: from its seeds alone and always from the CPU, so that no device changes it."""

from __future__ import annotations

import torch
from torch import Tensor

from backend.requests import seed_of
from backend.types import GenerationRequest

Shape4 = tuple[int, int, int, int]


class Noise:
    """`first` starts a pass, `draw` is what samplers add on the way; both come from one generator, in order."""

    def __init__(self, request: GenerationRequest, index: int, factor: int, device: torch.device) -> None:
        self._generator = torch.Generator("cpu").manual_seed(seed_of(request, index))
        self._variation = request.variation
        self._index = index
        self._from = request.resize_from
        self._factor = factor
        self._device = device

    def first(self, shape: Shape4) -> Tensor:
        """Standard normal noise (1, C, h, w), turned towards the variation's and laid out for another size if asked."""
        drawn = _laid(self._generator, shape, self._from, self._factor)
        if self._variation:
            other = torch.Generator("cpu").manual_seed(self._variation.seed + self._index)
            drawn = slerp(drawn, _laid(other, shape, self._from, self._factor), self._variation.strength)
        return drawn.to(self._device)

    def draw(self, shape: Shape4) -> Tensor:
        return torch.randn(shape, generator=self._generator).to(self._device)


def _laid(generator: torch.Generator, shape: Shape4, size: tuple[int, int] | None, factor: int) -> Tensor:
    """Noise for `shape`; with `size` in pixels, noise for that size is laid into its middle (A1111's seed resize)."""
    if size is None:
        return torch.randn(shape, generator=generator)
    height, width = size[1] // factor, size[0] // factor
    inner = torch.randn((shape[0], shape[1], height, width), generator=generator)
    whole = torch.randn(shape, generator=generator)
    rows, columns = min(height, shape[2]), min(width, shape[3])
    top, left = (shape[2] - rows) // 2, (shape[3] - columns) // 2
    from_top, from_left = (height - rows) // 2, (width - columns) // 2
    whole[..., top : top + rows, left : left + columns] = inner[
        ..., from_top : from_top + rows, from_left : from_left + columns
    ]
    return whole


def slerp(low: Tensor, high: Tensor, share: float) -> Tensor:
    """From `low` towards `high` along the sphere, so that the result is as noisy as both (Shoemake 1985)."""
    cosine = torch.sum(low / low.norm() * (high / high.norm()))
    if cosine.abs() > 0.9995:
        return low + share * (high - low)
    angle = torch.arccos(cosine)
    return (torch.sin((1 - share) * angle) * low + torch.sin(share * angle) * high) / torch.sin(angle)
