"""Plain img2img and inpainting on the starter: a red apple becomes a green one, and nothing else does."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
from numpy.typing import NDArray

from backend import images
from backend.types import Pixels
from safety.bias.measures import MEASURES
from tests.support.pictures import mask
from tests.support.whole import SIDE, Whole, open_whole

SEEDS = (7, 8, 9, 10)
MASKED = (0, 32, 128, 128)
"""Left, top, right, bottom of what is painted anew: the apple's body; its stem and the ground above it stay."""
RIM = 4  # pixels next to the mask that the decoder may touch


@pytest.fixture(scope="module")
def studio(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Whole]:
    with open_whole(tmp_path_factory.mktemp("data"), steps=20, sampler="Euler a", cfg=4.0) as opened:
        yield opened


def colour(pixels: Pixels) -> str | None:
    return MEASURES["colour"].look(pixels)


@pytest.fixture(scope="module")
def apples(studio: Whole) -> dict[str, Pixels]:
    """Red ones, by their ids as inputs."""
    made = [studio.make(prompt="a red apple", seed=seed) for seed in SEEDS]
    found = {studio.put(each.file): each.pixels for each in made}
    assert [colour(pixels) for pixels in found.values()] == ["red"] * len(SEEDS)
    return found


def solid(pixels: Pixels) -> NDArray[np.bool_]:
    """Where something is drawn: the ground is white."""
    return pixels.min(axis=2) < 200


def test_inpainting_makes_a_red_apple_green_and_changes_nothing_outside(
    studio: Whole, apples: dict[str, Pixels]
) -> None:
    area = studio.put(images.encode_png(mask(SIDE, SIDE, MASKED)))
    fields = {"mode": "inpaint", "prompt": "a green apple", "inpaint": {"mask": area, "blur": 0}}
    for apple, before in apples.items():
        after = studio.make(**fields, init_image=apple, denoise=0.9, seed=3).pixels
        assert colour(after) == "green"
        change = np.abs(after.astype(int) - before)
        assert change[: MASKED[1] - RIM].mean() < 2  # the invisible mark, no more
        assert change[MASKED[1] :].mean() > 10


def test_img2img_makes_a_red_apple_green_and_keeps_its_shape(studio: Whole, apples: dict[str, Pixels]) -> None:
    fields = {"mode": "img2img", "prompt": "a green apple", "denoise": 0.7, "seed": 3}
    for apple, before in apples.items():
        after = studio.make(**fields, init_image=apple).pixels
        assert colour(after) == "green"
        assert (solid(before) & solid(after)).sum() > 0.85 * (solid(before) | solid(after)).sum()
