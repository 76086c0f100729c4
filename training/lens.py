"""Show the denoiser the text tower's states evenly spread, then fold that view into its weights.

Nine tenths of the states' variance lie in half a dozen directions (mostly style and background colour); what
the thing *is* hides in the rest, where gradients are small. The denoiser therefore trains on whitened states
s' = (s - centre) spread^-1. The change is linear and is undone exactly in the text attention's keys and
values, so the exported model takes the tower's states as they are.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from diffusers import UNet2DConditionModel
from diffusers.models.attention_processor import Attention
from torch import Tensor

from training import running

FLOOR = 0.02  # variance below which a direction is taken for noise


@dataclass(frozen=True, slots=True)
class Lens:
    """The view: `centre` (D,) and the symmetric square root of the floored covariance, `spread` (D, D)."""

    centre: Tensor
    spread: Tensor

    def view(self, states: Tensor) -> Tensor:
        """States (B, T, D) whitened."""
        whitened: Tensor = (states - self.centre) @ torch.linalg.inv(self.spread)
        return whitened

    def put_on(self, module: UNet2DConditionModel) -> None:
        """Changes weights that expect plain states into weights that expect whitened ones."""
        self._turn(module, self.spread, 1.0)

    def take_off(self, module: UNet2DConditionModel) -> None:
        """Changes weights that expect whitened states into weights that expect plain ones."""
        self._turn(module, torch.linalg.inv(self.spread), -1.0)

    @torch.no_grad()
    def _turn(self, module: UNet2DConditionModel, matrix: Tensor, sign: float) -> None:
        for name, attention in module.named_modules():
            if name.endswith("attn2") and isinstance(attention, Attention):
                plain = attention.to_v.weight if sign > 0 else attention.to_v.weight @ matrix
                # A constant shift of all keys leaves the softmax alone; one of all values is an output bias.
                shift = attention.to_out[0].weight @ (plain @ self.centre)
                attention.to_out[0].bias += sign * shift
                attention.to_k.weight.copy_(attention.to_k.weight @ matrix)
                attention.to_v.weight.copy_(attention.to_v.weight @ matrix)


def fit(states: Tensor) -> Lens:
    """The lens for states (N, D)."""
    exact = states.double()
    centre = exact.mean(0)
    values, vectors = torch.linalg.eigh((exact - centre).T @ (exact - centre) / len(exact))
    spread = vectors @ torch.diag((values.clamp_min(0) + FLOOR).sqrt()) @ vectors.T
    return Lens(centre.float(), spread.float())


def of(work: Path) -> Lens | None:
    """The lens in `work/lens.safetensors`, if a denoiser was trained with one."""
    path = work / "lens.safetensors"
    if not path.exists():
        return None
    tensors, _ = running.load(path)
    return Lens(tensors["centre"], tensors["spread"])


def save(lens: Lens, work: Path) -> None:
    """Writes `work/lens.safetensors`."""
    running.save(work / "lens.safetensors", {"centre": lens.centre, "spread": lens.spread}, {})
