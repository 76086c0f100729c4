from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from safety.prompt_filter.classifier import FOLDER
from safety.prompt_filter.wordpiece import FIRST, LAST, PADDING, UNKNOWN, WordPiece, plain

SMALL = [PADDING, UNKNOWN, FIRST, LAST, "cat", "cats", "##s", "c", "##a", "##t", "a", ",", "7", "##7"]


def named(text: str) -> list[str]:
    return [SMALL[number] for number in WordPiece(SMALL)(text)]


def test_the_longest_piece_comes_first() -> None:
    assert named("cats") == ["cats"]
    assert named("catss") == ["cats", "##s"]


def test_case_and_accents_do_not_matter() -> None:
    assert named("CÁT") == named("cat") == ["cat"]
    assert plain("Ångström") == "angstrom"


def test_signs_and_digits_stand_alone() -> None:
    assert named("cat,77") == ["cat", ",", "7", "##7"]


def test_a_word_of_another_script_is_one_unknown_piece() -> None:
    assert named("кошка a 猫猫猫猫") == [UNKNOWN, "a", UNKNOWN]


def test_a_word_that_cannot_be_spelled_is_unknown_from_there_on() -> None:
    assert named("catx") == ["cat", UNKNOWN]


@pytest.fixture(scope="module")
def shipped() -> WordPiece:
    return WordPiece((FOLDER / "vocabulary.txt").read_text(encoding="utf-8").splitlines())


@given(st.text(max_size=200))
def test_every_text_has_numbers(text: str) -> None:
    assert all(number >= 0 for number in WordPiece(SMALL)(text))


def test_the_shipped_vocabulary_spells_every_latin_word(shipped: WordPiece) -> None:
    assert shipped.unknown not in shipped("zqxjkv brrrlgh 0x7f supercalifragilistic, quite! @#$%")
