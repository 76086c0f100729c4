"""Every mode on the starter model, through the whole road, from admission to verify; service and command line."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from backend import images
from backend.settings import ROOT
from backend.types import Principal
from tests.support.drawings import shapes
from tests.support.pictures import mask
from tests.support.whole import SIDE, Whole, open_whole, shown


@pytest.fixture(scope="module")
def studio(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Whole]:
    with open_whole(tmp_path_factory.mktemp("data"), steps=6, sampler="Euler a", cfg=4.0, seed=7) as opened:
        yield opened


@pytest.fixture(scope="module")
def brought(studio: Whole) -> dict[str, str]:
    """Pictures to name in requests; the apple is the studio's own."""
    return {
        "apple": studio.put(studio.make(prompt="a red apple").file),
        "mask": studio.put(images.encode_png(mask(SIDE, SIDE, (0, 64, SIDE, SIDE)))),
        "disc": studio.put(images.encode_png(shapes(SIDE)["disc"])),
    }


MODES: dict[str, tuple[dict[str, Any], tuple[int, int], int]] = {
    "txt2img": ({"prompt": "a red apple"}, (SIDE, SIDE), 0),
    "hires": ({"prompt": "a red apple", "hires": {"scale": 1.5, "denoise": 0.5}}, (192, 192), 0),
    "img2img": ({"mode": "img2img", "prompt": "a green apple", "init_image": "apple"}, (SIDE, SIDE), 1),
    "inpaint": (
        {"mode": "inpaint", "prompt": "a green apple", "init_image": "apple", "inpaint": {"mask": "mask"}},
        (SIDE, SIDE),
        1,
    ),
    "outpaint": (
        {"mode": "inpaint", "prompt": "a tree", "init_image": "apple", "outpaint": {"right": 64}},
        (192, SIDE),
        1,
    ),
    "upscale": ({"mode": "upscale", "init_image": "apple"}, (256, 256), 1),
    "tiled": (
        {"mode": "upscale", "prompt": "a red apple", "init_image": "apple", "denoise": 0.3,
         "upscale": {"scale": 1.5, "diffusion": True, "tile": 128, "overlap": 32}},
        (192, 192),
        1,
    ),
    "control": (
        {"prompt": "a red apple", "control": [{"image": "disc", "model": "starter-edges", "preprocessor": "canny"}]},
        (SIDE, SIDE),
        1,
    ),
    "words": ({"prompt": "a {red|green} (apple:1.2) AND [cat:dog:0.5] :0.3 BREAK on white"}, (SIDE, SIDE), 0),
    "jpeg": ({"prompt": "a red apple", "format": "jpeg", "quality": 95}, (SIDE, SIDE), 0),
}  # fmt: skip


def named(value: Any, brought: dict[str, str]) -> Any:
    if isinstance(value, dict):
        return {key: named(item, brought) for key, item in value.items()}
    if isinstance(value, list):
        return [named(item, brought) for item in value]
    return brought.get(value, value) if isinstance(value, str) else value


@pytest.mark.parametrize("mode", MODES)
def test_a_picture_of_every_mode_is_sealed_and_verifies(studio: Whole, brought: dict[str, str], mode: str) -> None:
    fields, (width, height), ingredients = MODES[mode]
    made = studio.make(**named(fields, brought))
    report = studio.verify(made)
    assert made.pixels.shape == (height, width, 3)
    assert made.pixels.std() > 5
    assert report.c2pa.state == "valid" and report.c2pa.ours, report.c2pa.failures
    assert report.watermark.found
    assert report.history.match == "exact"
    assert len([each for each in report.c2pa.ingredients if each.kind == "file"]) == ingredients
    assert made.record.passport.inspection.state == "clean"


def test_what_inpainting_leaves_alone_differs_by_the_mark_only(studio: Whole, brought: dict[str, str]) -> None:
    after = studio.make(**named({**MODES["inpaint"][0], "denoise": 1.0}, brought)).pixels
    change = np.abs(after.astype(int) - shown(studio.input(brought["apple"])))
    assert change[:32].mean() < 6  # far from the mask: the invisible mark
    assert change[72:].mean() > 15  # under it: another picture


def test_a_sheet_of_a_plot_is_sealed_with_its_cells_as_ingredients(studio: Whole) -> None:
    service = studio.services.service
    arguments = {"x": {"axis": "CFG", "values": "2,4"}, "y": {"axis": "Seed", "values": "1,2"}}
    fields = {**studio.plain, "prompt": "a red heart"}
    ticket = service.plans.submit("xyz", fields, arguments, studio.services.principal)
    job = service.wait(ticket.grids[0].id, 240)
    assert job.state == "done", job.problem
    report = service.verify(service.file(service.of_job(job.id)[0].id, Principal()).read_bytes())
    assert report.c2pa.state == "valid"
    assert len([each for each in report.c2pa.ingredients if each.kind == "file"]) == 4


def test_the_command_line_does_it_too(tmp_path: Path, studio: Whole, brought: dict[str, str]) -> None:
    start = tmp_path / "apple.png"
    start.write_bytes(studio.input(brought["apple"]))
    drawn = tmp_path / "disc.png"
    drawn.write_bytes(studio.input(brought["disc"]))
    own = tmp_path / "data"
    for arguments in (
        ["a green apple", "--init", str(start), "--denoise", "0.6"],
        ["a red apple", "--control", "starter-edges", "canny", str(drawn), "--format", "webp"],
        ["--init", str(start), "--upscale", "2"],
    ):
        told = _run("generate", *arguments, "--steps", "4", "--json", "--data", str(own))
        path = json.loads(told)["images"][0]["path"]
        (report,) = json.loads(_run("verify", path, "--json", "--data", str(own)))
        assert (report["c2pa"]["state"], report["watermark"]["found"]) == ("valid", True)


def _run(*arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "webui.cli", *arguments], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout
