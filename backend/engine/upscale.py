"""Make pictures and latents larger: by resampling, or by networks of the ESRGAN kind, tile by tile."""

from __future__ import annotations

import importlib
import importlib.util
import sys
import types
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from torch.nn.functional import interpolate

from backend.engine.stopped import Stopped
from backend.errors import InvalidParameter, SignetError, Unavailable, UnknownModel, UnreadableModel
from backend.models.loader.weights import read, size_of
from backend.types import ModelInfo, Pixels
from backend.upscalers import LATENT, PIXEL

MOST_PASSES = 3
"""Times a network may be applied to reach the wanted size; what is then missing is resampled (as A1111 1.10.1 does)."""

RIM = 8
"""Pixels by which a tile is continued outwards before a network sees it. Convolutions take what lies outside for
black, and would leave a frame a few pixels wide on a light ground."""

_RESAMPLE = {"Lanczos": Image.Resampling.LANCZOS, "Nearest": Image.Resampling.NEAREST}
_LATENT: Mapping[str, Mapping[str, Any]] = {
    "Latent": {"mode": "bilinear", "antialias": False},
    "Latent (antialiased)": {"mode": "bilinear", "antialias": True},
    "Latent (bicubic)": {"mode": "bicubic", "antialias": False},
    "Latent (bicubic antialiased)": {"mode": "bicubic", "antialias": True},
    "Latent (nearest)": {"mode": "nearest"},
    "Latent (nearest-exact)": {"mode": "nearest-exact"},
}
_ABSENT = ("torchvision", "torchvision.transforms", "torchvision.transforms.functional")


@dataclass(frozen=True, slots=True)
class LoadedUpscaler:
    """A network that enlarges by the whole number `scale`. `net` is spandrel's descriptor, `size` bytes of weights."""

    info: ModelInfo
    net: Any
    scale: int
    size: int
    device: torch.device
    dtype: torch.dtype


def upscalers() -> tuple[str, ...]:
    """Names that are always there: those for pixels, then those for latents."""
    return (*PIXEL, *LATENT)


def load_upscaler(info: ModelInfo, device: torch.device, dtype: torch.dtype) -> LoadedUpscaler:
    """A safetensors file of any architecture that spandrel knows and that takes and gives RGB.

    Runs in float32 where the network overflows in `dtype`. Raises UnreadableModel.
    """
    tensors = read(Path(info.path), torch.device("cpu"), None)
    spandrel = _spandrel()
    try:
        net = spandrel.ModelLoader().load_from_state_dict(tensors)
    except SignetError:
        raise
    except Exception as error:  # forty architectures; whatever their constructors raise, the file is at fault
        detail = f"It is no upscaler of a known kind ({type(error).__name__}: {str(error)[:100]})."
        raise UnreadableModel(info.id, detail) from error
    if not isinstance(net, spandrel.ImageModelDescriptor) or (net.input_channels, net.output_channels) != (3, 3):
        raise UnreadableModel(info.id, "It does not take a colour picture and give one back.")
    fits = {torch.float16: net.supports_half, torch.bfloat16: net.supports_bfloat16}.get(dtype, True)
    net = net.to(device, dtype if fits else torch.float32).eval()
    net.model.requires_grad_(False)
    return LoadedUpscaler(info, net, int(net.scale), size_of([net.model]), device, net.dtype)


def latent_resize(latent: Tensor, height: int, width: int, name: str = "Latent") -> Tensor:
    """(B, C, h, w) to (B, C, height, width), sizes in latents, by the method `name` of A1111's hires pass."""
    if name not in _LATENT:
        raise UnknownModel(name, tuple(_LATENT), "upscaler for latents", "upscaler", "upscalers")
    return interpolate(latent.float(), size=(height, width), **_LATENT[name]).to(latent.dtype)


def upscale(
    pixels: Pixels,
    width: int,
    height: int,
    upscaler: str | LoadedUpscaler,
    tile: int = 512,
    overlap: int = 32,
    cancelled: Callable[[], bool] = lambda: False,
) -> Pixels:
    """Pixels (H, W, 3) to (height, width, 3). Raises Stopped as soon as `cancelled` says so; else see `steps`."""
    work = steps(pixels, width, height, upscaler, tile, overlap)
    while True:
        if cancelled():
            raise Stopped
        try:
            next(work)
        except StopIteration as done:
            result: Pixels = done.value
            return result


def steps(
    pixels: Pixels, width: int, height: int, upscaler: str | LoadedUpscaler, tile: int = 512, overlap: int = 32
) -> Generator[tuple[int, int], None, Pixels]:
    """The same as a generator of (tiles done, tiles of this pass), so that a loop can do other things in between.

    A network is applied until the picture is large enough, then the rest is resampled by Lanczos. `tile` and `overlap`
    are pixels of the picture that goes in; what a network sees beyond overlap / 2 of a pixel does not cross a seam.
    Raises InvalidParameter if tiles are too small for their overlap, UnknownModel for an unknown name.
    """
    if isinstance(upscaler, str):
        return _resample(pixels, width, height, upscaler)
    if overlap < 0 or tile < 4 * overlap or tile < 16:
        raise InvalidParameter("tile", f"Tiles of {tile} pixels are too small for an overlap of {overlap}.")
    for _ in range(MOST_PASSES):
        if upscaler.scale > 1 and pixels.shape[0] >= height and pixels.shape[1] >= width:
            break
        pixels = yield from _pass(pixels, upscaler, tile, overlap)
        if upscaler.scale == 1:
            break
    return _resample(pixels, width, height, "Lanczos")


def _resample(pixels: Pixels, width: int, height: int, name: str) -> Pixels:
    if name not in _RESAMPLE:
        raise UnknownModel(name, tuple(_RESAMPLE), "upscaler", "upscaler", "upscalers")
    if pixels.shape[:2] == (height, width):
        return pixels
    return np.array(Image.fromarray(pixels).resize((width, height), _RESAMPLE[name]), dtype=np.uint8)


def _pass(
    pixels: Pixels, upscaler: LoadedUpscaler, tile: int, overlap: int
) -> Generator[tuple[int, int], None, Pixels]:
    """The network once over the picture. Seams are blended over `overlap` pixels."""
    rows, columns = pixels.shape[:2]
    scale = upscaler.scale
    total = np.zeros((rows * scale, columns * scale, 3), np.float32)
    weight = np.zeros((rows * scale, columns * scale, 1), np.float32)
    places = tuple(product(_spans(rows, tile, overlap), _spans(columns, tile, overlap)))
    for number, ((top, bottom), (left, right)) in enumerate(places, 1):
        part = _enlarged(pixels[top:bottom, left:right], upscaler)
        down = _ramp(top, bottom, rows, overlap, scale)[:, None, None]
        across = _ramp(left, right, columns, overlap, scale)[None, :, None]
        where = np.s_[top * scale : bottom * scale, left * scale : right * scale]
        total[where] += part * down * across
        weight[where] += down * across
        yield number, len(places)
    total /= weight
    return np.asarray(total.round().clip(0, 255), dtype=np.uint8)


def _enlarged(part: Pixels, upscaler: LoadedUpscaler) -> NDArray[np.float32]:
    """(h, w, 3) to (h*scale, w*scale, 3), 0..255."""
    around = np.pad(part, ((RIM, RIM), (RIM, RIM), (0, 0)), mode="edge")
    inside = slice(RIM * upscaler.scale, -RIM * upscaler.scale)
    with torch.inference_mode():
        row = torch.from_numpy(around).permute(2, 0, 1)[None]
        image: Tensor = upscaler.net(row.to(upscaler.device, upscaler.dtype) / 255)
        return (image[0, :, inside, inside].float() * 255).permute(1, 2, 0).cpu().numpy()


def _spans(length: int, tile: int, overlap: int) -> Iterator[tuple[int, int]]:
    """Stretches of `tile` pixels that cover `length`. Neighbours share 2 * overlap: half of it is only looked at."""
    step = tile - 2 * overlap
    starts = range(0, max(length - 2 * overlap, 1), step)
    for start in starts:
        end = min(start + tile, length)
        yield max(end - tile, 0), end
        if end == length:
            return


def _ramp(start: int, end: int, length: int, overlap: int, scale: int) -> NDArray[np.float32]:
    """Weights along one side of a tile. Towards a neighbour: nothing for overlap / 2 pixels, then rising to 1.

    The pixels next to a cut were computed without their neighbours; they are left out rather than blended.
    """
    place = (np.arange((end - start) * scale, dtype=np.float32) + 0.5) / scale
    weights = np.ones_like(place)
    for distance, cut in ((place, start > 0), ((end - start) - place, end < length)):
        if cut and overlap:
            weights = np.minimum(weights, ((distance - overlap / 2) / overlap).clip(0, 1))
    return weights.astype(np.float32)


def _spandrel() -> Any:
    """The library, imported when it is first needed: it takes a second, and most pictures are never enlarged."""
    with _stand_in():
        return importlib.import_module("spandrel")


@contextmanager
def _stand_in() -> Iterator[None]:
    """Two of spandrel's architectures import torchvision, which must not be installed here (see requirements/lock.txt).

    While spandrel is imported, and no longer, there is a stand-in whose functions say so when they are called.
    """
    if "spandrel" in sys.modules or importlib.util.find_spec(_ABSENT[0]) is not None:
        yield
        return
    for name in _ABSENT:
        sys.modules[name] = types.ModuleType(name)
    functional = sys.modules[_ABSENT[-1]]
    for function in ("normalize", "rotate", "InterpolationMode"):
        setattr(functional, function, _needs_torchvision)
    try:
        yield
    finally:
        for name in _ABSENT:
            del sys.modules[name]


def _needs_torchvision(*_: object, **__: object) -> NoReturn:
    raise Unavailable("This kind of upscaler needs torchvision, which cannot be installed beside Signet.")
