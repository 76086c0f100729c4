from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backend import infotext

PARAMETERS = {"Steps": 20, "Sampler": "Euler a", "CFG scale": "7", "Seed": 1, "Size": "512x512"}

# Edges are stripped, and a line that starts with the marker is taken for it, as in A1111.
lines = st.text(st.characters(exclude_categories=["Cs", "Cc", "Zl", "Zp", "Zs"]) | st.sampled_from(' ,:"\\')).filter(
    lambda line: line == line.strip() and not line.startswith("Negative prompt:")
)
texts = st.lists(lines, max_size=4).map("\n".join).map(str.strip)
values = st.text(st.characters(exclude_categories=["Cs"])).map(str.strip)


@given(texts, texts, st.dictionaries(st.from_regex(r"[A-Za-z][A-Za-z0-9 _-]{0,20}[A-Za-z0-9]", fullmatch=True), values))
def test_what_was_written_is_read_back_whole(prompt: str, negative: str, more: dict[str, str]):
    parameters = {**PARAMETERS, **more}
    read = infotext.read(infotext.write(prompt, negative, parameters))
    assert (read.prompt, read.negative) == (prompt, negative)
    assert read.parameters == {key: str(value) for key, value in parameters.items()}


@pytest.mark.parametrize("value", ["a, b", 'say "hi"', "one\ntwo", "a: b", "ключ, 鍵", "\\", '\\"', "", "C:\\x, y"])
def test_values_with_commas_quotes_and_line_breaks_survive(value: str):
    read = infotext.read(infotext.write("a cat", "", {**PARAMETERS, "Note": value}))
    assert read.parameters["Note"] == value
    assert read.parameters["Size"] == "512x512"


def test_a_text_as_a1111_writes_it_is_understood():
    text = (
        "a cat, (red:1.2)\nsitting\nNegative prompt: blurry,\nlow quality\n"
        "Steps: 20, Sampler: DPM++ 2M, Schedule type: Karras, CFG scale: 7, Seed: 42, Size: 512x768, "
        'Model hash: 6ce0161689, Model: v1-5, Lora hashes: "one: 1a2b, two: 3c4d", Version: v1.10.1'
    )
    read = infotext.read(text)
    assert read.prompt == "a cat, (red:1.2)\nsitting"
    assert read.negative == "blurry,\nlow quality"
    assert read.parameters["Lora hashes"] == "one: 1a2b, two: 3c4d"
    assert list(read.parameters)[:3] == ["Steps", "Sampler", "Schedule type"]


def test_none_is_left_out_and_no_negative_means_no_line():
    assert infotext.write("a cat", "", {"Steps": 4, "Schedule type": None}) == "a cat\nSteps: 4"


def test_a_text_without_parameters_is_all_prompt():
    assert infotext.read("just, some: words") == infotext.Infotext("just, some: words", "", {})
    assert infotext.read("") == infotext.Infotext("", "", {})


def test_a_prompt_that_looks_like_parameters_stays_a_prompt():
    prompt = "Steps: 99, Sampler: none, Seed: 0, Size: 1x1"
    assert infotext.read(infotext.write(prompt, "", PARAMETERS)).prompt == prompt


@given(st.text())
def test_no_text_makes_the_reader_raise(text: str):
    infotext.read(text)


@pytest.mark.parametrize(
    "unit", [" ", "a", "a:", 'a:"', 'a:"\\', ",a:", '\\"', "a: ", "\n", "Negative prompt:\n", "aaaa aaaa", ' "', "\t"]
)
def test_a_hostile_text_of_a_million_characters_is_read_at_once(unit: str):
    hostile = "1" + unit * (1_000_000 // len(unit)) + "1"
    began = time.process_time()
    infotext.read(hostile)
    assert time.process_time() - began < 1
