"""The upscaler that ships with the starter: offered by name, never by default, and sealed like everything else."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

from backend.settings import ROOT
from tests.support.whole import SIDE, Whole, open_whole, shown

NAME = "starter-upscaler"
FILE = ROOT / "models" / NAME / f"{NAME}.safetensors"
MOST_BYTES = 1 << 20
pytestmark = pytest.mark.skipif(not FILE.is_file(), reason="the upscaler does not ship yet")


@pytest.fixture(scope="module")
def studio(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Whole]:
    with open_whole(tmp_path_factory.mktemp("data")) as opened:
        yield opened


@pytest.fixture(scope="module")
def apple(studio: Whole) -> str:
    """A picture of the starter's, to enlarge."""
    return studio.put(studio.make(prompt="a red apple", steps=10, sampler="Euler a", cfg=4.0, seed=7).file)


def test_the_upscaler_is_small_and_listed_beside_the_built_in_ones(studio: Whole) -> None:
    assert FILE.stat().st_size < MOST_BYTES
    info = studio.services.service.library.catalog.find(NAME, "upscaler")
    assert (info.factor, info.family, info.licence) == (2, "any", "Apache-2.0")
    assert NAME in {each.id for each in studio.services.service.library.catalog.all("upscaler")}


def test_a_picture_of_the_starters_is_made_twice_as_large_by_it_and_sealed(studio: Whole, apple: str) -> None:
    made = studio.make(mode="upscale", init_image=apple, upscale={"upscaler": NAME, "scale": 2})
    report = studio.verify(made)
    assert made.pixels.shape == (2 * SIDE, 2 * SIDE, 3)
    assert report.c2pa.state == "valid" and report.c2pa.ours, report.c2pa.failures
    assert report.watermark.found and report.history.match == "exact"
    assert f"Postprocess upscaler: {NAME}" in made.record.infotext
    # The same picture: what it shows, halved again, is what came in.
    halves = made.pixels.reshape(SIDE, 2, SIDE, 2, 3).mean(axis=(1, 3))
    assert np.abs(halves - shown(studio.input(apple))).mean() < 8


def test_lanczos_stays_the_default(studio: Whole, apple: str) -> None:
    made = studio.make(mode="upscale", init_image=apple, upscale={"scale": 2})
    assert made.pixels.shape == (2 * SIDE, 2 * SIDE, 3)
    assert "Postprocess upscaler: Lanczos" in made.record.infotext
