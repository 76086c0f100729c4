"""The change of a layer's weights that LyCORIS, DoRA and full differences stand for, written out.

Shapes are compared before anything large is made: the factors are a stranger's. LoHa and LoKr: LyCORIS (Yeh et al.
2023), DoRA: Liu et al. 2024.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor

Tensors = Mapping[str, Tensor]
"""The tensors of one layer by their role: up, down, mid, alpha, scale, dora, diff, diff_b, hada_w1_a, lokr_w2, ..."""


class Mismatch(Exception):
    """The patch is for a layer of another shape. `patch` and `layer` are what it is for and what the layer is."""

    def __init__(self, patch: tuple[int, ...], layer: tuple[int, ...]) -> None:
        super().__init__(f"a patch for weights of {_sides(patch)}, a layer of {_sides(layer)}")
        self.patch, self.layer = patch, layer


class Incomplete(Exception):
    """The file lacks a tensor that the others need, or two of them contradict each other."""


def _sides(shape: tuple[int, ...]) -> str:
    return " x ".join(map(str, shape))


def factored(up: Tensor, down: Tensor, mid: Tensor | None) -> tuple[int, ...]:
    """The shape of the weights that the factors multiply to. A Linear may be written as a 1 x 1 convolution."""
    if min(up.ndim, down.ndim) < 2 or (mid is not None and mid.ndim != 4):
        raise Incomplete("up, down")
    inner = (up.shape[1], down.shape[0]) if mid is None else (up.shape[1], down.shape[0], *mid.shape[:2])
    if inner[0] != inner[2 if mid is not None else 1] or inner[1] != inner[-1]:
        raise Incomplete("up, down")
    kernel = tuple(down.shape[2:]) if mid is None else tuple(mid.shape[2:])
    return (up.shape[0], down.shape[1], *kernel)


def scale(tensors: Tensors, rank: int) -> float:
    """alpha / rank, and 1 where a file says no alpha (diffusers and PEFT mean alpha = rank)."""
    if "scale" in tensors:
        return float(tensors["scale"])
    return float(tensors["alpha"]) / rank if "alpha" in tensors and tensors["alpha"].numel() == 1 else 1.0


def shaped(delta: Tensor, shape: tuple[int, ...]) -> Tensor:
    if squeezed(tuple(delta.shape)) != squeezed(shape):
        raise Mismatch(tuple(delta.shape), shape)
    return delta.reshape(shape)


def squeezed(shape: tuple[int, ...]) -> tuple[int, ...]:
    """Without the 1 x 1 of a convolution that is a Linear."""
    return shape[:2] if len(shape) == 4 and shape[2:] == (1, 1) else shape


def loha(tensors: Tensors, shape: tuple[int, ...]) -> Tensor:
    made = _product(tensors, "1", shape) * _product(tensors, "2", shape)
    return made.reshape(shape) * scale(tensors, tensors["hada_w1_b"].shape[0])


def _product(tensors: Tensors, number: str, shape: tuple[int, ...]) -> Tensor:
    """a @ b as (out, in x kernel); with a tucker core (r, r, k, k) a is (r, out) and b is (r, in)."""
    a, b, core = f"hada_w{number}_a", f"hada_w{number}_b", f"hada_t{number}"
    left, right, kernel = tensors.get(a), tensors.get(b), tensors.get(core)
    if left is None or right is None or left.ndim != 2 or right.ndim != 2:
        raise Incomplete(f"{a}, {b}")
    if kernel is not None:
        made = (left.shape[1], right.shape[1], *kernel.shape[2:])
        if kernel.ndim != 4 or kernel.shape[0] != left.shape[0] or kernel.shape[1] != right.shape[0]:
            raise Incomplete(core)
        if made != shape:
            raise Mismatch(made, shape)
        return torch.einsum("ijkl,jr,ip->prkl", kernel, right, left).flatten(1)
    if left.shape[1] != right.shape[0]:
        raise Incomplete(f"{a}, {b}")
    if (left.shape[0], right.shape[1]) != (shape[0], math.prod(shape[1:])):
        raise Mismatch((left.shape[0], right.shape[1]), shape)
    return left @ right


def lokr(tensors: Tensors, shape: tuple[int, ...]) -> Tensor:
    """The Kronecker product of a small and a large factor, each whole or a product of two."""
    small, large = _lokr_factor(tensors, "lokr_w1"), _lokr_factor(tensors, "lokr_w2")
    sides = tuple(one * other for one, other in zip(small.shape[:2], large.shape[:2], strict=True))
    made = (*sides, *large.shape[2:])
    if small.ndim != 2 or squeezed(made) != squeezed(shape):
        # LyCORIS writes a factored kernel as (out, in x kernel).
        kernel = math.prod(shape[2:])
        if small.ndim != 2 or large.ndim != 2 or len(shape) != 4 or large.shape[1] % kernel:
            raise Mismatch(made, shape)
        if sides != (shape[0], shape[1] * kernel):
            raise Mismatch(made, shape)
        large = large.reshape(large.shape[0], -1, *shape[2:])
    small = small.reshape(*small.shape[:2], *(1,) * (large.ndim - 2))
    ranks = [tensors[role].shape[0] for role in ("lokr_w2_b", "lokr_w1_b") if role in tensors]
    return torch.kron(small, large.contiguous()).reshape(shape) * (scale(tensors, ranks[0]) if ranks else 1.0)


def _lokr_factor(tensors: Tensors, role: str) -> Tensor:
    whole, a, b = tensors.get(role), tensors.get(f"{role}_a"), tensors.get(f"{role}_b")
    core = tensors.get("lokr_t2") if role == "lokr_w2" else None
    if whole is not None and whole.ndim >= 2:
        return whole
    if a is None or b is None or a.ndim != 2 or b.ndim < 2:
        raise Incomplete(role)
    if core is not None and core.ndim == 4 and core.shape[:2] == (a.shape[0], b.shape[0]):
        return torch.einsum("ijkl,ip,jr->prkl", core, a, b)
    if core is not None or a.shape[1] != b.shape[0]:
        raise Incomplete(role)
    return a @ b.flatten(1)


def decomposed(weight: Tensor, delta: Tensor, magnitude: Tensor) -> Tensor:
    """DoRA: the merged weights brought to the trained `magnitude`, less the weights they replace.

    PEFT and new LyCORIS keep one magnitude for each output, (out,) or (out, 1, ...), LyCORIS at first for each input,
    (1, in, ...).
    """
    merged = weight + delta
    by_input = magnitude.ndim > 1 and magnitude.shape[0] == 1 and magnitude.numel() == weight.shape[1] != 1
    dim = 1 if by_input else 0
    if magnitude.numel() != weight.shape[dim]:
        raise Mismatch(tuple(magnitude.shape), tuple(weight.shape))
    others = [axis for axis in range(weight.ndim) if axis != dim]
    norm: Tensor = torch.linalg.vector_norm(merged, dim=others, keepdim=True) + torch.finfo(merged.dtype).eps
    return merged * (magnitude.reshape(norm.shape) / norm) - weight
