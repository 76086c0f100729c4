"""A small fixed set of pictures: icon-like ones on white, and photograph-like ones."""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np
import pytest
from PIL import Image, ImageDraw

from backend.types import Pixels

Drawing = Callable[[int, int], Pixels]
FINE = 4  # icons are drawn larger by this factor and shrunk, which smooths their edges


def _canvas(width: int, height: int) -> tuple[Image.Image, ImageDraw.ImageDraw]:
    image = Image.new("RGB", (width * FINE, height * FINE), "white")
    return image, ImageDraw.Draw(image)


def _shrunk(image: Image.Image, width: int, height: int) -> Pixels:
    return np.asarray(image.resize((width, height), Image.Resampling.LANCZOS)).copy()


def face(width: int, height: int) -> Pixels:
    image, draw = _canvas(width, height)
    w, h = image.size
    draw.ellipse((0.1 * w, 0.1 * h, 0.9 * w, 0.9 * h), fill=(255, 204, 77))
    draw.ellipse((0.3 * w, 0.35 * h, 0.4 * w, 0.5 * h), fill=(102, 69, 0))
    draw.ellipse((0.6 * w, 0.35 * h, 0.7 * w, 0.5 * h), fill=(102, 69, 0))
    draw.chord((0.3 * w, 0.45 * h, 0.7 * w, 0.8 * h), 0, 180, fill=(102, 69, 0))
    return _shrunk(image, width, height)


def house(width: int, height: int) -> Pixels:
    image, draw = _canvas(width, height)
    w, h = image.size
    draw.rectangle((0.22 * w, 0.45 * h, 0.78 * w, 0.92 * h), fill=(210, 180, 140))
    draw.polygon([(0.12 * w, 0.48 * h), (0.5 * w, 0.1 * h), (0.88 * w, 0.48 * h)], fill=(190, 40, 50))
    draw.rectangle((0.45 * w, 0.65 * h, 0.6 * w, 0.92 * h), fill=(90, 60, 40))
    draw.rectangle((0.28 * w, 0.55 * h, 0.4 * w, 0.68 * h), fill=(120, 190, 240), outline=(250, 250, 250), width=FINE)
    return _shrunk(image, width, height)


def ball(width: int, height: int) -> Pixels:
    y, x = np.mgrid[0:height, 0:width] / np.array([height, width]).reshape(2, 1, 1)
    inside = np.clip((0.4 - np.hypot(x - 0.5, y - 0.5)) * min(width, height), 0, 1)[..., None]
    shade = np.clip(1.1 - 1.5 * np.hypot(x - 0.38, y - 0.35), 0.25, 1)[..., None]
    return np.rint(255 * (1 - inside) + inside * shade * np.array([70, 130, 235])).astype(np.uint8)


def hills(width: int, height: int) -> Pixels:
    """Noise with the spectrum of photographs, in three related colours."""
    random = np.random.default_rng(7)
    fy, fx = np.fft.fftfreq(height)[:, None] * height, np.fft.rfftfreq(width)[None, :] * width
    spectrum = np.fft.rfft2(random.standard_normal((3, height, width))) / np.maximum(np.hypot(fy, fx), 1.0)
    planes = np.fft.irfft2(spectrum, s=(height, width))
    mixed = np.array([planes[0], planes[0] + 0.3 * planes[1], planes[0] + 0.3 * planes[2]])
    return np.clip(125 + 45 * mixed / mixed.std(), 0, 255).astype(np.uint8).transpose(1, 2, 0).copy()


def dusk(width: int, height: int) -> Pixels:
    """A smooth gradient with a little grain."""
    y, x = np.mgrid[0:height, 0:width] / np.array([height, width]).reshape(2, 1, 1)
    sky = np.stack([60 + 170 * y, 50 + 90 * y + 20 * x, 140 - 60 * y], axis=2)
    grain = cv2.GaussianBlur(np.random.default_rng(3).normal(0, 4, (height, width, 1)), (0, 0), 0.6)
    return np.clip(sky + grain[..., None], 0, 255).astype(np.uint8)


DRAWINGS = [face, house, ball, hills, dusk]


@pytest.fixture(params=DRAWINGS, ids=[drawing.__name__ for drawing in DRAWINGS])
def drawing(request: pytest.FixtureRequest) -> Drawing:
    return request.param


@pytest.fixture
def drawings() -> list[Drawing]:
    return DRAWINGS
