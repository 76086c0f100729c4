"""What is said on the command line, as the fields of a request."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import pytest

from backend.errors import InvalidParameter
from webui.arguments import fields_of, plan_of
from webui.cli import parser


def asked(**given: Any) -> argparse.Namespace:
    """What the command line's own parser makes of a bare `generate`, with these values instead of its defaults."""
    bare = vars(parser().parse_args(["generate"]))
    assert given.keys() <= bare.keys()
    return argparse.Namespace(**{**bare, **given})


def fields(**given: Any) -> dict[str, Any]:
    return fields_of(asked(**given))


def test_only_what_was_said_is_asked_for():
    assert fields(prompt="a cat") == {"prompt": "a cat"}
    assert fields(prompt="a cat", steps=0, tiling=True) == {"prompt": "a cat", "steps": 0, "tiling": True}


def test_the_mode_follows_from_what_is_given():
    photo, mask = Path("photo.png"), Path("mask.png")
    assert fields(init=photo) == {"mode": "img2img", "init_image": photo}
    painted = fields(init=photo, mask=mask)
    assert (painted["mode"], painted["inpaint"]) == ("inpaint", {"mask": mask})
    grown = fields(init=photo, outpaint=[1, 2, 3, 4])
    assert (grown["mode"], grown["inpaint"]) == ("inpaint", {})
    assert grown["outpaint"] == {"left": 1, "right": 2, "up": 3, "down": 4}
    larger = fields(init=photo, upscale=2.0)
    assert (larger["mode"], larger["upscale"]) == ("upscale", {"upscaler": "Lanczos", "scale": 2.0})


@pytest.mark.parametrize("extra", [{"mask": Path("m")}, {"outpaint": [1, 0, 0, 0]}, {"upscale": 2.0}])
def test_what_needs_a_picture_says_so(extra: dict[str, Any]):
    with pytest.raises(InvalidParameter, match="--init"):
        fields(**extra)


def test_to_upscale_and_to_repaint_are_two_things():
    with pytest.raises(InvalidParameter, match="one after the other"):
        fields(init=Path("p"), mask=Path("m"), upscale=2.0)


def test_guides_and_a_second_pass_are_parts_of_their_own():
    made = fields(prompt="x", hires=1.5, upscaler="Latent", control=[["edges", "canny", "p.png"]])
    assert made["hires"] == {"scale": 1.5, "upscaler": "Latent"}
    assert made["control"] == [{"model": "edges", "preprocessor": "canny", "image": Path("p.png")}]


def test_a_file_may_say_the_rest_and_the_command_line_wins(tmp_path: Path):
    file = tmp_path / "request.json"
    file.write_text(json.dumps({"prompt": "from the file", "steps": 5, "hires": {"scale": 2}}))
    assert fields(request=file, steps=7) == {"prompt": "from the file", "steps": 7, "hires": {"scale": 2}}


@pytest.mark.parametrize("text", ["", "{", "[]", "7", "[" * 100_000, "\ufffe", '{"a": 1} x'], ids=range(7))
def test_a_file_that_is_no_request_is_refused_in_words(tmp_path: Path, text: str):
    file = tmp_path / "request.json"
    file.write_text(text)
    with pytest.raises(InvalidParameter, match=r"request\.json"):
        fields(request=file)
    with pytest.raises(InvalidParameter):
        fields(request=tmp_path / "nowhere.json")


def test_texts_in_a_file_never_become_paths(tmp_path: Path):
    file = tmp_path / "request.json"
    file.write_text(json.dumps({"mode": "img2img", "init_image": "/etc/passwd"}))
    assert fields(request=file)["init_image"] == "/etc/passwd"  # a name, which no picture has


def test_a_folder_is_a_batch_of_its_pictures_in_order(tmp_path: Path):
    for name in ("b.PNG", "a.jpg", "notes.txt"):
        (tmp_path / name).touch()
    assert plan_of(asked(batch=tmp_path)) == ("batch", {"pictures": [tmp_path / "a.jpg", tmp_path / "b.PNG"]})
    assert plan_of(asked()) is None
    assert plan_of(asked(plan="matrix", plan_arguments='{"a": 1}')) == ("matrix", {"a": 1})


@pytest.mark.parametrize(
    "given",
    [
        {"plan_arguments": "{}"},
        {"plan": "xyz", "plan_arguments": "{"},
        {"batch": Path("/nonexistent/folder")},
        {"batch": Path(), "init": Path("p")},
        {"batch": Path(), "plan": "xyz"},
    ],
    ids=range(5),
)
def test_a_plan_that_cannot_be_read_is_refused_in_words(given: dict[str, Any]):
    with pytest.raises(InvalidParameter):
        plan_of(asked(**given))
