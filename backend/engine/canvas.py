"""What of a picture is painted anew, at which size, and how the result is put back: numpy only.

A Canvas is the whole picture, the box of it that goes to the model, and the mask of what may change. Outside the mask
the result is the picture's own bytes, exactly.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from backend import images
from backend.errors import InvalidParameter
from backend.types import GenerationRequest, Inpaint, Outpaint, Pixels

Mask = NDArray[np.float32]
"""float32 (height, width) in 0..1: 1 is painted anew."""

Box = tuple[int, int, int, int]
"""left, top, right, bottom in pixels; right and bottom are one past the last."""


@dataclass(frozen=True, slots=True)
class Canvas:
    """`picture` (H, W, 3) whole, `box` what is painted of it, at `width` x `height` pixels; without a mask all."""

    picture: Pixels
    box: Box
    width: int
    height: int
    mask: Mask | None = None

    @property
    def start(self) -> Pixels:
        """The box at the size of the model's picture."""
        left, top, right, bottom = self.box
        return images.resize(
            np.ascontiguousarray(self.picture[top:bottom, left:right]), self.width, self.height, "stretch"
        )

    @property
    def start_mask(self) -> Mask | None:
        """The mask of the box at the same size."""
        if self.mask is None:
            return None
        left, top, right, bottom = self.box
        cut = np.ascontiguousarray(self.mask[top:bottom, left:right])
        if cut.shape == (self.height, self.width):
            return cut
        return np.asarray(cv2.resize(cut, (self.width, self.height), interpolation=cv2.INTER_AREA), np.float32)

    def finish(self, painted: Pixels) -> Pixels:
        """Put `painted` (height, width, 3) back. Where the mask is 0 every byte is the picture's own."""
        if self.mask is None:
            return painted
        left, top, right, bottom = self.box
        fitted = images.resize(painted, right - left, bottom - top, "stretch")
        share = self.mask[top:bottom, left:right, None]
        under = self.picture[top:bottom, left:right]
        result = self.picture.copy()
        mixed = np.rint(fitted * share + under * (1 - share)).astype(np.uint8)
        result[top:bottom, left:right] = np.where(share > 0, mixed, under)
        return result


def for_img2img(source: Pixels, request: GenerationRequest) -> Canvas:
    """The whole picture, brought to the size asked for."""
    mode = "stretch" if request.resize == "latent" else request.resize
    fitted = images.resize(source, request.width, request.height, mode)
    return Canvas(fitted, (0, 0, request.width, request.height), request.width, request.height)


def for_inpaint(source: Pixels, mask: NDArray[np.uint8] | None, request: GenerationRequest) -> Canvas:
    """`mask` (h, w) is bright where it is to be painted; it is scaled to `source` if its size differs.

    Raises InvalidParameter if nothing at all would be painted.
    """
    asked = request.inpaint or Inpaint()
    share = _share(mask, source, inverted=asked.inverted)
    if request.outpaint:
        source, share = grown(source, share, request.outpaint)
    elif asked.area == "whole" and not _nearly(source, request):
        share = _resized_mask(share, request)
        mode = "stretch" if request.resize == "latent" else request.resize
        source = images.resize(source, request.width, request.height, mode)
    if not (share > 0.5).any():
        raise InvalidParameter("inpaint.mask", "The mask is empty: nothing would change.", "Paint over a part of it.")
    share = _blurred(share, asked.blur)
    if not share.any():
        detail = "The mask is so small that nothing is left of it once it is blurred."
        raise InvalidParameter("inpaint.mask", detail, "Paint over more of the picture, or blur the mask less.")
    height, width = source.shape[:2]
    box = (0, 0, width, height)
    if asked.area == "masked":
        box = around(share, asked.padding, request.width / request.height)
    return Canvas(source, box, request.width, request.height, share)


def _nearly(source: Pixels, request: GenerationRequest) -> bool:
    """Whether the size asked for is but the picture's own, rounded for the model: then the picture keeps its size."""
    height, width = source.shape[:2]
    return bool(max(abs(width - request.width), abs(height - request.height)) < _ROUNDED)


_ROUNDED = 16
"""Pixels: more than half of what the sides of any model's pictures are a multiple of, at most."""


def _share(mask: NDArray[np.uint8] | None, source: Pixels, *, inverted: bool) -> Mask:
    height, width = source.shape[:2]
    if mask is None:
        return np.zeros((height, width), np.float32)
    if mask.shape != (height, width):
        mask = np.asarray(cv2.resize(mask, (width, height), interpolation=cv2.INTER_LINEAR), np.uint8)
    share = mask.astype(np.float32) / 255
    return np.asarray(1 - share if inverted else share, np.float32)


def _resized_mask(share: Mask, request: GenerationRequest) -> Mask:
    as_pixels = np.repeat(np.rint(share * 255).astype(np.uint8)[..., None], 3, axis=2)
    mode = "stretch" if request.resize == "latent" else request.resize
    return np.asarray(images.resize(as_pixels, request.width, request.height, mode)[..., 0] / 255, np.float32)


def _blurred(share: Mask, radius: int) -> Mask:
    """A soft edge that ends: below a thousandth it is nothing, so that what is far from the mask stays exact."""
    if not radius:
        return share
    soft = np.asarray(cv2.GaussianBlur(share, (0, 0), radius), np.float32)
    return np.where(soft < 1e-3, np.float32(0), soft)


def grown(source: Pixels, share: Mask, by: Outpaint) -> tuple[Pixels, Mask]:
    """A larger canvas: the new parts carry on the colours of the edges, softly, and are to be painted."""
    edges = (by.up, by.down, by.left, by.right)
    wide = cv2.copyMakeBorder(source, *edges, cv2.BORDER_REPLICATE)
    mask = np.asarray(cv2.copyMakeBorder(share, *edges, cv2.BORDER_CONSTANT, value=1.0), np.float32)
    soft = _softened(wide, max(1.0, max(edges) / 8))
    height, width = source.shape[:2]
    soft[by.up : by.up + height, by.left : by.left + width] = source
    # The seam itself is repainted a little, or it would be seen.
    inner = np.zeros_like(mask)
    band = max(1, min(8, min(height, width) // 8))
    top, left = by.up + (band if by.up else 0), by.left + (band if by.left else 0)
    bottom = by.up + height - (band if by.down else 0)
    right = by.left + width - (band if by.right else 0)
    inner[top:bottom, left:right] = 1
    return np.asarray(soft, np.uint8), np.maximum(mask, 1 - inner)


def _softened(pixels: Pixels, sigma: float) -> Pixels:
    """Blurred by `sigma` pixels. Wide blurs are made of a small copy, where they take no longer than narrow ones."""
    height, width = pixels.shape[:2]
    scale = min(1.0, 4 / sigma)
    small = cv2.resize(
        pixels, (max(1, round(width * scale)), max(1, round(height * scale))), interpolation=cv2.INTER_AREA
    )
    blurred = cv2.GaussianBlur(small, (0, 0), sigma * scale)
    return np.asarray(cv2.resize(blurred, (width, height), interpolation=cv2.INTER_LINEAR), np.uint8)


def around(share: Mask, padding: int, aspect: float) -> Box:
    """The smallest box of shape `aspect` (width / height) around everything masked, with `padding` pixels of room."""
    height, width = share.shape
    rows, columns = np.nonzero(share.max(axis=1) > 0)[0], np.nonzero(share.max(axis=0) > 0)[0]
    left, right = max(0, int(columns[0]) - padding), min(width, int(columns[-1]) + 1 + padding)
    top, bottom = max(0, int(rows[0]) - padding), min(height, int(rows[-1]) + 1 + padding)
    wide, high = right - left, bottom - top
    wanted_wide, wanted_high = (max(wide, round(high * aspect)), max(high, round(wide / aspect)))
    left, right = _spread(left, right, min(wanted_wide, width), width)
    top, bottom = _spread(top, bottom, min(wanted_high, height), height)
    return left, top, right, bottom


def _spread(low: int, high: int, length: int, limit: int) -> tuple[int, int]:
    """Widen [low, high) to `length` within [0, limit), evenly where there is room."""
    length = max(length, high - low)
    low = max(0, min(low - (length - (high - low)) // 2, limit - length))
    return low, low + length


def filled(pixels: Pixels, mask: Mask) -> Pixels:
    """What is masked is replaced by colours of its surroundings, near ones first (A1111's "fill")."""
    keep = (mask < 0.5).astype(np.float32)[..., None]
    result = pixels.astype(np.float32) * keep
    known = np.repeat(keep, 3, axis=2)
    out, seen = result.copy(), known.copy()
    for sigma in (2, 4, 8, 16, 32, 64, 128):
        weight = cv2.GaussianBlur(known, (0, 0), sigma)
        colour = cv2.GaussianBlur(result, (0, 0), sigma) / np.maximum(weight, 1e-6)
        fresh = (seen == 0) & (weight > 1e-3)
        out[fresh] = colour[fresh]
        seen[fresh] = 1
    out[seen == 0] = 127
    return np.where(keep > 0, pixels, np.rint(np.clip(out, 0, 255)).astype(np.uint8))
