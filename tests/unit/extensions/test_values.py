"""The grammar of a plot's values: known answers, and no text that breaks it."""

from __future__ import annotations

from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backend.errors import InvalidParameter
from backend.types.plans import MAX_PICTURES, Axis, AxisKind
from extensions.builtin.values import joined, parse, split

NAMES = ("Euler", "Euler a", "DPM++ 2M", "a, b")


def axis(kind: AxisKind, **more: Any) -> Axis:
    return Axis("Steps", kind, lambda fields, value: fields, **more)


def values(kind: AxisKind, text: str) -> list[Any]:
    return [value.value for value in parse(axis(kind), text, NAMES)]


@pytest.mark.parametrize(
    ("text", "numbers"),
    [
        ("1,2,3", [1, 2, 3]),
        (" 7 ", [7]),
        ("1\n2, 3", [1, 2, 3]),
        ("1-5", [1, 2, 3, 4, 5]),
        ("5-1", [5, 4, 3, 2, 1]),
        ("1-5 (+2)", [1, 3, 5]),
        ("1-6 (+2)", [1, 3, 5]),
        ("10-5 (-3)", [10, 7]),
        ("1-10 [5]", [1, 3, 5, 7, 10]),
        ("4-9 [1]", [4]),
        ("-3--1", [-3, -2, -1]),
        ("-1", [-1]),
        ("1-2, 10, 20-30 (+10)", [1, 2, 10, 20, 30]),
        ("3-3", [3]),
        ("1,,2,", [1, 2]),
        ("5.0", [5]),
    ],
)
def test_whole_numbers_and_their_ranges(text: str, numbers: list[int]) -> None:
    assert values("whole", text) == numbers


@pytest.mark.parametrize(
    ("text", "numbers"),
    [
        ("0.5, 1", [0.5, 1.0]),
        ("0.1-0.5 (+0.1)", [0.1, 0.2, 0.3, 0.4, 0.5]),
        ("0-1 [3]", [0.0, 0.5, 1.0]),
        ("0-1 [4]", [0.0, 0.3333, 0.6667, 1.0]),
        ("1.5-3", [1.5, 2.5]),
        ("1-0 (-.25)", [1.0, 0.75, 0.5, 0.25, 0.0]),
        ("-.5", [-0.5]),
    ],
)
def test_decimal_ranges_are_exact(text: str, numbers: list[float]) -> None:
    assert values("number", text) == numbers


def test_words_may_hold_commas_in_quotation_marks() -> None:
    assert values("text", 'a, "b, c", "say ""hi"""') == ["a", "b, c", 'say "hi"']
    assert values("choice", '"A, B", euler') == ["a, b", "Euler"]


def test_the_first_searched_word_is_replaced_by_each() -> None:
    assert values("search", "red, green") == [("red", "red"), ("red", "green")]


def test_an_order_has_all_permutations() -> None:
    assert values("order", "a, b") == [("a", "b"), ("b", "a")]
    assert len(values("order", "a,b,c,d,e")) == 120


def test_sizes_flags_and_lists_of_names() -> None:
    assert values("size", "512x768, 64 × 64") == [(512, 768), (64, 64)]
    assert values("flag", "yes, FALSE, 1, off") == [True, False, True, False]
    assert values("choices", '"a, b", "Euler, Euler a"') == [("a, b",), ("Euler", "Euler a")]


def test_the_legend_names_what_is_a_bare_number() -> None:
    assert [value.label for value in parse(axis("number"), "7, 7.50")] == ["Steps: 7", "Steps: 7.5"]
    assert [value.label for value in parse(axis("choice"), "euler", NAMES)] == ["Steps: Euler"]
    assert [value.label for value in parse(axis("choice", bare=True), "euler", NAMES)] == ["Euler"]


@pytest.mark.parametrize(
    ("kind", "text", "said"),
    [
        ("whole", "1, x2", '"x2" is not a number'),
        ("whole", "1.5", '"1.5" is not a whole number'),
        ("whole", "1-5 (-1)", '"1-5 (-1)" leads nowhere'),
        ("whole", "1-5 (0)", "leads nowhere"),
        ("whole", "1-5 [0]", "asks for no values"),
        ("whole", "1-99999999999", "99,999,999,999 values"),
        ("whole", "1-9 [99999999999999999999999999999999]", "values"),
        ("number", "0-1 (+0.000001)", "1,000,001 values"),
        ("whole", "9" * 30, "is not a number"),
        ("whole", "９-٣", "is not a number"),
        ("choice", "Eulr", "Euler"),
        ("flag", "maybe", "neither true nor false"),
        ("size", "512", "is not a size"),
        ("order", "a,b,c,d,e,f,g,h", "40,320 values"),
        ("text", " , ,", "There are no values"),
        ("text", "a\x00b", "no character"),
        ("text", "x" * 30_000, "too many"),
        ("text", "\ud800", "no character"),
    ],
)
def test_an_error_names_the_axis_and_the_value(kind: AxisKind, text: str, said: str) -> None:
    with pytest.raises(InvalidParameter) as caught:
        parse(axis(kind), text, NAMES)
    assert caught.value.problem.detail.startswith("Steps: ") and said in caught.value.problem.sentence()


@given(st.sampled_from(get_args(AxisKind)), st.text(max_size=60) | st.text("0123456789-+.,()[]x \"\n'", max_size=40))
def test_no_text_breaks_it(kind: AxisKind, text: str) -> None:
    try:
        found = parse(axis(kind), text, NAMES)
    except InvalidParameter:
        return
    assert 0 < len(found) <= MAX_PICTURES and all(value.label for value in found)


@given(st.lists(st.text("ab ,\"'-€", min_size=1).map(str.strip).filter(bool), min_size=1, max_size=6))
def test_filled_in_names_are_read_back_as_they_were(names: list[str]) -> None:
    assert split(axis("text"), joined(names)) == tuple(names)
