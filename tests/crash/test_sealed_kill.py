"""T-KILL with the real seal: whatever a kill at any arrow leaves, after a restart it carries a valid manifest."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from backend import images
from backend.types import EngineFacts, ModelFacts, RawImage, SealedImage
from safety.desk import DeskConfig, open_desk, open_verifier
from tests.crash.child import killer, studio
from tests.crash.pictures import make_job, make_request
from tests.crash.test_journal_kill import check, killed, points

COUNT = 2
# The starter's pictures are their own thumbnails, so the arrows of thumbnails are not on this road.
ROAD = ("sealing", "intend", "picture.write", "picture.fsync", "picture.rename", "picture.fsync-folder", "commit")


def seal_for_real(keys: Path, job_id: str, index: int) -> SealedImage:
    """A picture of 128 px through the doors of the real desk: OpenNSFW, the mark, the signature."""
    desk = open_desk(DeskConfig(keys), images.encode_png, images.encode_thumbnail, images.encode_jpeg)
    rows, columns = np.mgrid[0:128, 0:128]
    disc = (rows - 60) ** 2 + (columns - 64 - 8 * index) ** 2 < 40**2
    noise = np.random.default_rng(index).integers(0, 12, (128, 128, 3))
    pixels = (np.where(disc[..., None], (200, 40, 50), (230, 230, 240)) + noise).astype(np.uint8)
    request = make_request(count=COUNT).model_copy(update={"width": 128, "height": 128})
    model = ModelFacts(id="test", title="Test", family="sd1", licence="not stated", sha256=None)
    engine = EngineFacts(
        app="0", torch="0", diffusers="0", device="cpu", dtype="float32", attention="none", bucket=1, seconds=0.1
    )
    verdict = make_job(job_id).verdict
    raw = RawImage(pixels, job_id, index, request.seed + index, request, "a disc\nSteps: 1", model, engine, verdict)
    return desk.seal(desk.inspect(raw))


def run(data: Path, job_id: str, stop: str = "", pass_by: int = 0) -> None:
    """Make the pictures that the job still lacks."""
    with studio(data, killer(stop, pass_by)) as here:
        if here.jobs.get(job_id) is None:
            here.jobs.add(make_job(job_id, count=COUNT))
        here.jobs.move(job_id, "running")
        missing = sorted({*range(COUNT)} - {record.index for record in here.history.of_job(job_id)})
        for index in missing:
            here.journal.keep(seal_for_real(data / "keys", job_id, index), job_id, last=index == missing[-1])


@pytest.mark.parametrize("stop", points(ROAD))
def test_whatever_a_kill_leaves_is_sealed_and_verifies(data: Path, stop: str) -> None:
    killed(run, data, "job-1", stop, points(ROAD).index(stop) % 2 if "commit" in stop else 0)
    with studio(data) as here:
        here.journal.recover()
        check(here)
        job = here.jobs.get("job-1")
        assert job is not None
        if job.state == "interrupted":
            here.jobs.move("job-1", "queued")
            run(data, "job-1")
        check(here)
        records = here.history.of_job("job-1")
        assert [record.index for record in records] == list(range(COUNT))
        verifier = open_verifier(DeskConfig(data / "keys"), here.history)
        for record in records:
            stored = here.storage.read(record.path)
            found = images.decode(stored, max_pixels=10**6)
            report = verifier.verify(stored, found.media_type, found.pixels, found.text)
            assert (report.c2pa.state, report.c2pa.ours) == ("valid", True)
            assert (report.history.match, report.history.record_id) == ("exact", record.id)
            assert report.watermark.record_id == record.id
