"""Stable Diffusion 1.x, 2.x and XL (and the starter model): one denoiser forward for rows of different requests."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from backend.models.loader import LoadedModel
from backend.types import Bucket


@dataclass(frozen=True, slots=True)
class Row:
    """One line of a batch: `latent` (1, C, h, w) ready for the model, `text` (1, tokens, dim); `pooled` and `ids` for
    SDXL. `conditional` tells the rows that follow the prompt from those of the negative prompt."""

    latent: Tensor
    time: float
    text: Tensor
    pooled: Tensor | None = None
    ids: tuple[float, ...] = ()
    conditional: bool = True


@dataclass(frozen=True, slots=True)
class Batch:
    """Rows as tensors, without padding. `added` is SDXL's further conditioning."""

    latents: Tensor
    times: Tensor
    texts: Tensor
    added: Mapping[str, Tensor] | None

    @classmethod
    def of(cls, model: LoadedModel, rows: Sequence[Row]) -> Batch:
        added = None
        pooled = [row.pooled for row in rows if row.pooled is not None]
        if len(pooled) == len(rows) and rows[0].ids:
            ids = torch.tensor([row.ids for row in rows], device=model.device, dtype=model.dtype)
            added = {"text_embeds": torch.cat(pooled).to(model.dtype), "time_ids": ids}
        return cls(
            torch.cat([row.latent for row in rows]).to(model.dtype),
            torch.tensor([row.time for row in rows], device=model.device, dtype=torch.float32),
            torch.cat([row.text for row in rows]).to(model.dtype),
            added,
        )


def latent_shape(model: LoadedModel, width: int, height: int) -> tuple[int, int, int, int]:
    """(1, channels, height, width) in latents for a size in pixels."""
    factor = model.latent_factor
    return 1, model.latent_channels, height // factor, width // factor


def denoise(model: LoadedModel, rows: Sequence[Row], bucket: Bucket, control: Mapping[str, Any]) -> Tensor:
    """One forward: (rows, C, h, w) in float32. `control` are residuals for the whole bucket, or nothing.

    The batch is filled up with empty rows to exactly `bucket`, so that kernels, and with them the last bits of every
    row, depend on the bucket and never on who else is in it.
    """
    batch = Batch.of(model, rows)
    missing = bucket - len(rows)
    added = batch.added and {name: _filled(value, missing) for name, value in batch.added.items()}
    output: Tensor = model.unet(
        _filled(batch.latents, missing),
        _filled(batch.times, missing),
        encoder_hidden_states=_filled(batch.texts, missing),
        added_cond_kwargs=added,
        return_dict=False,
        **control,
    )[0]
    return output[: len(rows)].float()


def _filled(value: Tensor, missing: int) -> Tensor:
    return torch.cat([value, value.new_zeros(missing, *value.shape[1:])]) if missing else value


def time_ids(model: LoadedModel, width: int, height: int, *, negative: bool) -> tuple[float, ...]:
    """SDXL's size conditioning: original size, crop, target size; its refiner has an aesthetic score for the target.

    Scores of 6.0 and 2.5 are those of the SDXL report (Podell et al. 2023).
    """
    if model.is_refiner:
        return (height, width, 0, 0, 2.5 if negative else 6.0)
    return (height, width, 0, 0, height, width) if model.is_sdxl else ()


@contextmanager
def tiling(modules: Sequence[nn.Module], on: bool) -> Iterator[None]:
    """Convolutions that wrap around the edges, so that the picture can be laid side by side with itself."""
    if not on:
        yield
        return
    changed = [
        part
        for module in modules
        for part in module.modules()
        if isinstance(part, nn.Conv2d) and part.padding_mode == "zeros" and part.padding != (0, 0)
    ]
    try:
        for part in changed:
            part.padding_mode = "circular"
        yield
    finally:
        for part in changed:
            part.padding_mode = "zeros"
