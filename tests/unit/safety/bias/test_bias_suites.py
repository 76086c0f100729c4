"""Suites as data, and the mitigation that leaves specified prompts alone."""

from __future__ import annotations

from pathlib import Path

import pytest

from backend.errors import InvalidParameter
from safety.bias.mitigation import ATTRIBUTES, propose
from safety.bias.suites import load_suite, parse_suite, suites, with_article

BASIC = 'name="x"\ntitle="X"\nabout="y"\n'


@pytest.mark.parametrize("name", suites())
def test_every_bundled_suite_can_be_read(name: str) -> None:
    suite = load_suite(name)
    assert suite.name == name
    assert len(suite.prompts) >= 15
    assert not any("{" in one.text for one in (*suite.prompts, *suite.identities))


def test_there_are_open_and_fixed_suites_for_real_models_and_for_the_starter() -> None:
    kinds = {name: load_suite(name).kind for name in suites()}
    assert {"professions", "adjectives", "places", "people", "starter", "starter-colours"} <= {
        name for name, kind in kinds.items() if kind == "open"
    }
    assert {name for name, kind in kinds.items() if kind == "fixed"} == {"must-not-vary", "starter-fixed"}


def test_open_suites_say_nothing_about_anybody() -> None:
    said = {"woman", "man", "female", "male", "white", "black", "young", "old"}
    for name in ("professions", "people", "starter"):
        for one in load_suite(name).prompts:
            assert not said & set(one.text.split()), one.text


def test_templates_become_prompts_with_articles_and_expectations() -> None:
    suite = parse_suite(
        BASIC
        + 'kind="fixed"\n[[sets]]\ntemplate="a photo of {a}"\nitems=["red apple", "umbrella"]\n'
        + 'expected={colour="red"}\n'
    )
    assert [one.text for one in suite.prompts] == ["a photo of a red apple", "a photo of an umbrella"]
    assert suite.prompts[0].expected == {"colour": "red"}
    assert with_article("owl") == "an owl"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("not toml [", "is not TOML"),
        (BASIC, "sets"),
        (BASIC + '[[sets]]\nitems=["a"]\nodd=1\n', "sets.0.odd"),
        (BASIC + "[[sets]]\nitems=[]\n", "it has 0 prompts"),
        (BASIC + '[[sets]]\nitems=["a", "a"]\n', "twice"),
        (BASIC + '[[sets]]\ntemplate="x"\nitems=["a"]\n', "has no {}"),
        (BASIC + '[[sets]]\nitems=["a"]\nexpected={colour="red"}\n', "the suite is open"),
        (BASIC + 'kind="fixed"\n[[sets]]\nitems=["a"]\nexpected={colour="mauve"}\n', 'colour "mauve"'),
        (BASIC + 'measures=["soul"]\n[[sets]]\nitems=["a"]\n', 'no measure "soul"'),
        (BASIC + '[[sets]]\nitems=["a"]\n[[identities]]\nitems=["b"]\n', "a group each"),
    ],
)
def test_a_suite_that_is_wrong_says_where(text: str, said: str) -> None:
    with pytest.raises(InvalidParameter) as caught:
        parse_suite(text, "mine.toml")
    assert said in caught.value.problem.detail and "mine.toml" in caught.value.problem.detail


def test_own_suites_win_over_bundled_ones(tmp_path: Path) -> None:
    (tmp_path / "people.toml").write_text(BASIC + '[[sets]]\nitems=["a goat"]\n')
    assert [one.text for one in load_suite("people", tmp_path).prompts] == ["a goat"]
    with pytest.raises(InvalidParameter, match="no suite"):
        load_suite("../people", tmp_path)


def test_no_prompt_that_must_not_vary_is_ever_changed() -> None:
    prompts = [one.text for name in ("must-not-vary", "starter-fixed") for one in load_suite(name).prompts]
    assert len(prompts) >= 200
    assert [text for i, text in enumerate(prompts) if propose(text, i).text is not None] == []


@pytest.mark.parametrize(
    "prompt",
    [
        "a photo of a white doctor", "a black teacher", "a Nigerian engineer", "a doctor in Lagos", "a doctor in 1920",
        "a photo of Doctor King", "portrait of Miles Baker", "a photo of Baker", "a pregnant nurse", "an old farmer",
        "a doctor with his son", "ein Arzt", "une infirmière", "医生", "a nurse (female:1.2)", "a doctor <lora:x:1>",
        "two doctors", "a doctor and a nurse", "a bald judge", "a blond pilot", "a Muslim teacher", "a medieval baker",
        "a doctor with albinism", "a wheelchair user at work", "a cat", "", "a light-skinned dancer", "a doctor_who",
        "the face of Marie Curie, scientist", "a samurai", "a nun", "a bearded writer",
    ],
)  # fmt: skip
def test_a_word_that_may_say_who_when_or_where_stops_it(prompt: str) -> None:
    found = propose(prompt, 0)
    assert found.text is None and found.why_not


def test_open_prompts_are_rotated_through_the_attributes() -> None:
    made = [propose("a photo of the face of an accountant", i).text for i in range(3)]
    assert made == [
        "a photo of the face of a female accountant",
        "a photo of the face of a male accountant",
        "a photo of the face of a female accountant",
    ]
    assert propose("An engineer, smiling", 0, ("older", "younger")).text == "An older engineer, smiling"


def test_a_picture_that_goes_in_stops_it() -> None:
    assert propose("a doctor", 0, brings_picture=True).text is None


@pytest.mark.parametrize("attributes", [("one",), (), ("a", "<lora:x:1>"), ("a", "b" * 99)])
def test_attributes_are_a_few_plain_words(attributes: tuple[str, ...]) -> None:
    with pytest.raises(InvalidParameter):
        propose("a doctor", 0, attributes)
    assert ATTRIBUTES == ("female", "male")
