"""--plan, --plan-arguments and --batch of the command line."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from backend.errors import InvalidParameter
from webui.arguments import fields_of, plan_of
from webui.cli import parser


def asked(*words: str) -> Any:
    return parser().parse_args(["generate", "a cat", *words])


def plan(*words: str) -> tuple[str, Mapping[str, Any]] | None:
    return plan_of(asked(*words))


def test_a_plan_takes_its_arguments_as_text_or_from_a_file(tmp_path: Path) -> None:
    file = tmp_path / "plot.json"
    file.write_text('{"margin": 4}', "utf-8")
    assert plan() is None
    assert plan("--plan", "matrix") == ("matrix", {})
    assert plan("--plan", "xyz", "--plan-arguments", '{"x": {}}') == ("xyz", {"x": {}})
    assert plan("--plan", "xyz", "--plan-arguments", str(file)) == ("xyz", {"margin": 4})


def test_a_folder_is_a_batch_of_its_pictures_in_order(tmp_path: Path) -> None:
    for name in ("b.PNG", "a.jpg", "notes.txt"):
        (tmp_path / name).write_bytes(b"")
    pictures = [tmp_path / "a.jpg", tmp_path / "b.PNG"]
    assert plan("--batch", str(tmp_path)) == ("batch", {"pictures": pictures})
    assert plan("--batch", str(tmp_path), "--plan-arguments", '{"own_size": false}') == (
        "batch", {"own_size": False, "pictures": pictures},
    )  # fmt: skip
    assert fields_of(asked("--batch", str(tmp_path)))["mode"] == "img2img"
    upscaled = fields_of(asked("--batch", str(tmp_path), "--upscale", "2"))
    assert upscaled["mode"] == "upscale" and "init_image" not in upscaled


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--plan-arguments", "{}"], "belong to no plan"),
        (["--plan", "xyz", "--plan-arguments", "{"], "cannot be read as JSON"),
        (["--plan", "xyz", "--plan-arguments", "nowhere.json"], "cannot be read as JSON"),
        (["--batch", "."], "no PNG, JPEG or WebP file"),
        (["--batch", "nowhere"], "cannot be read"),
        (["--batch", ".", "--plan", "xyz"], "a plan by itself"),
        (["--batch", ".", "--init", "a.png"], "has its own pictures"),
    ],
)
def test_what_makes_no_plan_is_said(
    words: list[str], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InvalidParameter, match=said):
        plan(*words)
