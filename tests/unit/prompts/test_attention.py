"""Emphasis, against A1111 1.10.1's behaviour and against every typo we could think of."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backend.prompts.attention import BREAK, MOST, Piece, escape, parse

ANY_TEXT = st.text(st.characters(), max_size=60) | st.text("()[]:\\.12-+ aBREK\n", max_size=60)
PLAIN = st.text(st.characters(exclude_characters="()[]\\:"), min_size=1, max_size=40).filter(lambda t: "BREAK" not in t)


def read(text: str) -> list[tuple[str, float]]:
    return [(piece.text, pytest.approx(piece.weight)) for piece in parse(text)]


@pytest.mark.parametrize(
    ("text", "pieces"),
    [
        ("a (b:1.2) [c]", [("a ", 1.0), ("b", 1.2), (" ", 1.0), ("c", 1 / 1.1)]),
        ("a (b) c", [("a ", 1.0), ("b", 1.1), (" c", 1.0)]),
        ("((b))", [("b", 1.21)]),
        ("[[b]]", [("b", 1 / 1.21)]),
        ("(a (b:2):3)", [("a ", 3.0), ("b", 6.0)]),
        ("(open [to (the end", [("open ", 1.1), ("to ", 1.0), ("the end", 1.1)]),
        ("(one)(two)", [("onetwo", 1.1)]),
        (r"\(a\) \[b\] \\", [(r"(a) [b] " + "\\", 1.0)]),
        (r"a\b", [("ab", 1.0)]),
        ("(x: -0.5 )", [("x", -0.5)]),
        ("(x:+2)", [("x", 2.0)]),
        ("(a[b)c]d", [("a", 1.1), ("b", 1.0), ("c", 1 / 1.1), ("d", 1.0)]),
        ("a:1.5) b", [("a:1.5) b", 1.0)]),
        ("", [("", 1.0)]),
    ],
)
def test_emphasis_is_read_as_a1111_reads_it(text: str, pieces: list[tuple[str, float]]) -> None:
    assert read(text) == pieces


@pytest.mark.parametrize(
    ("text", "pieces"),
    [
        ("((a]", [("a]", 1.21)]),
        (":1.2", [(":1.2", 1.0)]),
        ("(a:1.2:3)", [("a:1.2", 3.0)]),
        ("(a:)", [("a:", 1.1)]),
        ("(:1.2)", [("", 1.0)]),
        ("()", [("", 1.0)]),
        ("[:]", [(":", 1 / 1.1)]),
        ("(a:.)", [("a:.", 1.1)]),
        ("(a:1.2.3)", [("a:1.2.3", 1.1)]),
        (r"a\)", [("a)", 1.0)]),
        ("\\", [("", 1.0)]),
        ("(🐈:1.3)\x00\ud800", [("🐈", 1.3), ("\x00\ud800", 1.0)]),
    ],
)
def test_a_typo_is_literal_text(text: str, pieces: list[tuple[str, float]]) -> None:
    assert read(text) == pieces


@pytest.mark.parametrize(
    ("text", "texts"),
    [
        ("a BREAK b", ["a", BREAK, "b"]),
        ("a\n BREAK\n b", ["a", BREAK, "b"]),
        ("BREAK BREAK", [BREAK, BREAK]),
        ("a BREAK", ["a", BREAK]),
        ("ANDROID BREAKING breaks Break", ["ANDROID BREAKING breaks Break"]),
    ],
)
def test_break_is_a_piece_of_its_own_only_as_a_whole_word_in_capitals(text: str, texts: list[str]) -> None:
    assert [piece.text for piece in parse(text)] == texts


def test_break_within_brackets_keeps_the_weights_on_both_sides() -> None:
    assert parse("(a BREAK b:1.5)") == (Piece("a", 1.5), Piece(BREAK, 1.0), Piece("b", 1.5))


@pytest.mark.parametrize("text", ["(" * 10_000, "[" * 10_000, "(" * 10_000 + "a" + ")" * 10_000, "(:" * 10_000 + "0)"])
def test_ten_thousand_brackets_are_read_without_recursion_and_stay_finite(text: str) -> None:
    assert all(abs(piece.weight) <= MOST for piece in parse("a" + text + "b"))


def test_an_absurd_weight_is_kept_finite() -> None:
    assert parse(f"(a:{'9' * 400})") == (Piece("a", MOST),)


@settings(deadline=None)
@given(ANY_TEXT)
def test_any_text_gives_pieces_with_finite_weights_no_two_of_them_mergeable(text: str) -> None:
    pieces = parse(text)
    assert pieces and all(math.isfinite(piece.weight) for piece in pieces)
    assert all(BREAK in (a.text, b.text) or a.weight != b.weight for a, b in pairwise(pieces))
    assert pieces == (Piece("", 1.0),) or all(piece.text for piece in pieces)


@settings(deadline=None)
@given(PLAIN)
def test_text_without_syntax_is_one_piece(text: str) -> None:
    assert parse(text) == (Piece(text, 1.0),)


@settings(deadline=None)
@given(st.text(min_size=1, max_size=40).filter(lambda text: "BREAK" not in text))
def test_escaped_text_comes_back_as_one_piece(text: str) -> None:
    assert parse(escape(text)) == (Piece(text, 1.0),)


@settings(deadline=None)
@given(st.lists(st.tuples(PLAIN, st.integers(-300, 300)), min_size=1, max_size=6))
def test_pieces_written_with_their_weights_are_read_back(parts: list[tuple[str, int]]) -> None:
    written = "".join(f"({text}:{hundredths / 100})" for text, hundredths in parts)
    pieces = parse(written)
    assert "".join(piece.text for piece in pieces) == "".join(text for text, _ in parts)
    letters = [(char, hundredths / 100) for text, hundredths in parts for char in text]
    assert [(char, piece.weight) for piece in pieces for char in piece.text] == letters
