"""The upscaler that ships with the starter: offered by name, never by default, and sealed like everything else."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from backend import images
from backend.settings import ROOT
from backend.types import Job, Pixels, Principal, VerifyReport
from webui.compose import Services, open_services
from webui.options import read_settings

NAME, SIDE = "starter-upscaler", 128
FILE = ROOT / "models" / NAME / f"{NAME}.safetensors"
MOST_BYTES = 1 << 20
pytestmark = pytest.mark.skipif(not FILE.is_file(), reason="the upscaler does not ship yet")


@pytest.fixture(scope="module")
def studio(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Services]:
    settings = read_settings(data=tmp_path_factory.mktemp("data"), offline=True)
    with open_services(settings, principal_source="cli") as services:
        yield services


@pytest.fixture(scope="module")
def apple(studio: Services) -> str:
    """A picture of the starter's, to enlarge."""
    fields = {"prompt": "a red apple", "steps": 10, "sampler": "Euler a", "cfg": 4.0, "seed": 7}
    job = studio.service.wait(studio.service.submit(fields, studio.principal).id, 120)
    assert job.state == "done", job.problem
    return studio.service.library.put(bytes_of(studio, job)).id


def bytes_of(studio: Services, job: Job) -> bytes:
    (record,) = studio.service.of_job(job.id)
    return studio.service.file(record.id, Principal()).read_bytes()


def enlarged(studio: Services, **fields: Any) -> tuple[Pixels, VerifyReport, str]:
    """The picture, what Verify says about it, and its infotext."""
    service = studio.service
    job = service.wait(service.submit({"mode": "upscale", **fields}, studio.principal).id, 120)
    assert job.state == "done", job.problem
    file = bytes_of(studio, job)
    (record,) = service.of_job(job.id)
    return images.decode(file, max_pixels=1 << 22).pixels, service.verify(file), record.infotext


def test_the_upscaler_is_small_and_listed_beside_the_built_in_ones(studio: Services) -> None:
    assert FILE.stat().st_size < MOST_BYTES
    info = studio.service.library.catalog.find(NAME, "upscaler")
    assert (info.factor, info.family, info.licence) == (2, "any", "Apache-2.0")
    assert NAME in {each.id for each in studio.service.library.catalog.all("upscaler")}


def test_a_picture_of_the_starters_is_made_twice_as_large_by_it_and_sealed(studio: Services, apple: str) -> None:
    pixels, report, infotext = enlarged(studio, init_image=apple, upscale={"upscaler": NAME, "scale": 2})
    assert pixels.shape == (2 * SIDE, 2 * SIDE, 3)
    assert report.c2pa.state == "valid" and report.c2pa.ours, report.c2pa.failures
    assert report.watermark.found and report.history.match == "exact"
    assert f"Postprocess upscaler: {NAME}" in infotext
    # The same picture: what it shows, halved again, is what came in.
    before = images.decode(studio.service.library.input(apple).path.read_bytes(), max_pixels=1 << 22).pixels
    halves = pixels.reshape(SIDE, 2, SIDE, 2, 3).mean(axis=(1, 3))
    assert np.abs(halves - before).mean() < 8


def test_lanczos_stays_the_default(studio: Services, apple: str) -> None:
    pixels, _, infotext = enlarged(studio, init_image=apple, upscale={"scale": 2})
    assert pixels.shape == (2 * SIDE, 2 * SIDE, 3)
    assert "Postprocess upscaler: Lanczos" in infotext
