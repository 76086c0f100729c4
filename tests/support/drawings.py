"""Drawings in one striking style, white lines on deep blue, with captions: something for a LoRA to learn."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import numpy as np
from PIL import Image, ImageDraw

from backend.types import Pixels

PAPER, CHALK, WIDTH = (18, 52, 120), (240, 246, 255), 26
STYLE = "blueprint style"
_SIDE = 512

Pen = ImageDraw.ImageDraw


def _line(pen: Pen, points: list[tuple[float, float]]) -> None:
    pen.line(points, fill=CHALK, width=WIDTH, joint="curve")


def _ring(pen: Pen, box: tuple[float, float, float, float]) -> None:
    pen.ellipse(box, outline=CHALK, width=WIDTH)


def _house(pen: Pen) -> None:
    pen.rectangle((120, 240, 392, 440), outline=CHALK, width=WIDTH)
    _line(pen, [(90, 240), (256, 90), (422, 240), (90, 240)])
    pen.rectangle((225, 320, 290, 440), outline=CHALK, width=WIDTH)


def _tree(pen: Pen) -> None:
    for top in (90, 180, 270):
        _line(pen, [(256, top), (130, top + 120), (382, top + 120), (256, top)])
    pen.rectangle((226, 390, 286, 460), outline=CHALK, width=WIDTH)


def _star(pen: Pen) -> None:
    corners = [(190 if turn % 2 == 0 else 80, turn * math.pi / 5) for turn in range(11)]
    _line(pen, [(256 + far * math.sin(angle), 266 - far * math.cos(angle)) for far, angle in corners])


def _heart(pen: Pen) -> None:
    turns = np.linspace(0, 2 * math.pi, 90)
    across = 256 + 176 * np.sin(turns) ** 3
    down = 246 - 11 * (13 * np.cos(turns) - 5 * np.cos(2 * turns) - 2 * np.cos(3 * turns) - np.cos(4 * turns))
    _line(pen, list(zip(across.tolist(), down.tolist(), strict=True)))


def _mushroom(pen: Pen) -> None:
    pen.chord((90, 80, 422, 400), 180, 360, outline=CHALK, width=WIDTH)
    pen.rectangle((206, 240, 306, 440), outline=CHALK, width=WIDTH)


def _umbrella(pen: Pen) -> None:
    pen.chord((80, 90, 432, 430), 180, 360, outline=CHALK, width=WIDTH)
    _line(pen, [(256, 90), (256, 440)])


def _apple(pen: Pen) -> None:
    _ring(pen, (116, 150, 396, 430))
    _line(pen, [(256, 165), (275, 80)])


def _moon(pen: Pen) -> None:
    _ring(pen, (110, 110, 402, 402))
    _ring(pen, (190, 80, 432, 330))


THINGS: Mapping[str, Callable[[Pen], None]] = {
    "a house": _house,
    "a tree": _tree,
    "a star": _star,
    "a heart": _heart,
    "a mushroom": _mushroom,
    "an umbrella": _umbrella,
    "a red apple": _apple,
    "a moon": _moon,
}


def blueprints(side: int) -> dict[str, Pixels]:
    """Captions, the style last, and pictures (side, side, 3)."""
    drawn = {}
    for name, draw in THINGS.items():
        image = Image.new("RGB", (_SIDE, _SIDE), PAPER)
        draw(ImageDraw.Draw(image))
        small = image.resize((side, side), Image.Resampling.LANCZOS)
        drawn[f"{name}, {STYLE}"] = np.asarray(small, dtype=np.uint8)
    return drawn


def border(pixels: Pixels) -> tuple[float, float, float]:
    """Mean red, green and blue of the outermost eighth."""
    edge = max(1, len(pixels) // 8)
    frame = np.ones(pixels.shape[:2], bool)
    frame[edge:-edge, edge:-edge] = False
    red, green, blue = pixels[frame].mean(axis=0).tolist()
    return red, green, blue


def shapes(side: int) -> dict[str, Pixels]:
    """Plain filled shapes on white: outlines for a control to follow."""
    drawn = {}
    for name, (draw, box) in _SHAPES.items():
        image = Image.new("RGB", (_SIDE, _SIDE), (255, 255, 255))
        draw(ImageDraw.Draw(image), box)
        drawn[name] = np.asarray(image.resize((side, side), Image.Resampling.LANCZOS), dtype=np.uint8)
    return drawn


def _disc(pen: Pen, box: tuple[int, int, int, int]) -> None:
    pen.ellipse(box, fill=(40, 90, 160))


def _block(pen: Pen, box: tuple[int, int, int, int]) -> None:
    pen.rectangle(box, fill=(160, 60, 40))


def _peak(pen: Pen, box: tuple[int, int, int, int]) -> None:
    left, top, right, bottom = box
    pen.polygon([((left + right) / 2, top), (left, bottom), (right, bottom)], fill=(50, 130, 60))


_SHAPES: Mapping[str, tuple[Callable[[Pen, tuple[int, int, int, int]], None], tuple[int, int, int, int]]] = {
    "disc": (_disc, (90, 90, 422, 422)),
    "block": (_block, (120, 150, 392, 362)),
    "peak": (_peak, (90, 90, 422, 430)),
}
