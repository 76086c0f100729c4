from __future__ import annotations

import re
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backend import infotext

PARAMETERS = {"Steps": 20, "Sampler": "Euler a", "CFG scale": "7", "Seed": 1, "Size": "512x512"}

texts = st.text(st.characters() | st.sampled_from(' ,:"\\\n\r[(')) | st.sampled_from(
    [
        "Steps: 99, Sampler: none, Seed: 0, Size: 1x1",
        "a cat\nSteps: 99, Sampler: none, Seed: 0, Size: 1x1",
        "a cat\r\non a mat\r\n",
        "a cat\nNegative prompt: dog",
        "Negative prompt:",
        "  two  \n  edges\t",
        "\ud800 half a pair",
    ]
)
values = st.text(st.characters() | st.sampled_from(' ,:"\\\n\r{}'))
names = st.from_regex(r"[A-Za-z\u00e0\u4e00][A-Za-z0-9 _/-]{0,20}[A-Za-z0-9]", fullmatch=True)


@given(texts, texts, st.dictionaries(names, values))
def test_what_was_written_is_read_back_whole(prompt: str, negative: str, more: dict[str, str]):
    parameters = {**PARAMETERS, **more}
    read = infotext.read(infotext.write(prompt, negative, parameters))
    assert (read.prompt, read.negative) == (prompt, negative)
    assert read.parameters == {key: str(value) for key, value in parameters.items()}


@given(names)
def test_keys_equal_to_their_values_are_read_back_too(name: str):
    for parameters in ({**PARAMETERS, name: name}, {name: name, "2 A": "2 A", "2 B": "2 B"}):
        read = infotext.read(infotext.write("a cat", "", parameters)).parameters
        assert read == {key: str(value) for key, value in parameters.items()}


def test_a_key_equal_to_its_value_is_written_once_as_a1111_does():
    assert infotext.write("a cat", "", {**PARAMETERS, "Tiling": "Tiling"}).endswith("Size: 512x512, Tiling")


def test_an_ordinary_prompt_is_written_as_a1111_writes_it_and_with_nothing_of_ours():
    text = infotext.write("a cat, (red:1.2)\nsitting", "blurry", {**PARAMETERS, "Version": "v1.10.1"})
    assert text == (
        "a cat, (red:1.2)\nsitting\nNegative prompt: blurry\n"
        "Steps: 20, Sampler: Euler a, CFG scale: 7, Seed: 1, Size: 512x512, Version: v1.10.1"
    )


def test_fields_come_in_the_order_of_a1111_with_the_unknown_between_and_the_version_behind():
    given_order = {"Version": "v1", "Mood": "calm", "Seed": 1, "Hashes": '{"model": "ab"}', "Steps": 2, "Clip skip": 2}
    assert list(infotext.read(infotext.write("", "", given_order)).parameters) == [
        "Steps", "Seed", "Clip skip", "Mood", "Version", "Hashes",
    ]  # fmt: skip


def test_keys_lose_what_no_key_can_have():
    read = infotext.read(infotext.write("a cat", "", {**PARAMETERS, "My (key): 1, 2": "x", "!": "y"}))
    assert read.parameters["My key 1 2"] == "x"
    assert len(read.parameters) == len(PARAMETERS) + 1


def test_hashes_are_written_bare_as_civitai_wants_them_and_read_back():
    value = infotext.hashes(model="6ce0161689", loras=[("my, lora", "0123456789ab")], embeddings=[("bad", "cd")])
    text = infotext.write("a cat", "", {**PARAMETERS, "Hashes": value, "Lora hashes": "one: 1a2b"})
    assert text.endswith(', Hashes: {"model": "6ce0161689", "lora:my, lora": "0123456789ab", "embed:bad": "cd"}')
    assert infotext.read(text).parameters["Hashes"] == value
    assert infotext.hashes() is None


def test_lora_hashes_lose_the_commas_and_colons_of_names_and_are_quoted():
    value = infotext.lora_hashes([("a,b:c", "01"), ("two", "02"), ("unhashed", "")])
    assert value == infotext.ti_hashes([("abc", "01"), ("two", "02")]) == "abc: 01, two: 02"
    assert 'Lora hashes: "abc: 01, two: 02"' in infotext.write("", "", {"Lora hashes": value})


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


def test_fewer_than_three_fields_are_part_of_the_prompt():
    assert infotext.read("a cat\nSteps: 1, Seed: 2").prompt == "a cat\nSteps: 1, Seed: 2"
    assert infotext.read("a cat\nSteps: 1, Seed: 2, Mood: calm").prompt == "a cat"


def test_windows_line_ends_of_a_stranger_are_no_part_of_the_prompt():
    read = infotext.read("a cat\r\nsitting\r\nNegative prompt: dog\r\nSteps: 1, Seed: 2, Size: 8x8\r\n")
    assert (read.prompt, read.negative, read.parameters["Size"]) == ("a cat\nsitting", "dog", "8x8")


def test_the_faces_of_a1111_get_sizes_in_two_parts_and_defaults_for_what_is_missing():
    fields = infotext.filled(
        infotext.read("a (red) cat\nSteps: 1, Sampler: DPM++ 2M SDE Karras, Size: 512x768, Seed: 1")
    )
    assert (fields["Size"], fields["Size-1"], fields["Size-2"]) == ("512x768", "512", "768")
    assert (fields["Sampler"], fields["Schedule type"]) == ("DPM++ 2M SDE", "Karras")
    assert (fields["Clip skip"], fields["RNG"], fields["Emphasis"]) == ("1", "GPU", "Original")
    assert (fields["Prompt"], fields["Negative prompt"]) == ("a (red) cat", "")


def test_the_first_pass_size_of_old_hires_texts_becomes_the_size():
    fields = infotext.filled(infotext.read("x\nSteps: 1, Size: 1024x1536, Seed: 1, First pass size: 512x768"))
    assert [fields[f"{name}-{part}"] for name in ("Size", "Hires resize") for part in (1, 2)] == [
        "512", "768", "1024", "1536",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("name", "parts"),
    [
        ("DPM++ 2M Karras", ("DPM++ 2M", "Karras")),
        ("DPM++ 3M SDE Exponential", ("DPM++ 3M SDE", "Exponential")),
        ("Euler SGM Uniform", ("Euler", "SGM Uniform")),
        ("DDIM", ("DDIM", "Automatic")),
        ("DPM++ 2M SDE Heun", ("DPM++ 2M SDE Heun", "Automatic")),
        ("", ("", "Automatic")),
    ],
)
def test_an_old_sampler_name_is_split_from_its_schedule(name: str, parts: tuple[str, str]):
    assert infotext.split_sampler(name) == parts


def test_what_older_versions_did_otherwise_is_told():
    old = infotext.read("[a:b:0.5]\nSteps: 1, Sampler: DDIM, Seed: 1, Refiner: x, Version: v1.5.2")
    assert len(infotext.version_notes(old)) == 4
    new = infotext.read("[a:b:0.5]\nSteps: 1, Sampler: DDIM, Seed: 1, Refiner: x, Version: v1.10.1")
    assert infotext.version_notes(new) == infotext.version_notes(infotext.read("a cat")) == ()
    between = infotext.read("x\nSteps: 1, Sampler: DDIM, Seed: 1, Version: v1.7.0-224-gabc")
    assert len(infotext.version_notes(between)) == 1


@given(st.text() | st.text(st.sampled_from('ab1 :,"\\x-/{}[]\n')))
def test_no_text_makes_the_reader_raise(text: str):
    read = infotext.read(text)
    infotext.filled(read)
    infotext.version_notes(read)


_A1111_FIELD = re.compile(r'\s*(\w[\w \-/]+):\s*("(?:\\.|[^\\"])+"|[^,]*)(?:,|$)')


@given(st.text(st.sampled_from('ab1 :,"\\x-/(')))
def test_a_field_is_exactly_what_the_pattern_of_a1111_matches(line: str):
    """The pattern is the definition (compatibility page, 1.1); the reader only does it in linear time."""
    ours = [(name, value) for name, value in infotext._pairs(line) if value is not None]
    assert [name for name, _ in ours] == [name.strip() for name, _ in _A1111_FIELD.findall(line)]


@pytest.mark.parametrize(
    "unit",
    [" ", "a", "a:", 'a:"', 'aa:"', 'aa: "\\', ",aa:", '\\"', "aa: ", "\n", "Negative prompt:\n", "aaaa aaaa",
     ' "', "\t",
     'aa:"\\",', "aa,", "Hashes:{", 'Hashes:{"a":', "Hashes: [[", "- ", "\r"],
)  # fmt: skip
def test_a_hostile_text_of_a_million_characters_is_read_at_once(unit: str):
    hostile = "1" + unit * (1_000_000 // len(unit)) + "1"
    began = time.process_time()
    infotext.filled(infotext.read(hostile))
    assert time.process_time() - began < 2
