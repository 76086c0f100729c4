"""Sheets of pictures: where cells lie, what labels do, and how large it may get."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backend import sheet
from backend.sheet import MAX_PIXELS, MAX_SIDE, compose, shrunk
from backend.types import Grid, Pixels

EMPTY = (232, 232, 232)


def cell(shade: int, width: int = 64, height: int = 48) -> Pixels:
    return np.full((height, width, 3), shade, np.uint8)


def grid(number: int, columns: int, **more: object) -> Grid:
    return Grid.model_validate({"cells": ("job",) * number, "columns": columns, **more})


def test_cells_lie_row_by_row_with_a_margin_between_them() -> None:
    made = compose([cell(10), cell(20), cell(30), cell(40)], grid(4, 2, margin=6))
    assert made.shape == (48 * 2 + 6, 64 * 2 + 6, 3)
    for shade, (x, y) in {10: (0, 0), 20: (70, 0), 30: (0, 54), 40: (70, 54)}.items():
        assert (made[y : y + 48, x : x + 64] == shade).all()
    assert (made[:, 64:70] == 255).all() and (made[48:54] == 255).all()


def test_labels_stand_outside_of_the_pictures() -> None:
    labels = {"column_labels": ("Steps: 4", "Steps: 8"), "row_labels": ("a cat",), "title": "Seed: 7"}
    made = compose([cell(10), cell(20)], grid(2, 2, **labels))
    top, left = made.shape[0] - 48, made.shape[1] - 128
    assert top > 30 and left > 30
    assert (made[top:, left : left + 64] == 10).all() and (made[top:, left + 64 :] == 20).all()
    assert made[:top].min() < 100 and made[top:, :left].min() < 100, "there is ink"


def test_a_place_without_a_picture_says_so_in_grey() -> None:
    made = compose([cell(10, 128, 128), None], grid(2, 2))
    place = made[:, 128:]
    assert tuple(place[0, 0]) == EMPTY and place.min() < 100
    assert compose([None], grid(1, 1)).shape == (128, 128, 3)


def test_cells_of_other_sizes_get_that_of_the_largest_without_being_stretched() -> None:
    wide = np.zeros((32, 64, 3), np.uint8)
    wide[:, 32:] = 200
    made = compose([cell(90, 64, 64), wide], grid(2, 2))
    assert made.shape == (64, 128, 3)
    right = made[:, 64:]
    assert right[32, 8, 0] < 20 and right[32, 56, 0] > 180


@pytest.mark.parametrize(
    "label",
    ["x" * 100_000, "word " * 50_000, "日本語の長い名前" * 40, "עברית ‮rtl‬", "👩‍🎨 e\u0301", "\ud800", "a\nb\x07", ""],
)
def test_no_label_breaks_or_bursts_a_sheet(label: str) -> None:
    made = compose([cell(10), cell(20)], Grid.model_construct(
        cells=("a", "b"), columns=1, column_labels=(label,), row_labels=(label, label), title=label, margin=0,
    ))  # fmt: skip
    assert made.shape[0] < 1000 and made.shape[1] < 1500
    assert (made[-48:, -64:] == 20).all()


def test_labels_beyond_the_cells_are_left_out() -> None:
    labels = ("a", "b", "c", "d")
    assert (
        compose([cell(1)], grid(1, 1, row_labels=labels)).shape
        == compose([cell(1)], grid(1, 1, row_labels=("a",))).shape
    )


@given(
    st.integers(1, 400), st.integers(1, 400), st.integers(16, 4096), st.integers(16, 4096), st.integers(0, 100),
    st.text(max_size=200),
)  # fmt: skip
@settings(max_examples=200, deadline=None)
def test_a_sheet_keeps_to_its_limits_whatever_lies_on_it(
    number: int, columns: int, width: int, height: int, margin: int, label: str
) -> None:
    columns = min(columns, number)
    rows = -(-number // columns)
    asked = Grid.model_construct(
        cells=("a",) * number, columns=columns, column_labels=(label,) * columns, row_labels=(label,) * rows,
        title=label, margin=margin,
    )  # fmt: skip
    layout = sheet._that_fits(asked, rows, width, height)
    wide, tall = layout.sheet
    assert 0 < wide <= MAX_SIDE and 0 < tall <= MAX_SIDE and wide * tall <= MAX_PIXELS
    assert min(layout.width, layout.height) >= 16 and layout.width <= width and layout.height <= height


def test_large_cells_are_made_smaller_all_alike() -> None:
    made = compose([cell(10, 2048, 2048)] * 16, grid(16, 4))
    assert made.shape[0] * made.shape[1] <= MAX_PIXELS
    assert made.shape[0] == made.shape[1] > 6000
    assert (made == 10).all()


def test_cells_are_shrunk_before_they_fill_the_memory() -> None:
    small = cell(10)
    assert shrunk(small, 400) is small
    large = shrunk(cell(10, 4096, 2048), 400)
    assert large.shape[0] * large.shape[1] * 400 <= MAX_PIXELS
    assert abs(large.shape[1] / large.shape[0] - 2) < 0.02
