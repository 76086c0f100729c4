"""Labelled contact sheets: every drawn picture with its prompt and what the judge saw, right ones in green."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from PIL import Image, ImageDraw

from training.data import STYLES
from training.judging.asks import PARTS, Ask

COLUMNS, ROWS = 16, 20
MARGIN, LINE = 4, 12
RIGHT, WRONG = (0, 120, 40), (170, 30, 30)


def page(pictures: Sequence[Image.Image], asks: Sequence[Ask], told: Sequence[tuple[bool, str]]) -> Image.Image:
    """One sheet of any number of pictures of one size."""
    width, height = pictures[0].size
    columns = min(COLUMNS, len(pictures))
    rows = -(-len(pictures) // columns)
    step_x, step_y = width + MARGIN, height + MARGIN + 2 * LINE
    sheet = Image.new("RGB", (columns * step_x + MARGIN, rows * step_y + MARGIN), "white")
    pen = ImageDraw.Draw(sheet)
    letters = width // 5
    for place, (picture, ask, (hit, seen)) in enumerate(zip(pictures, asks, told, strict=True)):
        left, top = MARGIN + place % columns * step_x, MARGIN + place // columns * step_y
        sheet.paste(picture, (left, top))
        pen.text((left, top + height), ask.prompt[:letters], fill="black", font_size=9)
        mark = "+" if hit else "-"
        pen.text((left, top + height + LINE), f"{mark} {seen}"[:letters], fill=RIGHT if hit else WRONG, font_size=9)
    return sheet


def write(
    out: Path, pictures: Sequence[Image.Image], asks: Sequence[Ask], told: Sequence[tuple[bool, str]]
) -> list[Path]:
    """PNG files in `out`: the listed pictures style by style, then the other parts; 320 pictures a page."""
    kinds = [("listed", style) for style in STYLES] + [(part, "") for part in PARTS if part != "listed"]
    written: list[Path] = []
    for part, style in kinds:
        rows = [place for place, ask in enumerate(asks) if ask.part == part and ask.style == style]
        for number, start in enumerate(range(0, len(rows), COLUMNS * ROWS)):
            some = rows[start : start + COLUMNS * ROWS]
            name = "-".join(word for word in (part, style, str(number + 1) if number else "") if word)
            sheet = page([pictures[n] for n in some], [asks[n] for n in some], [told[n] for n in some])
            written.append(out / f"{name}.png")
            sheet.save(written[-1])
    return written
