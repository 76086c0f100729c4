"""Guides from pictures: what ControlNets and T2I-Adapters add to the denoiser's inner states, row by row.

Every picture works out its own residuals; `scatter` puts them into the rows of a batch, so controlled and free pictures
share one forward. A free row gets exact zeros added, which changes nothing.
ControlNet: Zhang et al. 2023. T2I-Adapter: Mou et al. 2023. The modes are those of A1111's ControlNet extension 1.1.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from backend.engine.control_loader import LoadedControl

Mode = Literal["balanced", "prompt", "control"]
SOFT = 0.825
"""Share of a block's effect that is left one block further from the middle (lllyasviel's guess mode)."""


@dataclass(frozen=True, slots=True)
class Guide:
    """One unit at work: `hint` is (1, 3, H, W) in [0, 1] on the net's device, H and W the picture's size in pixels.

    It acts while `start` <= share of the steps done < `end`; an `end` of 1 or more never stops it.
    """

    net: LoadedControl
    hint: Tensor
    weight: float = 1.0
    start: float = 0.0
    end: float = 1.0
    mode: Mode = "balanced"

    def active(self, share: float) -> bool:
        return self.weight != 0 and self.start <= share and (share < self.end or self.end >= 1)


@dataclass(frozen=True, slots=True)
class Residuals:
    """What is added for R rows: `down` and `mid` to the skip connections and the middle block (ControlNets),
    `intrablock` behind each encoder block (T2I-Adapters). Each (R, C, h, w), or (R, C, 1, 1) where it is the same all
    over."""

    down: tuple[Tensor, ...] = ()
    mid: Tensor | None = None
    intrablock: tuple[Tensor, ...] | None = None

    def __add__(self, other: Residuals) -> Residuals:
        return Residuals(
            down=_added(self.down, other.down),
            mid=other.mid if self.mid is None else self.mid if other.mid is None else self.mid + other.mid,
            intrablock=_added(self.intrablock or (), other.intrablock or ()) or None,
        )


def _added(one: tuple[Tensor, ...], other: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    return tuple(a + b for a, b in zip(one, other, strict=True)) if one and other else one or other


def residuals(
    guides: Sequence[Guide],
    inputs: Tensor,
    times: Tensor,
    texts: Tensor,
    added: Mapping[str, Tensor] | None,
    conditional: Sequence[bool],
    share: float,
) -> Residuals | None:
    """What all `guides` together add to the R rows of one picture; None if none of them acts at `share`.

    `inputs` (R, C, h, w) are the denoiser's inputs, `times` (R,), `texts` (R, T, D), `added` its other conditions
    (SDXL: text_embeds, time_ids) or None, `conditional` says which rows carry the prompt, `share` is the share of the
    steps that are done. In mode "prompt" blocks far from the middle count less, in mode "control" they do and the
    unconditional rows get nothing. IP-Adapters add nothing here: see image_prompt.
    """
    total: Residuals | None = None
    for guide in guides:
        if guide.active(share) and guide.net.kind in _OF_KIND:
            own = _OF_KIND[guide.net.kind](guide, inputs, times, texts, added, conditional)
            total = own if total is None else total + own
    return total


def _of_controlnet(
    guide: Guide,
    inputs: Tensor,
    times: Tensor,
    texts: Tensor,
    added: Mapping[str, Tensor] | None,
    conditional: Sequence[bool],
) -> Residuals:
    net, dtype = guide.net.net, guide.net.dtype
    # A repainting denoiser takes mask and picture as further channels; ControlNets know the latent alone.
    latents = inputs[:, : net.config.in_channels].to(dtype)
    hint = guide.hint[:, : net.config.conditioning_channels].to(dtype).expand(len(inputs), -1, -1, -1)
    down, mid = net(
        latents, times, encoder_hidden_states=texts.to(dtype), controlnet_cond=hint, return_dict=False,
        added_cond_kwargs={name: tensor.to(dtype) for name, tensor in added.items()} if added else None,
    )  # fmt: skip
    pooled = bool(net.config.global_pool_conditions)
    rows = _rows(guide, inputs, conditional, prompt_only=guide.mode == "control" or pooled)
    soft = 1.0 if guide.mode == "balanced" else SOFT
    *strengths, middle = (guide.weight * soft**distance for distance in distances(len(down)))
    scaled = tuple(tensor * strength * rows for tensor, strength in zip(down, strengths, strict=True))
    return Residuals(scaled, mid * middle * rows)


def distances(blocks: int) -> tuple[int, ...]:
    """How far each encoder block, and last the middle, is from the middle.

    An SDXL net has 9 blocks, but A1111's extension counts them as the first of SD 1.x's 12, and so do we.
    """
    depth = 12 if blocks == 9 else blocks
    return tuple(depth - block for block in range(blocks + 1))


def _of_adapter(
    guide: Guide,
    inputs: Tensor,
    times: Tensor,
    texts: Tensor,
    added: Mapping[str, Tensor] | None,
    conditional: Sequence[bool],
) -> Residuals:
    net, dtype = guide.net.net, guide.net.dtype
    hint = guide.hint.to(dtype)
    features = net(hint.mean(1, keepdim=True) if net.config.in_channels == 1 else hint)
    rows = _rows(guide, inputs, conditional, prompt_only=guide.mode == "control")
    # The extension's soft weights for adapters: 0.25, 0.62, 0.825, 1 from the first to the last block.
    soft = (0.25, 0.62, SOFT, 1.0)[-len(features) :] if guide.mode != "balanced" else (1.0,) * len(features)
    scaled = (feature * guide.weight * part * rows for feature, part in zip(features, soft, strict=True))
    return Residuals(intrablock=tuple(scaled))


_Maker = Callable[[Guide, Tensor, Tensor, Tensor, Mapping[str, Tensor] | None, Sequence[bool]], Residuals]
_OF_KIND: Mapping[str, _Maker] = {"controlnet": _of_controlnet, "t2i-adapter": _of_adapter}


def _rows(guide: Guide, inputs: Tensor, conditional: Sequence[bool], *, prompt_only: bool) -> Tensor:
    """A factor per row, (R, 1, 1, 1): 0 for rows that are to be left alone."""
    factors = [1.0 if here or not prompt_only else 0.0 for here in conditional]
    return torch.tensor(factors, device=inputs.device, dtype=guide.net.dtype).view(-1, 1, 1, 1)


def masked_hint(picture: Tensor, mask: Tensor) -> Tensor:
    """The hint of an inpainting ControlNet: `picture` (1, 3, H, W) in [0, 1], and -1 where `mask` (1, 1, H, W) is more
    than a half (ControlNet 1.1, "inpaint_only")."""
    return torch.where(mask > 0.5, torch.full_like(picture, -1.0), picture)


def scatter(parts: Sequence[tuple[slice, Residuals]], bucket: int) -> dict[str, Any]:
    """Keyword arguments for one denoiser forward of `bucket` rows: each part in its rows, zeros in all others.

    Without parts there are none. Make them anew for every forward: diffusers empties one of the lists.
    """
    arguments: dict[str, Any] = {}
    if any(part.down for _, part in parts):
        downs = [(rows, part.down) for rows, part in parts if part.down]
        mids = [(rows, (part.mid,)) for rows, part in parts if part.mid is not None]
        arguments["down_block_additional_residuals"] = tuple(_spread(downs, bucket))
        arguments["mid_block_additional_residual"] = _spread(mids, bucket)[0]
    inner = [(rows, part.intrablock) for rows, part in parts if part.intrablock]
    if inner:
        arguments["down_intrablock_additional_residuals"] = _spread(inner, bucket)
    return arguments


def _spread(parts: Sequence[tuple[slice, tuple[Tensor, ...]]], bucket: int) -> list[Tensor]:
    spread: list[Tensor] = []
    for level in zip(*(tensors for _, tensors in parts), strict=True):
        channels, height, width = (max(sides) for sides in zip(*(tensor.shape[1:] for tensor in level), strict=True))
        whole = level[0].new_zeros((bucket, channels, height, width))
        for (rows, _), tensor in zip(parts, level, strict=True):
            whole[rows] = tensor
        spread.append(whole)
    return spread
