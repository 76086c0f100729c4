"""Films and maps at the front desk: kept with a picture that was sealed, and gone with one that was not."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from backend import wire
from backend.errors import OutOfMemory
from backend.types import Job
from tests.support.studio import Studio


@pytest.fixture
def studio(data: Path) -> Iterator[Studio]:
    made = Studio(data)
    made.ready()
    yield made
    made.close()


def film(studio: Studio, job: Job) -> None:
    """What an engine sends in the first step."""
    studio.link.say(wire.Frame(job.id, 0, 1, b"estimate", b"noise", 14.6))
    studio.link.say(wire.Maps(job.id, 0, 1, (wire.WordMap("cat", 1.0, b"png"),)))


def kept(studio: Studio, job: Job) -> tuple[int, int]:
    return len(studio.service.frames(job.id)), len(studio.service.maps(job.id))


def test_the_film_of_a_sealed_picture_stays(studio: Studio) -> None:
    job = studio.submit(film=[1], maps=True)
    film(studio, job)
    assert kept(studio, job) == (1, 1)
    studio.run(job)
    assert studio.state(job) == "done" and kept(studio, job) == (1, 1)
    assert studio.service.frames(job.id)[0, 1].sigma == 14.6


@pytest.mark.parametrize("cancelled", [True, False])
def test_without_a_sealed_picture_there_is_no_film(studio: Studio, cancelled: bool) -> None:
    job = studio.submit(film=[1], maps=True)
    film(studio, job)
    studio.end(
        job, None if cancelled else OutOfMemory("this picture", None, "Close something.").problem, cancelled=cancelled
    )
    film(studio, job)
    assert studio.state(job) == ("cancelled" if cancelled else "failed") and kept(studio, job) == (0, 0)
