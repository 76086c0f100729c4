"""Scheduled and alternating text, against A1111 1.10.1's behaviour."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backend.prompts.schedule import Segment, segments

ANY_TEXT = st.text(st.characters(), max_size=50) | st.text("[]():|\\ab.12 ", max_size=50)


def read(text: str, steps: int = 10, **keywords: object) -> list[tuple[int, str]]:
    return [(segment.until, segment.text) for segment in segments(text, steps, **keywords)]  # type: ignore[arg-type]


def test_a_landscape_changes_four_times_in_a_hundred_steps() -> None:
    prompt = (
        "fantasy landscape with a [mountain:lake:0.25] and [an oak:a christmas tree:0.75]"
        "[ in foreground::0.6][ in background:0.25] [shoddy:masterful:0.5]"
    )
    assert read(prompt, 100) == [
        (25, "fantasy landscape with a mountain and an oak in foreground shoddy"),
        (50, "fantasy landscape with a lake and an oak in foreground in background shoddy"),
        (60, "fantasy landscape with a lake and an oak in foreground in background masterful"),
        (75, "fantasy landscape with a lake and an oak in background masterful"),
        (100, "fantasy landscape with a lake and a christmas tree in background masterful"),
    ]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("plain", [(10, "plain")]),
        ("x [y:4]", [(4, "x "), (10, "x y")]),
        ("x [y: 4 ]", [(4, "x "), (10, "x y")]),
        ("x [y::4]", [(4, "x y"), (10, "x ")]),
        ("x [y:z:4]", [(4, "x y"), (10, "x z")]),
        ("x [y:.5] z", [(5, "x  z"), (10, "x y z")]),
        ("a [b : c : 1] d", [(1, "a b  d"), (10, "a  c  d")]),
        ("[(y:2):4]", [(4, ""), (10, "(y:2)")]),
        ("x [[[y]]:4]", [(4, "x "), (10, "x [[y]]")]),
        ("x[y:[z:w:7]:4]", [(4, "xy"), (7, "xz"), (10, "xw")]),
        ("[y:z:-2]", [(10, "z")]),
        ("[y:z:0]", [(10, "z")]),
        ("[y:z:99]", [(10, "y")]),
        ("[y:z:1e99]", [(10, "y")]),
    ],
)
def test_a_change_is_read_as_a1111_reads_it(text: str, expected: list[tuple[int, str]]) -> None:
    assert read(text) == expected


def test_a_value_with_a_point_is_a_share_and_one_without_a_step() -> None:
    assert read("[a:1]") == [(1, ""), (10, "a")]
    assert read("[a:1.0]") == [(10, "")]


def test_alternation_gives_every_step_its_own_segment_and_counts_empty_options() -> None:
    assert read("[fe|]male", 4) == [(1, "female"), (2, "male"), (3, "female"), (4, "male")]
    assert [text for _, text in read("[fe|||]male", 8)] == ["female", "male", "male", "male"] * 2
    assert [text for _, text in read("[a|[b|c]]", 4)] == ["a", "c", "a", "c"]
    assert [text for _, text in read("[(a|b)|c]", 2)] == ["[(a|b)|c]"]


def test_in_the_hires_pass_shares_begin_at_one_and_steps_after_the_first_pass() -> None:
    assert read("a [b:1.5]", 10, hires=True, first_steps=20) == [(5, "a "), (10, "a b")]
    assert read("a [b:.5]", 10, hires=True, first_steps=20) == [(10, "a b")]
    assert read("a [b:25]", 10, hires=True, first_steps=20) == [(5, "a "), (10, "a b")]
    assert read("a [b:1.5]", 20) == [(20, "a ")]


@pytest.mark.parametrize(
    "text",
    [
        "[a|b:0.5]", "[a:b:c]", "[:]", "((a]", "x | [y:4]", "(x|y) [z:4]", "[y:4\\", "\\[y:4\\]", "[y:", "]",
        "[x [y:z:w] v:3]",
        "[a(b:3]", "", "\x00", "\ud800[",
    ],
)  # fmt: skip
def test_a_typo_is_literal_text(text: str) -> None:
    assert read(text) == [(10, text)]


def test_a_bracket_that_stands_alone_leaves_the_constructs_around_it_alone() -> None:
    assert read("[y:4] (z [w:0.5] ]") == [(4, " (z  ]"), (5, "y (z  ]"), (10, "y (z w ]")]


@pytest.mark.parametrize(
    "text",
    ["[" * 10_000, "[" * 10_000 + "a" + ":1]" * 10_000, "[a|" * 5_000 + "]" * 5_000, "(])[" * 5_000, "[:" * 10_000],
)
def test_ten_thousand_brackets_are_read_without_recursion(text: str) -> None:
    assert segments(text, 20)[-1].until == 20


def test_text_that_would_grow_beyond_all_bounds_is_literal() -> None:
    text = "[a|b]" * 20_000
    assert segments(text, 10_000) == (Segment(10_000, text),)


@settings(deadline=None)
@given(ANY_TEXT, st.integers(1, 30), st.booleans(), st.integers(0, 30))
def test_segments_cover_every_step_once(text: str, steps: int, hires: bool, first: int) -> None:
    found = segments(text, steps, hires=hires, first_steps=first)
    ends = [segment.until for segment in found]
    assert ends == sorted(set(ends)) and ends[0] >= 1 and ends[-1] == steps


@settings(deadline=None)
@given(st.text(st.characters(exclude_characters="[]|\\"), max_size=40), st.integers(1, 30))
def test_text_without_brackets_is_one_segment_as_it_was_typed(text: str, steps: int) -> None:
    assert segments(text, steps) == (Segment(steps, text),)


WORD = st.text("abc ,", max_size=5)


@settings(deadline=None)
@given(WORD, WORD, WORD, WORD, st.integers(1, 19))
def test_a_change_at_a_step_swaps_exactly_its_texts(left: str, old: str, new: str, right: str, when: int) -> None:
    assert read(f"{left}[{old}:{new}:{when}]{right}", 20) == [(when, left + old + right), (20, left + new + right)]
