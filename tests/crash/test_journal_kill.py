"""T-KILL: the journal is killed before and after every arrow, and the next start puts everything right."""

from __future__ import annotations

import os
import random
import signal
import time
from collections import Counter
from collections.abc import Callable
from multiprocessing import get_all_start_methods, get_context
from pathlib import Path

import pytest

from backend.journal import ARROWS, RECOVERY, REMOVAL, Recovered
from backend.storage import QUARANTINE
from tests.crash import child
from tests.crash.child import Studio, studio

if "forkserver" not in get_all_start_methods():
    pytest.skip("this system has no SIGKILL", allow_module_level=True)

PROCESSES = get_context("forkserver")
PROCESSES.set_forkserver_preload(["tests.crash.child", "safety.desk"])


def points(arrows: tuple[str, ...]) -> list[str]:
    return [f"{when} {arrow}" for arrow in arrows for when in ("before", "after")]


def killed(act: Callable[..., None], *arguments: object) -> None:
    """Run `act` in a process of its own, which has to die by SIGKILL."""
    process = PROCESSES.Process(target=act, args=arguments)
    process.start()
    process.join(60)
    assert process.exitcode == -signal.SIGKILL, f"{act.__name__}{arguments} ended with {process.exitcode}"


def check(here: Studio) -> None:
    """The invariants of a data folder that nobody is writing to."""
    records = [here.history.get(record_id) for record_id, _ in here.history.marks()]
    named: set[str] = set()
    for record in records:
        assert record is not None
        assert here.storage.sha256(record.path) == record.passport.sha256, "a row without its file"
        named |= {path for path in (record.path, record.thumbnail_path) if path is not None}
        if record.thumbnail_path is not None:
            assert here.storage.exists(record.thumbnail_path)
    files = {path.relative_to(here.storage.root) for path in here.storage.root.rglob("*") if path.is_file()}
    outside = {path.as_posix() for path in files if path.parts[0] != QUARANTINE}
    assert outside == named, "a file without its row"
    places = Counter((record.job_id, record.index) for record in records if record is not None)
    assert not places or max(places.values()) == 1, "a picture twice"
    assert here.history.intents() == () and here.jobs.unfinished() == ()
    for job in here.jobs.recent("owner", 1000):
        assert job.images == len(here.history.of_job(job.id))
        assert job.state in ("done", "interrupted", "failed")
        assert (job.state == "done") == (job.images == job.request.count)


def put_right(data: Path) -> None:
    """Recover, check, recover again (which must find nothing), run what was interrupted, and check once more."""
    with studio(data) as here:
        here.journal.recover()
        check(here)
        assert here.journal.recover() == Recovered()
        for job in here.jobs.recent("owner", 1000):
            if job.state == "interrupted":
                here.jobs.move(job.id, "queued")
                here.start(job.id, job.request.count)
                assert len(here.history.of_job(job.id)) == job.request.count
        check(here)
        assert here.journal.recover() == Recovered()


@pytest.mark.parametrize("stop", points(ARROWS))
def test_killed_while_keeping_the_first_picture(data: Path, stop: str) -> None:
    killed(child.keep, data, "job-1", stop)
    put_right(data)


@pytest.mark.parametrize("stop", points(("intend", "picture.rename", "commit")))
def test_killed_while_keeping_the_last_picture(data: Path, stop: str) -> None:
    killed(child.keep, data, "job-1", stop, 1)
    put_right(data)


@pytest.mark.parametrize("stop", points(REMOVAL))
def test_killed_while_removing_a_picture(data: Path, stop: str) -> None:
    with studio(data) as here:
        here.start("job-1", 1)
    killed(child.remove, data, stop)
    with studio(data) as here:
        here.journal.recover()
        restored = stop in ("before trash", "after trash", "before delete")
        assert len(list(here.history.marks())) == restored
        assert here.journal.recover() == Recovered()
        files = [path for path in here.storage.root.rglob("*") if path.is_file()]
        assert len(files) == 2 * restored


@pytest.mark.parametrize("stop", points(RECOVERY))
def test_killed_while_recovering(data: Path, stop: str) -> None:
    with studio(data) as here:
        here.start("removed", 1)
    killed(child.remove, data, "after trash")
    killed(child.keep, data, "half-written", "before picture.fsync")
    killed(child.keep, data, "uncommitted", "before commit")
    with studio(data) as here:
        here.storage.write("2026-11-20/nobody-knows-me.png", b"orphan")
    killed(child.recover, data, stop)
    put_right(data)
    assert [path.name for path in (data / "outputs" / QUARANTINE).iterdir()] == ["2026-11-20-nobody-knows-me.png"]


def test_a_finished_file_is_kept_and_a_half_written_one_is_not(data: Path) -> None:
    killed(child.keep, data, "whole", "before commit")
    killed(child.keep, data, "half", "after picture.write")
    with studio(data) as here:
        found = here.journal.recover()
        assert [record.job_id for record in found.finished] == ["whole"] and len(found.cleared) == 1
        assert {job.id for job in found.interrupted} == {"whole", "half"}


def test_a_whole_last_picture_makes_its_job_done(data: Path) -> None:
    killed(child.keep, data, "job-1", "before commit", 1)
    with studio(data) as here:
        found = here.journal.recover()
        job = here.jobs.get("job-1")
        assert job is not None and (job.state, job.images, found.interrupted) == ("done", 2, ())


def test_a_job_that_was_killed_twice_is_not_offered_again(data: Path) -> None:
    killed(child.keep, data, "job-1", "before intend")
    with studio(data) as here:
        assert [job.attempt for job in here.journal.recover().interrupted] == [1]
        here.jobs.move("job-1", "queued")
    killed(child.keep, data, "job-1", "before intend")
    with studio(data) as here:
        (job,) = here.journal.recover().failed
        assert job.problem is not None and job.problem["code"] == "started-too-often"
        assert here.journal.recover() == Recovered()


def test_killed_at_any_moment(data: Path) -> None:
    moments = random.Random(20261120)
    for turn in range(8):
        process = PROCESSES.Process(target=child.keep_for_ever, args=(data, f"turn-{turn}"))
        process.start()
        deadline = time.monotonic() + 20
        while not (data / "outputs").is_dir() and time.monotonic() < deadline:
            time.sleep(0.01)
        time.sleep(moments.uniform(0.05, 0.4))
        assert process.pid is not None
        os.kill(process.pid, signal.SIGKILL)
        process.join(60)
        with studio(data) as here:
            here.journal.recover()
            check(here)
    put_right(data)
