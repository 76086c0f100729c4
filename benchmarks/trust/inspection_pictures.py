"""Harmless pictures: those of this repository, some drawn on the spot, and the drawings the starter learned on."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np

from backend import images
from backend.settings import ROOT
from backend.types import Pixels
from benchmarks.trust import Options

DRAWINGS = ROOT / "training" / "work" / "pictures.npy"
_SKIN = np.array([[255, 219, 172], [241, 194, 125], [224, 172, 105], [198, 134, 66], [141, 85, 36], [74, 42, 20]])


def groups(options: Options, drawings: int) -> Iterator[tuple[str, Iterator[Pixels]]]:
    """By where they come from; at most `drawings` of the training drawings, none where they are not there."""
    yield "starter", _starter()
    yield "docs", _docs(12 if options.quick else 200)
    rng = np.random.default_rng(options.seed)
    yield "drawn here", (draw(rng) for _ in range(20 if options.quick else 400))
    if DRAWINGS.is_file():
        yield "training drawings", _drawings(40 if options.quick else drawings, rng)


def _starter() -> Iterator[Pixels]:
    sheet = _read(ROOT / "docs" / "starter" / "contact-sheet.png")
    for top in range(4, 580, 146):
        for left in range(4, 1056, 132):
            yield sheet[top : top + 128, left : left + 128]


def _docs(most: int) -> Iterator[Pixels]:
    """Whole pictures, then squares out of them."""
    whole = [
        _read(path) for folder in ("pictures", "screenshots") for path in sorted((ROOT / "docs" / folder).glob("*.png"))
    ]
    rng = np.random.default_rng(0)
    yield from whole[:most]
    for number in range(most - len(whole)):
        pixels = whole[number % len(whole)]
        side = int(rng.integers(96, min(pixels.shape[:2]) + 1))
        top, left = (int(rng.integers(0, length - side + 1)) for length in pixels.shape[:2])
        yield pixels[top : top + side, left : left + side]


def draw(rng: np.random.Generator, side: int = 256) -> Pixels:
    """Round shapes on a plain or shaded ground, in any colour or in those of skin, sharp or soft."""
    ground, last = rng.integers(0, 256, (2, 3))
    slope = np.linspace(0, 1, side)[:, None, None] * rng.integers(0, 2)
    canvas = np.ascontiguousarray(
        np.broadcast_to(ground * (1 - slope) + last * slope, (side, side, 3)).astype(np.uint8)
    )
    for _ in range(rng.integers(1, 8)):
        colour = _SKIN[rng.integers(len(_SKIN))] if rng.random() < 0.5 else rng.integers(0, 256, 3)
        centre = tuple(int(each) for each in rng.integers(0, side, 2))
        axes = tuple(int(each) for each in rng.integers(8, side // 2, 2))
        cv2.ellipse(canvas, centre, axes, float(rng.integers(0, 180)), 0, 360, [int(each) for each in colour], -1)
    return np.asarray(cv2.GaussianBlur(canvas, (0, 0), 4) if rng.random() < 0.3 else canvas, np.uint8)


def _drawings(number: int, rng: np.random.Generator) -> Iterator[Pixels]:
    """Emoji of four sets, on white or on a colour."""
    stored = np.load(DRAWINGS, mmap_mode="r")
    for index in rng.choice(len(stored), min(number, len(stored)), replace=False):
        values = stored[index].astype(np.float32)
        cover = values[..., 3:] / 255
        ground = np.full(3, 255) if rng.random() < 0.5 else rng.integers(0, 256, 3)
        yield (values[..., :3] * cover + ground * (1 - cover)).round().astype(np.uint8)


def _read(path: Path) -> Pixels:
    return images.decode(path.read_bytes(), max_pixels=10**7).pixels
