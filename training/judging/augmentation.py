"""Pictures as the judge meets them in training: placed, wobbled, blurred, noisy, unevenly coloured.

Generated pictures are soft, their outlines drift and their backgrounds are not quite even. A judge that only ever
saw clean art would judge those faults instead of what the picture shows. All of it works on whole batches.
"""

from __future__ import annotations

import io
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional

from training.captions import COLOURS

NAMES = tuple(COLOURS)
WHITE_SHARE = 0.4
COLOUR_DRIFT = 14.0  # standard deviation of a named background's channels, of 255: names stay true
JPEG_SHARE = 0.1


@dataclass(frozen=True, slots=True)
class Place:
    """Where subjects stand, one row each: half size and centre in the picture's own units (-1 to 1)."""

    size: Tensor  # (B,)
    x: Tensor  # (B,)
    y: Tensor  # (B,)


def alone(count: int) -> Place:
    """One subject, nearly where the art has it."""
    return Place(0.78 + 0.3 * torch.rand(count), 0.1 * _either(count), 0.1 * _either(count))


def beside(count: int) -> tuple[Place, Place]:
    """Two subjects next to each other, about as large or one larger, the first left or right."""
    left = 0.36 + 0.22 * torch.rand(count)
    right = (1.02 - left).clamp(max=0.56)
    y = 0.12 * _either(count)
    one = Place(left, -1 + left, y)
    two = Place(right, 1 - right, y + (left - right).clamp(min=0) * torch.rand(count).round() * 0.8)
    swap = torch.rand(count) < 0.5
    return _choose(swap, two, one), _choose(swap, one, two)


def _choose(which: Tensor, yes: Place, no: Place) -> Place:
    parts = [torch.where(which, getattr(yes, name), getattr(no, name)) for name in Place.__slots__]
    return Place(*parts)


def _either(count: int) -> Tensor:
    return 2 * torch.rand(count) - 1


def put(layers: Tensor, place: Place, flips: Tensor, *, wobble: float = 0.06) -> Tensor:
    """Premultiplied (B, 4, H, W) moved to its place, a little turned, its outlines drifting; 0 outside."""
    count, _, height, width = layers.shape
    angle = 0.12 * _either(count)
    squeeze = 1 + 0.1 * _either(count)
    cosine, sine = angle.cos(), angle.sin()
    across = torch.where(flips, -1.0, 1.0) / (place.size * squeeze)
    down = squeeze / place.size
    rows = torch.stack([cosine * across, sine * across, -sine * down, cosine * down], dim=1).view(count, 2, 2)
    shift = -(rows @ torch.stack([place.x, place.y], dim=1)[:, :, None])
    grid = functional.affine_grid(torch.cat([rows, shift], dim=2), [count, 4, height, width], align_corners=False)
    drift = torch.randn(count, 2, 5, 5) * wobble * torch.rand(count, 1, 1, 1)
    field = functional.interpolate(drift, (16, 16), mode="bicubic", align_corners=True)
    field = functional.interpolate(field, (height, width), mode="bilinear")
    return functional.grid_sample(layers, grid + field.permute(0, 2, 3, 1), align_corners=False)


def over(front: Tensor, back: Tensor) -> Tensor:
    """Premultiplied layers (B, 4, H, W), one on the other."""
    return front + back * (1 - front[:, 3:])


def backgrounds(count: int) -> tuple[Tensor, Tensor]:
    """Numbers (B,) of named colours and the colours themselves (B, 3, 1, 1), 0 to 1, near their names."""
    names = torch.randint(0, len(NAMES), (count,))
    names[torch.rand(count) < WHITE_SHARE] = NAMES.index("white")
    table = torch.tensor([COLOURS[name] for name in NAMES], dtype=torch.float32)
    colours = table[names] + COLOUR_DRIFT * torch.randn(count, 3).clamp(-1.5, 1.5)
    return names, (colours / 255).clamp(0, 1)[:, :, None, None]


def tint(layers: Tensor) -> Tensor:
    """The subject's own colours a little lighter, darker, paler or stronger: never another colour's name."""
    count = len(layers)
    colour, alpha = layers[:, :3], layers[:, 3:]
    grey = colour.mean(dim=1, keepdim=True)
    strength = (1 + 0.25 * _either(count)).view(-1, 1, 1, 1)
    light = (1 + 0.15 * _either(count)).view(-1, 1, 1, 1)
    turned = (grey + (colour - grey) * strength) * light
    return torch.cat([torch.minimum(turned.clamp(min=0), alpha), alpha], dim=1)


def fog(pictures: Tensor) -> Tensor:
    """Uneven colour: a smooth random field over (B, 3, H, W), smaller blotches on top."""
    count, _, height, width = pictures.shape
    strength = 0.12 * torch.rand(count, 1, 1, 1).square()
    smooth = functional.interpolate(torch.randn(count, 3, 4, 4), (16, 16), mode="bicubic", align_corners=True)
    blotches = strength * (smooth + torch.randn(count, 3, 16, 16) * torch.rand(count, 1, 1, 1))
    return pictures + functional.interpolate(blotches, (height, width), mode="bilinear")


def soften(pictures: Tensor) -> Tensor:
    """(B, 3, H, W) averaged over 2 x 2 to 4 x 4 pixels or not at all, and smoothly enlarged again.

    The whole batch by the same size, mixed with itself by another share for every picture.
    """
    step = int(torch.randint(1, 5, ()))
    if step == 1:
        return pictures
    small = functional.avg_pool2d(pictures, step, ceil_mode=True, count_include_pad=False)
    back = functional.interpolate(small, pictures.shape[2:], mode="bilinear")
    share = (1.4 * torch.rand(len(pictures), 1, 1, 1)).clamp(max=1)
    return pictures + share * (back - pictures)


def squash(pictures: Tensor) -> Tensor:
    """JPEG of a random quality for a random few of (B, 3, H, W) in 0 to 1."""
    for row in torch.nonzero(torch.rand(len(pictures)) < JPEG_SHARE).flatten().tolist():
        array = (pictures[row].clamp(0, 1) * 255).byte().permute(1, 2, 0).numpy()
        held = io.BytesIO()
        Image.fromarray(array).save(held, "JPEG", quality=int(torch.randint(15, 70, ())))
        again = np.asarray(Image.open(held), dtype=np.float32) / 255
        pictures[row] = torch.from_numpy(again).permute(2, 0, 1)
    return pictures


def weather(pictures: Tensor) -> Tensor:
    """Everything that happens to a finished picture (B, 3, H, W) in 0 to 1; gives it in [-1, 1].

    Every sub-batch of sixteen is softened by a strength of its own.
    """
    cloudy = fog(pictures)
    soft = torch.cat([soften(part) for part in torch.split(cloudy, 16)])
    noisy = soft + 0.05 * torch.rand(len(soft), 1, 1, 1).square() * torch.randn_like(soft)
    return squash(noisy.clamp(0, 1)) * 2 - 1


def unseen(pictures: Tensor) -> Tensor:
    """A kind of damage that training never shows, for honest validation: few colours, then a median of 3 x 3.

    (B, 3, H, W) in [-1, 1] to the same.
    """
    coarse = ((pictures + 1) * 3).round() / 3 - 1
    count, channels, height, width = coarse.shape
    padded = functional.pad(coarse, (1, 1, 1, 1), mode="replicate")
    windows = functional.unfold(padded, 3).view(count, channels, 9, height, width)
    return windows.median(dim=2).values


def flat(layers: Tensor, colour: str = "white") -> Tensor:
    """Premultiplied (B, 4, H, W) in 0 to 1 on a named background, in [-1, 1], nothing else done to it."""
    back = torch.tensor(COLOURS[colour], dtype=torch.float32).view(1, 3, 1, 1) / 255
    return (layers[:, :3] + back * (1 - layers[:, 3:])) * 2 - 1


def shrink(picture: np.ndarray[tuple[int, ...], np.dtype[np.uint8]], side: int) -> Tensor:
    """Premultiplied uint8 (N, H, W, 4), H a multiple of `side`, to uint8 (N, 4, side, side) by averaging."""
    count, height, width, layers = picture.shape
    step = height // side
    if step * side != height or step * side != width:
        raise ValueError(f"Pictures of {height} x {width} do not shrink to {side} evenly.")
    total = np.zeros((count, side, side, layers), dtype=np.uint16 if step <= 16 else np.uint32)
    for down in range(step):
        for across in range(step):
            total += picture[:, down::step, across::step]
    mean = (total + step * step // 2) // (step * step)
    return torch.from_numpy(mean.astype(np.uint8)).permute(0, 3, 1, 2).contiguous()
