"""What a LoRA adds to the output of one layer: low-rank factors run as they are, everything else as a dense change.

Every kind is linear in the layer's input, so `patch(x, weight)` is `weight` times what the same layer would give with
the patch in the place of its weights. LoRA: Hu et al. 2021.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional

from backend.engine.lora_deltas import (
    Incomplete,
    Mismatch,
    Tensors,
    decomposed,
    factored,
    loha,
    lokr,
    scale,
    shaped,
    squeezed,
)


class Patch(Protocol):
    def __call__(self, x: Tensor, weight: float) -> Tensor:
        """The addition to a layer's output for its input `x`, rows first."""


@dataclass(frozen=True, slots=True)
class LowRank:
    """`up(mid(down(x)))`, for a Linear or a Conv2d; a tucker convolution has its kernel in `mid`."""

    module: Any
    down: Tensor
    up: Tensor
    mid: Tensor | None
    scale: float

    def __call__(self, x: Tensor, weight: float) -> Tensor:
        x = x.to(self.down.dtype)
        # The smallest tensor on the way is scaled, and by itself: a fused multiply-add could round by alignment.
        if self.down.ndim == 2:
            return functional.linear(functional.linear(x, self.down) * (weight * self.scale), self.up)
        if self.mid is None:
            inner = _convolved(self.module, x, self.down)
        else:
            inner = _convolved(self.module, functional.conv2d(x, self.down), self.mid)
        return functional.conv2d(inner * (weight * self.scale), self.up)


@dataclass(frozen=True, slots=True)
class Dense:
    """The change of the weights and of the bias, written out."""

    module: Any
    shape: tuple[int, ...]
    delta: Tensor | None
    bias: Tensor | None

    def __call__(self, x: Tensor, weight: float) -> Tensor:
        known = self.delta if self.delta is not None else self.bias
        assert known is not None
        x = x.to(known.dtype)
        delta = known.new_zeros(self.shape) if self.delta is None else self.delta
        match self.module:
            case nn.Linear():
                added = functional.linear(x, delta, self.bias)
            case nn.Conv2d():
                added = _convolved(self.module, x, delta, self.bias)
            case nn.GroupNorm():
                added = functional.group_norm(x, self.module.num_groups, delta, self.bias, self.module.eps)
            case _:
                added = functional.layer_norm(x, self.module.normalized_shape, delta, self.bias, self.module.eps)
        return added * weight


def _convolved(module: Any, x: Tensor, kernel: Tensor, bias: Tensor | None = None) -> Tensor:
    """As the layer itself would, its way of padding included (seamless tiling changes it)."""
    out: Tensor = module._conv_forward(x, kernel, bias)
    return out


def build(module: Any, tensors: Tensors, device: torch.device, dtype: torch.dtype) -> Patch:
    """The patch a file's tensors make for one layer; it computes on `device` in `dtype`.

    Those are the model's: the layer's own weights may be kept elsewhere or in fewer bits. Raises Mismatch if it is for
    a layer of another shape and Incomplete if tensors are missing or do not fit together.
    """
    tensors = {role: tensor.to(device, torch.float32) for role, tensor in tensors.items()}
    shape = shape_of(module)
    bias = _bias(tensors, shape)
    if "up" in tensors and "down" in tensors and "dora" not in tensors and bias is None:
        return _low_rank(module, tensors, shape, dtype)
    delta = _delta(module, tensors, shape)
    if delta is None and bias is None:
        raise Incomplete(", ".join(sorted(tensors)))
    if delta is not None and "dora" in tensors:
        delta = decomposed(_weight(module, delta), delta, tensors["dora"])
    return Dense(module, shape, None if delta is None else delta.to(dtype), None if bias is None else bias.to(dtype))


def shape_of(module: Any) -> tuple[int, ...]:
    """Of the layer's weights. Asked of the layer, because quantised weights are packed."""
    match module:
        case nn.Linear():
            return module.out_features, module.in_features
        case nn.Conv2d():
            return module.out_channels, module.in_channels // module.groups, *module.kernel_size
    return tuple(module.weight.shape)


def _weight(module: Any, like: Tensor) -> Tensor:
    weight: Tensor = module.weight.detach().to(like.device, torch.float32)
    if weight.shape != like.shape:
        raise Incomplete("DoRA cannot be used with packed weights")
    return weight


def _low_rank(module: Any, tensors: Tensors, shape: tuple[int, ...], dtype: torch.dtype) -> LowRank:
    up, down, mid = tensors["up"], tensors["down"], tensors.get("mid")
    made = factored(up, down, mid)
    if squeezed(made) != squeezed(shape):
        raise Mismatch(made, shape)
    rank_in, rank_out = down.shape[0], up.shape[1]
    if len(shape) == 4:
        up = up.reshape(shape[0], rank_out, 1, 1)
        down = down.reshape(rank_in, shape[1], *((1, 1) if mid is not None else shape[2:]))
    else:
        up, down, mid = up.reshape(shape[0], rank_out), down.reshape(rank_in, shape[1]), _core(mid)
        down, mid = (down, None) if mid is None else (mid @ down, None)
    whole = None if mid is None else mid.to(dtype).contiguous()
    return LowRank(module, down.to(dtype).contiguous(), up.to(dtype).contiguous(), whole, scale(tensors, rank_in))


def _core(mid: Tensor | None) -> Tensor | None:
    return None if mid is None else mid.reshape(mid.shape[:2])


def _bias(tensors: Tensors, shape: tuple[int, ...]) -> Tensor | None:
    bias = tensors.get("diff_b")
    if bias is not None and bias.numel() != shape[0]:
        raise Mismatch(tuple(bias.shape), shape[:1])
    return None if bias is None else bias.reshape(-1)


def _delta(module: Any, tensors: Tensors, shape: tuple[int, ...]) -> Tensor | None:
    """The change of the weights, in float32. Shapes are compared before anything large is made."""
    if "diff" in tensors:
        return shaped(tensors["diff"], shape)
    if "up" in tensors and "down" in tensors:
        return _merged_low_rank(module, tensors, shape)
    if any(role.startswith("hada") for role in tensors):
        return loha(tensors, shape)
    if any(role.startswith("lokr") for role in tensors):
        return lokr(tensors, shape)
    return None


def _merged_low_rank(module: Any, tensors: Tensors, shape: tuple[int, ...]) -> Tensor:
    factors = _low_rank(module, tensors, shape, torch.float32)
    down = factors.down.flatten(1)
    inner = down if factors.mid is None else torch.einsum("ijkl,jr->irkl", factors.mid, down).flatten(1)
    return (factors.up.flatten(1) @ inner).reshape(shape) * factors.scale


def size_of(patch: Patch) -> int:
    """Bytes of a patch's tensors."""
    roles = (getattr(patch, role, None) for role in ("down", "up", "mid", "delta", "bias"))
    return sum(tensor.numel() * tensor.element_size() for tensor in roles if tensor is not None)
