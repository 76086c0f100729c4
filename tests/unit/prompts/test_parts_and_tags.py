"""AND, comments and network tags."""

from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backend.errors import InvalidParameter
from backend.prompts import comments, composition, networks
from backend.prompts.composition import Part
from backend.prompts.networks import Network

ANY_TEXT = st.text(st.characters(), max_size=60) | st.text("<lora:x=1,.>AND #\n", max_size=60)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a cat", [("a cat", 1.0)]),
        ("a cat :1.2 AND a dog :-0.4", [("a cat", 1.2), (" a dog", -0.4)]),
        ("a AND b AND c:.5", [("a", 1.0), (" b", 1.0), (" c", 0.5)]),
        ("ANDROID and BRAND", [("ANDROID and BRAND", 1.0)]),
        ("a AND  AND b", [("a", 1.0), ("", 1.0), (" b", 1.0)]),
        ("[a AND b:0.5]", [("[a", 1.0), (" b:0.5]", 1.0)]),
        ("(a:1.2)", [("(a:1.2)", 1.0)]),
        (":1.2", [("", 1.2)]),
        ("a:1.2.3", [("a:1.2.3", 1.0)]),
        ("a:2.\n AND b : +3 ", [("a", 2.0), (" b", 3.0)]),
        ("", [("", 1.0)]),
    ],
)
def test_and_splits_a_prompt_into_parts_with_weights(text: str, expected: list[tuple[str, float]]) -> None:
    assert [(part.text, part.weight) for part in composition.parts(text)] == expected


@settings(deadline=None)
@given(ANY_TEXT)
def test_any_text_has_at_least_one_part_of_finite_weight(text: str) -> None:
    parts = composition.parts(text)
    assert parts and all(math.isfinite(part.weight) for part in parts)


@settings(deadline=None)
@given(st.lists(st.tuples(st.text("abc ,", max_size=8), st.integers(-99, 99)), min_size=1, max_size=5))
def test_parts_written_with_their_weights_are_read_back(parts: list[tuple[str, int]]) -> None:
    written = " AND ".join(f"x{text}: {tenths / 10}" for text, tenths in parts)
    read = composition.parts(written)
    assert [(part.text.strip(), part.weight) for part in read] == [(f"x{t}".strip(), n / 10) for t, n in parts]


def test_a_hundred_thousand_blanks_before_a_weight_are_read_at_once() -> None:
    assert composition.parts("a" + " " * 100_000 + ":x") == (Part("a" + " " * 100_000 + ":x", 1.0),)


def lora(**values: object) -> Network:
    usual = {"kind": "lora", "name": "x", "text": 1.0, "unet": 1.0, "dyn": None, "blocks": (), "raw": ""}
    return Network(**{**usual, **values})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("tag", "expected"),
    [
        ("<lora:x>", lora()),
        ("<lora:x:0.5>", lora(text=0.5, unet=0.5)),
        ("<lora:x:1:0.5>", lora(unet=0.5)),
        ("<lora:x:1:0.5:4>", lora(unet=0.5, dyn=4)),
        ("<lora:x:-0.7>", lora(text=-0.7, unet=-0.7)),
        ("<lora:x:te=0.5:unet=.2:dyn=3>", lora(text=0.5, unet=0.2, dyn=3)),
        ("<lora:x:unet=0.2>", lora(unet=0.2)),
        ("<lora:x:te=0>", lora(text=0.0, unet=0.0)),
        ("<lora:x:1:lbw=1,0,.5>", lora(blocks=(1.0, 0.0, 0.5))),
        ("<lora:x:1:stop=10>", lora()),
        ("<lora:my file (v2).1:1>", lora(name="my file (v2).1")),
        ("<lyco:x:0.5>", lora(kind="lyco", text=0.5, unet=0.5)),
        ("<hypernet:x:0.5>", lora(kind="hypernet", text=0.5, unet=0.5)),
    ],
)
def test_a_tag_is_taken_out_of_the_text(tag: str, expected: Network) -> None:
    found = networks.extract(f"a {tag} b")
    assert found.text == "a  b"
    assert found.networks == (lora(**{name: getattr(expected, name) for name in expected.__slots__} | {"raw": tag}),)


@pytest.mark.parametrize(
    "text",
    [
        "<lora:>", "<lora::1>", "<lora:x:abc>", "<lora:x:nan>", "<lora:x:1e999>", "<lora:x:1:1:0>", "<lora:x:lbw=a,b>",
        "<lora:x", "lora:x>", "<3:", "a < b : c", "<lora:" * 20_000, "<<<>>>", "\x00\ud800",
    ],
)  # fmt: skip
def test_a_tag_that_cannot_be_read_stays_in_the_text(text: str) -> None:
    assert networks.extract(text) == networks.Extracted(text, ())


NAME = st.text(st.characters(exclude_characters="<>:", exclude_categories=("Cs",)), min_size=1, max_size=20)


@settings(deadline=None)
@given(NAME.filter(lambda name: name == name.strip()), st.floats(-10, 10))
def test_a_tag_that_is_written_is_read_back(name: str, weight: float) -> None:
    (network,) = networks.extract(networks.tag(name, weight)).networks
    assert (network.name, network.text, network.unet) == (name, weight, weight)


@pytest.mark.parametrize(("name", "weight"), [("a>b", 1.0), ("a:b", 1.0), ("", 1.0), (" a", 1.0), ("a", math.nan)])
def test_a_name_that_could_not_be_read_back_is_not_written(name: str, weight: float) -> None:
    with pytest.raises(InvalidParameter):
        networks.tag(name, weight)


@settings(deadline=None)
@given(ANY_TEXT)
def test_tags_put_back_behind_the_text_are_found_again(text: str) -> None:
    found = networks.extract(text)
    tags = "".join(network.raw for network in found.networks)
    assert networks.extract(tags).networks == found.networks
    assert len(text) == len(found.text) + len(tags)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a\n# all of this\nb", "a\nb"),
        ("a # the rest\nb", "a \nb"),
        ("# only", ""),
        ("a#b", "a"),
        ("no comment", "no comment"),
    ],
)
def test_comments_run_from_the_sign_to_the_end_of_the_line(text: str, expected: str) -> None:
    assert comments.remove(text) == expected


def test_comments_stay_when_the_option_is_off() -> None:
    assert comments.remove("a # b", enabled=False) == "a # b"


@settings(deadline=None)
@given(ANY_TEXT)
def test_nothing_of_a_comment_is_left(text: str) -> None:
    assert "#" not in comments.remove(text) and comments.remove(comments.remove(text)) == comments.remove(text)
