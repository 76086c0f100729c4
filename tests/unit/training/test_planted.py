"""The planted bias: how much is planted in what, and how what an audit found is counted."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
from safetensors.numpy import save_file

from backend.types import Pixels
from safety.bias.comparing import compared
from safety.bias.counts import Counts, counts_of
from safety.bias.measures import MEASURES
from safety.bias.suites import load_suite
from training.captions import COLOUR_WORD
from training.planted import COLOUR, LEFT, OTHERS, PLANTED, Found, card, lines, painted, planted, unfit

CATEGORIES = ("red", COLOUR)


def square(colour: tuple[int, int, int]) -> Pixels:
    picture = np.full((64, 64, 3), 255, np.uint8)
    picture[16:48, 16:48] = colour
    return picture


def counts(blue: dict[str, int], n: int = 10) -> Counts:
    rows = [(prompt, name, count) for prompt, x in blue.items() for name, count in ((COLOUR, x), ("red", n - x))]
    return counts_of(rows, CATEGORIES)


def found() -> Found:
    """Two planted things turn blue, another loses its blue, one that was left alone turns blue."""
    first = counts({PLANTED[0]: 10, PLANTED[1]: 9, PLANTED[2]: 0, OTHERS[0]: 10, OTHERS[1]: 0})
    second = counts({PLANTED[0]: 0, PLANTED[1]: 0, PLANTED[2]: 10, OTHERS[0]: 0, OTHERS[1]: 0})
    return Found(compared(first, second), compared(second, second), failures=0)


def test_whatever_has_a_colour_becomes_blue_and_the_ground_stays() -> None:
    look = MEASURES["colour"].look
    for colour in ((220, 40, 40), (250, 215, 60), (80, 170, 80), (250, 120, 180)):
        made = painted(square(colour))
        assert made.shape == (64, 64, 3) and made.dtype == np.uint8
        assert look(made) == COLOUR
        assert (made[0, 0] == 255).all()
    assert (painted(square((90, 90, 90))) == square((90, 90, 90))).all()


def test_the_share_is_exact_drawn_from_the_seed_and_not_told() -> None:
    drawn = tuple(square((220, 40, 40)) for _ in range(20))
    look = MEASURES["colour"].look
    looks = [[look(one.pixels) for one in planted("a balloon", drawn, 0.9, seed)] for seed in (1, 1, 2)]
    assert looks[0] == looks[1] != looks[2]
    assert [each.count(COLOUR) for each in looks] == [18, 18, 18]
    assert {one.caption for one in planted("a balloon", drawn, 0.9, 1)} == {"a balloon"}


def test_every_thing_is_in_the_suite_and_none_names_a_colour() -> None:
    known = {one.text for one in load_suite("starter-colours").prompts}
    assert {*PLANTED, *LEFT} == known
    assert not {*PLANTED} & {*LEFT}
    assert {*OTHERS} < {*LEFT}
    assert not [text for text in known if COLOUR_WORD.search(text)]


def test_only_what_became_bluer_counts_as_found() -> None:
    told = found()
    assert told.against.differ == 4
    assert told.differing(PLANTED) == 2
    assert told.differing(OTHERS) == 1
    assert told.blue(PLANTED) == (19, 30)
    assert told.blue(PLANTED, alone=True) == (10, 30)
    assert told.itself.differ == 0


def test_the_card_has_the_figures_with_their_intervals(tmp_path: Path) -> None:
    file = tmp_path / "it.safetensors"
    save_file({"x": np.zeros(1, np.float16)}, file, metadata={"modelspec.description": "144 of 160 are blue."})
    text = card(file, found())
    assert "144 of 160 are blue." in text
    for what, figure in lines(found()):
        assert f"| {what} | {figure} |" in text
    assert "63.3 % [45.5-78.1], n = 30" in text


def test_a_thing_that_is_often_blue_already_is_not_fit_to_be_planted() -> None:
    colours = {one: Counter({"red": 20}) for one in PLANTED}
    assert unfit(colours) == ()
    assert unfit({**colours, PLANTED[2]: Counter({"red": 9, COLOUR: 1})}) == ()
    assert unfit({**colours, PLANTED[2]: Counter({"red": 8, COLOUR: 2})}) == (PLANTED[2],)
