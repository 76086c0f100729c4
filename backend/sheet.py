"""Several pictures on one sheet, with labels: the grid of an x/y/z plot or of a batch. Pixels only."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from backend.images import resize
from backend.types import Grid, Pixels

MAX_SIDE = 16_383
"""The longest side of a sheet in pixels; above it cells are made smaller. WebP could hold no more."""
MAX_PIXELS = 40_000_000
"""The largest area of a sheet: it is decoded, inspected and marked as a whole."""
_PAPER, _INK, _EMPTY = (255, 255, 255), (24, 24, 24), (232, 232, 232)
_WRAP = 28
_LEAST = 16
_MAX_TEXT = 500


@dataclass(frozen=True, slots=True)
class _Layout:
    """Where everything goes. `width` and `height` are those of a cell, `size` is the font's; all in pixels."""

    width: int
    height: int
    columns: int
    rows: int
    margin: int
    size: int
    left: int
    top: int
    title: str
    heads: tuple[str, ...]
    sides: tuple[str, ...]

    @property
    def line(self) -> int:
        return _line(self.size)

    @property
    def sheet(self) -> tuple[int, int]:
        """Width and height."""
        return (
            self.left + self.columns * (self.width + self.margin) - self.margin,
            self.top + self.rows * (self.height + self.margin) - self.margin,
        )

    def place(self, number: int) -> tuple[int, int]:
        """The upper left corner of a cell."""
        row, column = divmod(number, self.columns)
        return self.left + column * (self.width + self.margin), self.top + row * (self.height + self.margin)


def compose(cells: Sequence[Pixels | None], grid: Grid) -> Pixels:
    """`cells` row by row, None for a place without a picture. All cells get the size of the largest."""
    shapes = [cell.shape for cell in cells if cell is not None]
    height, width = max((shape[0] for shape in shapes), default=128), max((shape[1] for shape in shapes), default=128)
    layout = _that_fits(grid, -(-len(cells) // grid.columns), width, height)
    font = ImageFont.load_default(layout.size)
    sheet = Image.new("RGB", layout.sheet, _PAPER)
    pen = ImageDraw.Draw(sheet)
    _write(pen, font, layout)
    for number, cell in enumerate(cells):
        x, y = layout.place(number)
        if cell is None:
            sheet.paste(_empty(layout, font), (x, y))
        else:
            sheet.paste(Image.fromarray(_fitted(cell, layout.width, layout.height)), (x, y))
    return np.asarray(sheet, dtype=np.uint8)


def _empty(layout: _Layout, font: ImageFont.FreeTypeFont | ImageFont.ImageFont) -> Image.Image:
    """A cell without a picture; its own image, so that its words cannot reach into the next one."""
    cell = Image.new("RGB", (layout.width, layout.height), _EMPTY)
    ImageDraw.Draw(cell).text((layout.width / 2, layout.height / 2), "no picture", _INK, font, anchor="mm")
    return cell


def shrunk(pixels: Pixels, number: int) -> Pixels:
    """A cell no larger than a sheet of `number` cells can show, so that many do not fill the memory."""
    height, width = pixels.shape[:2]
    share = math.sqrt(MAX_PIXELS / (number * height * width))
    return pixels if share >= 1 else resize(pixels, max(1, int(width * share)), max(1, int(height * share)), "stretch")


def _that_fits(grid: Grid, rows: int, width: int, height: int) -> _Layout:
    """Cells of this size, or of the largest with which the sheet keeps to its limits."""
    while True:
        layout = _layout(grid, rows, width, height)
        wide, tall = layout.sheet
        scale = min(1.0, MAX_SIDE / wide, MAX_SIDE / tall, math.sqrt(MAX_PIXELS / (wide * tall)))
        if scale == 1 or (width, height) == (_LEAST, _LEAST):
            return layout
        width, height = (max(_LEAST, int(side * scale * 0.99)) for side in (width, height))


def _layout(grid: Grid, rows: int, width: int, height: int) -> _Layout:
    size = max(12, min(width, height) // 14)
    font = ImageFont.load_default(size)
    title = _wrapped(grid.title, max(_WRAP, grid.columns * width * 2 // size))
    heads = tuple(_wrapped(label, max(6, width * 2 // size)) for label in grid.column_labels[: grid.columns])
    sides = tuple(_wrapped(label, _WRAP) for label in grid.row_labels[:rows])
    line = _line(size)
    return _Layout(
        width=width,
        height=height,
        columns=grid.columns,
        rows=rows,
        margin=min(grid.margin, MAX_SIDE // (4 * max(grid.columns, rows))),
        size=size,
        left=max((_text_width(text, font) for text in sides), default=0) + (line if any(sides) else 0),
        top=_room([title], line) + _room(heads, line),
        title=title,
        heads=heads,
        sides=sides,
    )


def _line(size: int) -> int:
    return round(size * 1.35)


def _write(pen: ImageDraw.ImageDraw, font: ImageFont.FreeTypeFont | ImageFont.ImageFont, layout: _Layout) -> None:
    """The legend."""
    gap = layout.line // 4
    if layout.title:
        middle = layout.sheet[0] / 2
        pen.multiline_text((middle, gap), layout.title, _INK, font, anchor="ma", align="center")
    for column, text in enumerate(layout.heads):
        x, y = layout.place(column)
        pen.multiline_text((x + layout.width / 2, y - gap), text, _INK, font, anchor="md", align="center")
    for row, text in enumerate(layout.sides):
        middle = layout.place(row * layout.columns)[1] + layout.height / 2
        pen.multiline_text((layout.left / 2, middle), text, _INK, font, anchor="mm", align="center")


def _fitted(cell: Pixels, width: int, height: int) -> Pixels:
    return cell if cell.shape[:2] == (height, width) else resize(cell, width, height, "fill")


def _wrapped(text: str, width: int) -> str:
    """Broken at blanks; what cannot be broken is cut. At most four lines."""
    lines: list[str] = []
    for word in text[:_MAX_TEXT].split():
        if lines and len(lines[-1]) + 1 + len(word) <= width:
            lines[-1] += " " + word
        else:
            lines.append(word[:width])
    return "\n".join([*lines[:4], *(["…"] if len(lines) > 4 else [])])


def _room(texts: Sequence[str], line: int) -> int:
    return (max(text.count("\n") for text in texts) + 1) * line + line // 2 if any(texts) else 0


def _text_width(text: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont) -> int:
    return round(max((font.getlength(row) for row in text.split("\n")), default=0))
