"""What happens to one picture from request to pixels, for each mode, as plain sequential code.

A script is a generator. It yields each denoising pass it needs and is sent the pass's finished latent; the engine's
loop runs the passes of all pictures together, in batches. What a script returns are the pixels of the picture.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Mapping

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from backend import sheet
from backend.engine import canvas
from backend.engine.canvas import Box
from backend.engine.painter import Painter, second_pass
from backend.engine.stage import Stage
from backend.engine.upscale import latent_resize
from backend.samplers import SAMPLERS
from backend.types import GenerationRequest, Grid, Hires, Mode, Pixels, Upscale
from backend.upscalers import LATENT

Script = Generator[Stage, Tensor, Pixels]


def txt2img(painter: Painter) -> Script:
    request = painter.request
    latent = yield painter.stage(request.width, request.height)
    if request.hires:
        latent = yield from _second_pass(painter, request.hires, latent)
    return painter.decode(latent)


def _second_pass(painter: Painter, hires: Hires, latent: Tensor) -> Generator[Stage, Tensor, Tensor]:
    """Larger, and denoised again: detail that the first size had no room for."""
    factor = painter.model.latent_factor
    if hires.upscaler in LATENT:
        larger = latent_resize(latent, hires.height // factor, hires.width // factor, hires.upscaler)
    else:
        pixels = painter.enlarge(painter.decode(latent), hires.width, hires.height, hires.upscaler)
        larger = painter.encode(pixels)
    if not hires.denoise:
        return larger
    return (yield painter.stage(hires.width, hires.height, start=larger, denoise=hires.denoise, hires=hires))


def img2img(painter: Painter) -> Script:
    request = painter.request
    area = canvas.for_img2img(painter.source(), request)
    latent = _resized_latent(painter) if request.resize == "latent" else painter.encode(area.start)
    if request.denoise:
        latent = yield painter.stage(request.width, request.height, start=latent, denoise=request.denoise)
    return painter.decode(latent)


def _resized_latent(painter: Painter) -> Tensor:
    """A1111's "just resize (latent upscale)": the source is encoded at its own size and its latent stretched."""
    factor, request = painter.model.latent_factor, painter.request
    source = painter.source()
    height, width = (max(1, round(side / factor)) * factor for side in source.shape[:2])
    own = canvas.for_img2img(source, request.model_copy(update={"width": width, "height": height}))
    return latent_resize(painter.encode(own.start), request.height // factor, request.width // factor, "Latent")


def inpaint(painter: Painter) -> Script:
    request = painter.request
    area = canvas.for_inpaint(painter.source(), painter.mask(), request)
    mask = area.start_mask
    assert mask is not None and request.inpaint is not None  # for_inpaint has made sure
    start = area.start
    pixels = canvas.filled(start, mask) if request.inpaint.fill == "fill" else start
    latent = painter.encode(pixels)
    if request.inpaint.fill in ("noise", "nothing"):
        latent = _emptied(painter, latent, mask, noise=request.inpaint.fill == "noise")
    if request.denoise:
        latent = yield painter.stage(
            area.width, area.height, start=latent, denoise=request.denoise, mask=mask, painted=start
        )
    return area.finish(painter.decode(latent))


def _emptied(painter: Painter, latent: Tensor, mask: canvas.Mask, *, noise: bool) -> Tensor:
    share = torch.nn.functional.interpolate(torch.from_numpy(mask)[None, None], latent.shape[-2:], mode="area")
    share = (share > 0.5).float().to(latent.device)
    fresh = painter.noise.draw(tuple(latent.shape)) if noise else torch.zeros_like(latent)  # type: ignore[arg-type]
    return latent * (1 - share) + fresh * share


def upscale(painter: Painter) -> Script:
    request = painter.request
    asked = request.upscale or Upscale()
    large = painter.enlarge(painter.source(), request.width, request.height, asked.upscaler)
    if not (asked.diffusion and request.denoise):
        return large
    shape = (1, painter.model.latent_channels, *(side // painter.model.latent_factor for side in large.shape[:2]))
    noise = painter.noise.first(shape)  # of the whole picture, so that neighbours agree where they overlap
    total = np.zeros(large.shape, np.float32)
    weight = np.zeros((*large.shape[:2], 1), np.float32)
    for box in tiles(request.width, request.height, asked.tile, asked.overlap, painter.model.latent_factor):
        latent = yield _tile_stage(painter, large, noise, box)
        left, top, right, bottom = box
        share = _feather(box, asked.overlap, request.width, request.height)
        total[top:bottom, left:right] += painter.decode(latent) * share
        weight[top:bottom, left:right] += share
    return np.rint(total / weight).astype(np.uint8)


def _tile_stage(painter: Painter, large: Pixels, noise: Tensor, box: Box) -> Stage:
    left, top, right, bottom = box
    factor = painter.model.latent_factor
    latent = painter.encode(np.ascontiguousarray(large[top:bottom, left:right]))
    own = noise[..., top // factor : bottom // factor, left // factor : right // factor]
    whole = (large.shape[1], large.shape[0])
    width, height = right - left, bottom - top
    guides = painter.guides(width, height, box, whole)
    return painter.stage(width, height, start=latent, denoise=painter.request.denoise, noise=own, guides=guides)


def tiles(width: int, height: int, side: int, overlap: int, factor: int) -> Iterator[Box]:
    """Boxes of at most `side` pixels that cover a picture, overlapping by at least `overlap`, row by row."""
    for top, bottom in _spans(height, side, overlap, factor):
        for left, right in _spans(width, side, overlap, factor):
            yield left, top, right, bottom


def _spans(length: int, side: int, overlap: int, factor: int) -> tuple[tuple[int, int], ...]:
    if length <= side:
        return ((0, length),)
    number = -(-(length - overlap) // (side - overlap))
    starts = (round(i * (length - side) / (number - 1) / factor) * factor for i in range(number))
    return tuple((start, start + side) for start in starts)


def _feather(box: Box, overlap: int, width: int, height: int) -> NDArray[np.float32]:
    """(h, w, 1) in (0, 1]: falls off towards edges that have a neighbour, so that seams vanish in the average."""
    left, top, right, bottom = box
    ramps = []
    for low, high, limit in ((top, bottom, height), (left, right, width)):
        place = np.arange(high - low, dtype=np.float32) + 0.5
        ramp = np.ones(high - low, np.float32)
        if low > 0:
            ramp = np.minimum(ramp, place / max(overlap, 1))
        if high < limit:
            ramp = np.minimum(ramp, place[::-1] / max(overlap, 1))
        ramps.append(ramp)
    return (ramps[0][:, None] * ramps[1][None, :])[..., None]


def convert(painter: Painter) -> Script:
    """The picture as it is; only its file will be another."""
    yield from ()  # no pass
    return painter.source()


def grid(painter: Painter) -> Script:
    yield from ()  # no pass
    return sheet.compose(painter.cells(), painter.request.grid or Grid(cells=("",), columns=1))


def _steps(denoise: float, steps: int) -> int:
    """Steps that a strength leaves (A1111 1.10.1); with strength 0 the picture stays as it is."""
    return int(min(denoise, 0.999) * steps) + 1 if denoise else 0


def _second_steps(request: GenerationRequest, hires: Hires) -> int:
    if not hires.denoise:
        return 0
    most = SAMPLERS[hires.sampler or request.sampler].max_steps
    length, denoise = second_pass(hires.steps or request.steps, hires.denoise, most)
    return _steps(denoise, length)


def total_steps(request: GenerationRequest, factor: int) -> int:
    """Steps of one picture, all passes together, for the progress bar."""
    left = _steps(request.denoise, request.steps)
    match request.mode:
        case "txt2img":
            return request.steps + (_second_steps(request, request.hires) if request.hires else 0)
        case "img2img" | "inpaint":
            return left
        case "upscale" if request.upscale and request.upscale.diffusion:
            asked = request.upscale
            return left * sum(1 for _ in tiles(request.width, request.height, asked.tile, asked.overlap, factor))
    return 0


SCRIPTS: Mapping[Mode, Callable[[Painter], Script]] = {
    "txt2img": txt2img,
    "img2img": img2img,
    "inpaint": inpaint,
    "upscale": upscale,
    "convert": convert,
    "grid": grid,
}


def script(painter: Painter) -> Script:
    """The script for a picture's mode, not yet started."""
    return SCRIPTS[painter.request.mode](painter)
