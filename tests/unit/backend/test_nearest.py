"""Brute force over int8 vectors: the order of exact cosines, and pages that neither skip nor repeat."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backend.errors import InvalidParameter
from backend.nearest import UNITS, WIDTH, Table, cursor_of, place_of, quantised


def rows(count: int, seed: int = 0) -> np.ndarray:
    """Directions of which some are the same."""
    made = np.random.default_rng(seed).normal(size=(count, WIDTH)).astype(np.float32)
    made[::7] = made[:1]
    return np.array([quantised(row) for row in made], dtype=np.int8).reshape(-1, WIDTH)


def table(vectors: np.ndarray) -> Table:
    return Table.of((10 * place, vector.tobytes()) for place, vector in enumerate(vectors))


def test_the_order_is_that_of_the_cosines() -> None:
    vectors = rows(300)
    exact = vectors.astype(np.float64) / np.linalg.norm(vectors.astype(np.float64), axis=1, keepdims=True)
    cosines = exact @ exact[5]
    found = table(vectors).ranked(vectors[5], range(0, 3000, 10), 300)
    assert found[0] == (UNITS, 50) or abs(found[0][0] - UNITS) < 100
    assert [units for units, _ in found] == pytest.approx(sorted(cosines[cosines > 0] * UNITS, reverse=True), abs=100)


def test_int8_keeps_a_direction_to_a_hundredth() -> None:
    exact = np.random.default_rng(1).normal(size=WIDTH).astype(np.float32)
    kept = quantised(exact).astype(np.float32)
    assert kept @ exact / np.linalg.norm(kept) / np.linalg.norm(exact) > 0.9999


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 60), st.integers(1, 9))
def test_pages_neither_skip_nor_repeat_even_among_equals(count: int, size: int) -> None:
    vectors = rows(count)
    whole = table(vectors)
    keys = [10 * place for place in range(count) if place % 3]
    asked = quantised(np.ones(WIDTH, dtype=np.float32))
    everything = whole.ranked(asked, keys, count or 1)
    seen: list[tuple[int, int]] = []
    while page := whole.ranked(asked, keys, size, place_of(cursor_of(*seen[-1])) if seen else None):
        seen += page
    assert seen == everything == sorted(everything, reverse=True)
    assert {key for _, key in seen} <= set(keys)


def test_only_the_keys_that_are_asked_for_are_found() -> None:
    vectors = rows(20)
    whole = table(vectors)
    assert {key for _, key in whole.ranked(vectors[3], [30, 40, 55, 9999], 9)} <= {30, 40}
    assert whole.ranked(vectors[3], [], 9) == [] == Table.of(()).ranked(vectors[3], [30], 9)


def test_a_picture_that_could_not_be_read_is_never_near() -> None:
    whole = Table.of([(1, bytes(WIDTH)), (2, b"short"), (3, rows(1)[0].tobytes())])
    assert [key for _, key in whole.ranked(rows(1)[0], [1, 2, 3], 9)] == [3]


def test_tables_are_joined_in_the_order_of_their_keys() -> None:
    vectors = rows(9)
    odd = Table.of((place, vectors[place].tobytes()) for place in range(1, 9, 2))
    even = Table.of((place, vectors[place].tobytes()) for place in range(0, 9, 2))
    both = odd.joined(even)
    assert both.keys.tolist() == list(range(9))
    assert (both.rows == vectors).all()


@pytest.mark.parametrize("text", ["", "x", "czE6NQ", "bTE6NQ", "bTE6LTE6LTE", "ä", "😀", cursor_of(5, 7) + "="])
def test_a_strange_cursor_is_refused(text: str) -> None:
    with pytest.raises(InvalidParameter) as caught:
        place_of(text)
    assert caught.value.problem.field == "before"
