from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from backend.errors import Conflict, NotFound, StorageFull
from backend.journal import ARROWS, REMOVAL, Recovered, record_of
from backend.types import JobState
from tests.crash.child import Studio, studio
from tests.crash.pictures import make_job, make_sealed


@pytest.fixture
def told() -> list[str]:
    return []


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty, migrated database to copy."""
    folder = tmp_path_factory.mktemp("template")
    with studio(folder):
        pass
    return folder / "signet.db"


@pytest.fixture
def here(template: Path, tmp_path: Path, told: list[str]) -> Iterator[Studio]:
    shutil.copy(template, tmp_path)
    with studio(tmp_path, told.append) as opened:
        yield opened


def running(here: Studio, *, count: int = 1, state: JobState = "running") -> None:
    here.jobs.add(make_job(count=count, state=state, attempt=1))


def files(here: Studio) -> list[str]:
    return sorted(
        path.relative_to(here.storage.root).as_posix() for path in here.storage.root.rglob("*") if path.is_file()
    )


def test_a_kept_picture_lies_under_the_day_of_its_passport_and_ends_its_job(here: Studio) -> None:
    running(here)
    sealed = make_sealed(1)
    record = here.journal.keep(sealed, "job-1", last=True)
    assert (record.path, record.thumbnail_path) == ("2026-11-20/rec-000001.png", ".thumbs/rec-000001.webp")
    assert here.storage.read(record.path) == sealed.data
    assert here.storage.read(".thumbs/rec-000001.webp") == sealed.thumbnail
    assert here.history.get(record.id) == record and here.history.intents() == ()
    job = here.jobs.get("job-1")
    assert job is not None and (job.state, job.images) == ("done", 1)
    assert here.journal.recover() == Recovered()


def test_every_arrow_is_passed_once_and_in_order(here: Studio, told: list[str]) -> None:
    running(here)
    here.journal.keep(make_sealed(1), "job-1", last=True)
    assert told == [f"{when} {arrow}" for arrow in ARROWS for when in ("before", "after")]
    told.clear()
    here.journal.remove("rec-000001")
    assert told == [f"{when} {arrow}" for arrow in REMOVAL for when in ("before", "after")]


def test_a_picture_without_a_thumbnail_has_none(here: Studio) -> None:
    running(here)
    record = here.journal.keep(make_sealed(1, thumbnail=None), "job-1", last=True)
    assert record.thumbnail_path is None and files(here) == [record.path]


def test_the_same_place_in_a_job_is_filled_once(here: Studio) -> None:
    running(here, count=2)
    first = here.journal.keep(make_sealed(1, index=0), "job-1", last=False)
    again = here.journal.keep(make_sealed(2, index=0), "job-1", last=False)
    assert again == first and here.storage.exists(first.path)
    assert [record_id for record_id, _ in here.history.marks()] == [first.id]
    job = here.jobs.get("job-1")
    assert job is not None and job.state == "sealing"


def test_bytes_that_are_not_those_of_the_passport_are_not_kept(here: Studio) -> None:
    running(here)
    with pytest.raises(ValueError, match="not those of its passport"):
        here.journal.keep(replace(make_sealed(1), data=b"other bytes"), "job-1", last=True)
    assert files(here) == []


@pytest.mark.parametrize("state", ["queued", "cancelled", "failed", "interrupted", "done", "refused"])
def test_a_job_that_does_not_run_keeps_nothing(here: Studio, state: JobState) -> None:
    running(here, state=state)
    with pytest.raises(Conflict):
        here.journal.keep(make_sealed(1), "job-1", last=True)
    assert files(here) == [] and here.history.intents() == ()
    with pytest.raises(NotFound):
        here.journal.keep(make_sealed(1), "job-unknown", last=True)


def test_a_job_cancelled_while_its_last_picture_is_written_keeps_nothing_of_it(
    here: Studio, monkeypatch: pytest.MonkeyPatch
) -> None:
    running(here)
    monkeypatch.setattr(
        here.journal, "_reach", lambda point: here.jobs.move("job-1", "cancelled") if point == "before commit" else None
    )
    with pytest.raises(Conflict):
        here.journal.keep(make_sealed(1), "job-1", last=True)
    assert not here.storage.exists("2026-11-20/rec-000001.png") and here.history.intents() == ()
    assert here.history.get("rec-000001") is None


def test_a_commit_that_succeeded_and_then_failed_to_say_so_is_not_undone(
    here: Studio, monkeypatch: pytest.MonkeyPatch
) -> None:
    running(here)
    real = here.history.commit

    def commit(*arguments: object, **options: object) -> None:
        real(*arguments, **options)  # type: ignore[arg-type]
        raise StorageFull(1, 0)

    monkeypatch.setattr(here.history, "commit", commit)
    with pytest.raises(StorageFull):
        here.journal.keep(make_sealed(1), "job-1", last=True)
    monkeypatch.undo()
    assert here.history.get("rec-000001") is not None and here.storage.exists("2026-11-20/rec-000001.png")
    assert here.journal.recover() == Recovered()


def test_a_start_finishes_a_whole_file_even_without_its_thumbnail(here: Studio) -> None:
    running(here, count=2, state="sealing")
    record = record_of(make_sealed(1), "job-1")
    here.history.intend(record)
    here.storage.write(record.path, make_sealed(1).data)
    (finished,) = here.journal.recover().finished
    assert finished == record.model_copy(update={"thumbnail_path": None}) == here.history.get(record.id)
    job = here.jobs.get("job-1")
    assert job is not None and (job.state, job.images) == ("interrupted", 1)


@pytest.mark.parametrize("found", [b"", b"torn", None])
def test_a_start_clears_what_is_not_whole(here: Studio, found: bytes | None) -> None:
    running(here, state="sealing")
    record = record_of(make_sealed(1), "job-1")
    here.history.intend(record)
    here.storage.write(".thumbs/rec-000001.webp", b"thumbnail")
    if found is not None:
        here.storage.write(record.path, found)
    assert here.journal.recover().cleared == (record.id,)
    assert not here.storage.exists(record.path) and not here.storage.exists(".thumbs/rec-000001.webp")


def test_a_start_prefers_the_picture_that_is_in_the_history_already(here: Studio) -> None:
    running(here, count=2)
    here.journal.keep(make_sealed(1, index=0), "job-1", last=False)
    rival = record_of(make_sealed(2, index=0), "job-1")
    here.history.intend(rival)
    here.storage.write(rival.path, make_sealed(2).data)
    assert here.journal.recover().cleared == (rival.id,)
    assert not here.storage.exists(rival.path)


def test_a_start_finishes_the_picture_of_a_cancelled_job_without_reviving_it(here: Studio) -> None:
    running(here, state="cancelled")
    record = record_of(make_sealed(1, thumbnail=None), "job-1")
    here.history.intend(record)
    here.storage.write(record.path, make_sealed(1).data)
    assert here.journal.recover().finished == (record,)
    job = here.jobs.get("job-1")
    assert job is not None and job.state == "cancelled"


def test_a_start_offers_what_waited_or_ran_and_completes_what_lacked_only_the_word(here: Studio) -> None:
    here.jobs.add(make_job("waited"))
    here.jobs.add(make_job("ran", state="running", attempt=1))
    here.jobs.add(make_job("ran-twice", state="running", attempt=2))
    here.jobs.add(make_job("complete", state="running", attempt=1))
    here.journal.keep(make_sealed(1), "complete", last=False)
    found = here.journal.recover()
    assert [job.id for job in found.interrupted] == ["waited", "ran"]
    assert [job.id for job in found.failed] == ["ran-twice"]
    assert [job.id for job in found.completed] == ["complete"]


def test_a_removed_picture_is_gone_and_an_unknown_one_is_not_found(here: Studio) -> None:
    running(here)
    record = here.journal.keep(make_sealed(1), "job-1", last=True)
    assert here.journal.remove(record.id) == record
    assert here.history.get(record.id) is None and here.storage.trashed() == ()
    assert not here.storage.exists(record.path)
    with pytest.raises(NotFound):
        here.journal.remove(record.id)


def test_a_removal_that_fails_leaves_the_picture_where_it_was(here: Studio, monkeypatch: pytest.MonkeyPatch) -> None:
    running(here)
    record = here.journal.keep(make_sealed(1), "job-1", last=True)

    def full(_record_id: str) -> None:
        raise StorageFull(1, 0)

    monkeypatch.setattr(here.history, "delete", full)
    with pytest.raises(StorageFull):
        here.journal.remove(record.id)
    assert here.storage.read(record.path) == make_sealed(1).data and here.history.get(record.id) == record
    assert here.storage.exists(".thumbs/rec-000001.webp") and here.storage.trashed() == ()
