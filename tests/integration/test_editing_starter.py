"""Plain img2img and inpainting on the starter: a red apple becomes a green one, and nothing else does."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from backend import images
from backend.types import Pixels, Principal
from safety.bias.measures import MEASURES
from tests.support.pictures import mask
from webui.compose import Services, open_services
from webui.options import read_settings

SIDE = 128
PLAIN: dict[str, Any] = {"steps": 20, "sampler": "Euler a", "cfg": 4.0}
SEEDS = (7, 8, 9, 10)
MASKED = (0, 32, 128, 128)
"""Left, top, right, bottom of what is painted anew: the apple's body; its stem and the ground above it stay."""
RIM = 4  # pixels next to the mask that the decoder may touch


@pytest.fixture(scope="module")
def studio(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Services]:
    settings = read_settings(data=tmp_path_factory.mktemp("data"), offline=True)
    with open_services(settings, principal_source="cli") as services:
        yield services


def made(studio: Services, **fields: Any) -> bytes:
    service = studio.service
    job = service.wait(service.submit({**PLAIN, **fields}, studio.principal).id, 120)
    assert job.state == "done", job.problem
    return service.file(service.of_job(job.id)[0].id, Principal()).read_bytes()


def shown(file: bytes) -> Pixels:
    return images.decode(file, max_pixels=1 << 22).pixels


def colour(pixels: Pixels) -> str | None:
    return MEASURES["colour"].look(pixels)


@pytest.fixture(scope="module")
def apples(studio: Services) -> dict[str, Pixels]:
    """Red ones, by their ids as inputs."""
    files = [made(studio, prompt="a red apple", seed=seed) for seed in SEEDS]
    found = {studio.service.library.put(file).id: shown(file) for file in files}
    assert [colour(pixels) for pixels in found.values()] == ["red"] * len(SEEDS)
    return found


def solid(pixels: Pixels) -> NDArray[np.bool_]:
    """Where something is drawn: the ground is white."""
    return pixels.min(axis=2) < 200


def test_inpainting_makes_a_red_apple_green_and_changes_nothing_outside(
    studio: Services, apples: dict[str, Pixels]
) -> None:
    area = studio.service.library.put(images.encode_png(mask(SIDE, SIDE, MASKED))).id
    fields = {"mode": "inpaint", "prompt": "a green apple", "inpaint": {"mask": area, "blur": 0}}
    for apple, before in apples.items():
        after = shown(made(studio, **fields, init_image=apple, denoise=0.9, seed=3))
        assert colour(after) == "green"
        change = np.abs(after.astype(int) - before)
        assert change[: MASKED[1] - RIM].mean() < 2  # the invisible mark, no more
        assert change[MASKED[1] :].mean() > 10


def test_img2img_makes_a_red_apple_green_and_keeps_its_shape(studio: Services, apples: dict[str, Pixels]) -> None:
    fields = {"mode": "img2img", "prompt": "a green apple", "denoise": 0.7, "seed": 3}
    for apple, before in apples.items():
        after = shown(made(studio, **fields, init_image=apple))
        assert colour(after) == "green"
        assert (solid(before) & solid(after)).sum() > 0.85 * (solid(before) | solid(after)).sum()
