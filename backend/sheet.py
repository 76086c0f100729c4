"""Several pictures on one sheet, with labels: the grid of an x/y/z plot or of a batch. Pixels only."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from backend.images import resize
from backend.types import Grid, Pixels

MAX_SIDE = 16_383
"""The longest side of a sheet in pixels; above it cells are made smaller. WebP could hold no more."""
_PAPER, _INK, _EMPTY = (255, 255, 255), (24, 24, 24), (232, 232, 232)
_WRAP = 28


def compose(cells: Sequence[Pixels | None], grid: Grid) -> Pixels:
    """`cells` row by row, None for a place without a picture. All cells get the size of the largest."""
    rows = -(-len(cells) // grid.columns)
    height, width = _cell_size([cell for cell in cells if cell is not None], rows, grid)
    size = max(12, min(width, height) // 14)
    font = ImageFont.load_default(size)
    title = _wrapped(grid.title, max(_WRAP, grid.columns * width * 2 // size))
    heads = [_wrapped(label, max(6, width * 2 // size)) for label in grid.column_labels]
    sides = [_wrapped(label, _WRAP) for label in grid.row_labels]
    line = round(size * 1.35)
    top = (len(title.split("\n")) * line + line // 2 if title else 0) + _room(heads, line)
    left = max((_text_width(text, font) for text in sides), default=0) + (line if any(sides) else 0)
    step_x, step_y = width + grid.margin, height + grid.margin
    sheet = Image.new("RGB", (left + grid.columns * step_x - grid.margin, top + rows * step_y - grid.margin), _PAPER)
    pen = ImageDraw.Draw(sheet)
    if title:
        pen.multiline_text((sheet.width / 2, line // 4), title, _INK, font, anchor="ma", align="center")
    for column, text in enumerate(heads[: grid.columns]):
        pen.multiline_text(
            (left + column * step_x + width / 2, top - line // 4), text, _INK, font, anchor="md", align="center"
        )
    for row, text in enumerate(sides[:rows]):
        pen.multiline_text((left / 2, top + row * step_y + height / 2), text, _INK, font, anchor="mm", align="center")
    for number, cell in enumerate(cells):
        row, column = divmod(number, grid.columns)
        place = (left + column * step_x, top + row * step_y)
        if cell is None:
            pen.rectangle((*place, place[0] + width - 1, place[1] + height - 1), _EMPTY)
            pen.text((place[0] + width / 2, place[1] + height / 2), "no picture", _INK, font, anchor="mm")
        else:
            sheet.paste(Image.fromarray(_fitted(cell, width, height)), place)
    return np.asarray(sheet, dtype=np.uint8)


def _cell_size(cells: Sequence[Pixels], rows: int, grid: Grid) -> tuple[int, int]:
    height = max((cell.shape[0] for cell in cells), default=128)
    width = max((cell.shape[1] for cell in cells), default=128)
    scale = min(1.0, MAX_SIDE / (2 * (grid.columns * width + 1)) * 1.9, MAX_SIDE / (2 * (rows * height + 1)) * 1.9)
    return max(16, int(height * scale)), max(16, int(width * scale))


def _fitted(cell: Pixels, width: int, height: int) -> Pixels:
    return cell if cell.shape[:2] == (height, width) else resize(cell, width, height, "fill")


def _wrapped(text: str, width: int) -> str:
    """Broken at blanks; what cannot be broken is cut. At most four lines."""
    lines: list[str] = []
    for word in text.split():
        if lines and len(lines[-1]) + 1 + len(word) <= width:
            lines[-1] += " " + word
        else:
            lines.append(word[:width])
    return "\n".join([*lines[:4], *(["…"] if len(lines) > 4 else [])])


def _room(texts: Sequence[str], line: int) -> int:
    return (max(text.count("\n") for text in texts) + 1) * line + line // 2 if any(texts) else 0


def _text_width(text: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont) -> int:
    return round(max((font.getlength(row) for row in text.split("\n")), default=0))
