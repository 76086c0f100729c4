"""T-FULL and T-DB: no room at any write, and many writers at once."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest
from sqlalchemy import text

from backend import storage as storage_module
from backend.errors import StorageFull
from backend.journal import ARROWS, Recovered
from tests.crash import child
from tests.crash.child import studio
from tests.crash.pictures import make_job, make_sealed
from tests.crash.test_journal_kill import PROCESSES, check

WRITERS, WRITES = 4, 200


@pytest.mark.parametrize("write", range(6))
def test_a_disk_that_fills_up_at_any_write_leaves_nothing_and_then_goes_on(
    data: Path, monkeypatch: pytest.MonkeyPatch, write: int
) -> None:
    """Two pictures are four files: writes 0 to 3 are theirs, 4 and 5 never come."""
    real = storage_module._write
    done = [0]

    def shim(descriptor: int, given: bytes) -> None:
        done[0] += 1
        if done[0] == write + 1:
            real(descriptor, given[: len(given) // 2])
            raise OSError(errno.ENOSPC, "No space left on device")
        real(descriptor, given)

    monkeypatch.setattr(storage_module, "_write", shim)
    with studio(data) as here:
        here.jobs.add(make_job(count=2))
        here.jobs.move("job-1", "running")
        pictures = [make_sealed(index, index=index) for index in (0, 1)]
        failed = 0
        for sealed in pictures:
            last = sealed.index == 1
            try:
                here.journal.keep(sealed, "job-1", last=last)
            except StorageFull:
                failed += 1
                assert here.history.get(sealed.passport.record_id) is None and here.history.intents() == ()
                here.journal.keep(sealed, "job-1", last=last)
        assert failed == (write < 4)
        check(here)
        assert here.journal.recover() == Recovered()


@pytest.mark.parametrize("arrow", ["intend", "commit"])
def test_a_database_that_cannot_grow_leaves_nothing_and_then_goes_on(
    data: Path, monkeypatch: pytest.MonkeyPatch, arrow: str
) -> None:
    with studio(data) as here:
        here.jobs.add(make_job())
        here.jobs.move("job-1", "running")

        def full(*_: object, **__: object) -> None:
            raise StorageFull(1, 0)

        with monkeypatch.context() as patched:
            patched.setattr(here.history, arrow, full)
            with pytest.raises(StorageFull):
                here.journal.keep(make_sealed(1), "job-1", last=True)
        assert here.history.intents() == ()
        here.journal.keep(make_sealed(1), "job-1", last=True)
        check(here)


def test_the_reserve_is_checked_before_anything_is_written(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[str] = []
    with studio(data, told.append) as here:
        here.jobs.add(make_job())
        here.jobs.move("job-1", "running")
        monkeypatch.setattr(here.storage, "room", lambda: 1)
        with pytest.raises(StorageFull):
            here.journal.keep(make_sealed(1), "job-1", last=True)
    assert told == [f"{when} {ARROWS[0]}" for when in ("before", "after")]


def test_a_limit_on_file_sizes_is_noticed_and_the_same_process_goes_on(data: Path) -> None:
    process = PROCESSES.Process(target=child.keep_too_much, args=(data,))
    process.start()
    process.join(60)
    assert process.exitcode == 0
    with studio(data) as here:
        check(here)
        assert [record_id for record_id, _ in here.history.marks()] == ["rec-000002"]


def test_several_processes_write_to_one_database_at_once(data: Path) -> None:
    with studio(data):
        pass
    writers = [PROCESSES.Process(target=child.write_much, args=(data, number, WRITES)) for number in range(WRITERS)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join(120)
    assert [writer.exitcode for writer in writers] == [0] * WRITERS
    with studio(data) as here:
        assert len(list(here.history.marks())) == WRITERS * WRITES
        jobs = here.jobs.recent("owner")
        assert {(job.state, job.images) for job in jobs} == {("done", WRITES)} and len(jobs) == WRITERS
        with here.database.writing() as connection:
            assert connection.execute(text("PRAGMA integrity_check")).scalar() == "ok"
            connection.execute(text("INSERT INTO records_fts (records_fts, rank) VALUES ('integrity-check', 1)"))
