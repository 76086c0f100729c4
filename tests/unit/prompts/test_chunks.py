"""Chunks of 75 tokens. The tokenizer of these tests gives every word its own number and a comma the number 0."""

from __future__ import annotations

from collections.abc import Sequence

from hypothesis import given, settings
from hypothesis import strategies as st

from backend.prompts.attention import BREAK, Piece, parse
from backend.prompts.chunks import PLACEHOLDER, Chunk, chunk

COMMA = 9_999


def tokenise(text: str) -> Sequence[int]:
    words = text.replace(",", " , ").split()
    return [COMMA if word == "," else int(word) if word.isdigit() else 5_000 + len(word) for word in words]


def numbers(first: int, last: int) -> str:
    return " ".join(map(str, range(first, last + 1)))


def chunks(text: str, **keywords: object) -> tuple[Chunk, ...]:
    return chunk(parse(text), tokenise, comma=COMMA, **keywords)  # type: ignore[arg-type]


def lengths(text: str, **keywords: object) -> list[int]:
    return [len(one.tokens) for one in chunks(text, **keywords)]


def test_an_empty_prompt_is_one_empty_chunk() -> None:
    assert chunks("") == (Chunk((), ()),)


def test_every_token_carries_the_weight_of_its_piece() -> None:
    assert chunks("1 (2 3:1.5) 4") == (Chunk((1, 2, 3, 4), (1.0, 1.5, 1.5, 1.0)),)


def test_a_chunk_holds_seventy_five_tokens() -> None:
    assert lengths(numbers(1, 75)) == [75]
    assert lengths(numbers(1, 76)) == [75, 1]
    assert lengths(numbers(1, 150)) == [75, 75]


def test_break_ends_a_chunk_even_an_empty_one_and_nothing_follows_the_last() -> None:
    assert lengths("1 2 BREAK 3") == [2, 1]
    assert lengths("1 BREAK") == [1]
    assert lengths("BREAK") == [0]
    assert lengths("BREAK BREAK 1") == [0, 0, 1]


def test_an_overflowing_chunk_is_cut_after_a_comma_at_most_twenty_tokens_back() -> None:
    assert lengths(f"{numbers(1, 55)}, {numbers(56, 80)}") == [56, 25]
    assert lengths(f"{numbers(1, 54)}, {numbers(55, 80)}") == [75, 6]


def test_the_moved_tokens_keep_their_weights() -> None:
    first, second = chunks(f"{numbers(1, 70)}, ({numbers(71, 80)}:2)")
    assert first.weights == (1.0,) * 71 and second.weights == (2.0,) * 10
    assert second.tokens == tuple(range(71, 81))


def test_a_comma_that_itself_overflows_begins_the_next_chunk() -> None:
    assert [one.tokens[0] for one in chunks(f"{numbers(1, 75)}, 76")] == [1, COMMA]


def test_no_tokens_are_moved_when_backtracking_is_off_or_nothing_overflows() -> None:
    assert lengths(f"{numbers(1, 60)}, {numbers(61, 80)}", backtrack=0) == [75, 6]
    assert lengths(f"{numbers(1, 60)}, {numbers(61, 74)}") == [75]


def test_a_comma_before_a_break_does_not_count_in_the_next_chunk() -> None:
    assert lengths(f"1, BREAK {numbers(1, 76)}") == [2, 75, 1]


def test_a_textual_inversion_becomes_as_many_placeholders_as_it_has_vectors() -> None:
    (only,) = chunks("1 (7 8:1.5) 2", vectors={"7 8": 3})
    assert only.tokens == (1, PLACEHOLDER, PLACEHOLDER, PLACEHOLDER, 2)
    assert only.weights == (1.0, 1.5, 1.5, 1.5, 1.0)
    assert only.fixes == ((1, "7 8"),)


def test_the_longest_name_is_taken_and_only_when_all_of_its_tokens_are_there() -> None:
    names = {"7": 1, "7 8": 1, "7 8 9": 1}
    assert [name for _, name in chunks("7 8 1 7 7 8 9 8", vectors=names)[0].fixes] == ["7 8", "7", "7 8 9"]


def test_the_vectors_of_one_name_stay_in_one_chunk() -> None:
    first, second = chunks(f"{numbers(100, 172)} 7 1", vectors={"7": 3})
    assert len(first.tokens) == 73 and not first.fixes
    assert second.fixes == ((0, "7"),) and len(second.tokens) == 4


def test_a_textual_inversion_that_is_moved_after_a_comma_moves_with_its_place() -> None:
    first, second = chunks(f"{numbers(100, 169)}, 200 7 {numbers(201, 210)}", vectors={"7": 2})
    assert not first.fixes and second.fixes == ((1, "7"),)
    assert second.tokens[:4] == (200, PLACEHOLDER, PLACEHOLDER, 201)


def test_a_name_without_vectors_or_with_too_many_is_plain_text() -> None:
    assert chunks("7", vectors={"7": 76, "": 1})[0] == Chunk((7,), (1.0,))
    assert chunks("7", vectors={"7": 0})[0] == Chunk((7,), (1.0,))


PIECES = st.lists(
    st.builds(Piece, st.just(BREAK) | st.text("1234567890 ,", max_size=40), st.sampled_from([0.5, 1.0, 1.5])),
    max_size=8,
)


@settings(deadline=None)
@given(
    PIECES, st.integers(1, 12), st.integers(0, 20), st.dictionaries(st.sampled_from(["1", "2 3"]), st.integers(0, 14))
)
def test_chunks_are_never_too_long_and_lose_nothing(
    pieces: list[Piece], size: int, backtrack: int, vectors: dict[str, int]
) -> None:
    made = chunk(pieces, tokenise, size=size, comma=COMMA, backtrack=backtrack, vectors=vectors)
    assert made and all(len(one.tokens) == len(one.weights) <= size for one in made)
    expected = [token for piece in pieces if piece.text != BREAK for token in tokenise(piece.text)]
    read: list[int] = []
    for one in made:
        fixes, place = dict(one.fixes), 0
        while place < len(one.tokens):
            read += tokenise(fixes[place]) if place in fixes else [one.tokens[place]]
            place += vectors[fixes[place]] if place in fixes else 1
    assert read == expected
