from __future__ import annotations

import dataclasses
import itertools
from datetime import UTC, datetime, timedelta, timezone

import pytest

from backend.errors import Conflict, NotFound
from backend.queue import LEGAL_MOVES
from db.engine import Database
from db.history import SqlHistory
from db.jobs import SqlJobs
from tests.crash.pictures import NOON, make_job, make_record


@pytest.fixture
def jobs(database: Database) -> SqlJobs:
    return SqlJobs(database)


def test_a_job_comes_back_as_it_went_in(jobs: SqlJobs) -> None:
    job = dataclasses.replace(make_job(count=3), problem={"code": "busy", "status": 429})
    jobs.add(job)
    assert jobs.get(job.id) == job
    assert jobs.get("job-unknown") is None


def test_times_are_utc_whatever_zone_they_were_given_in(jobs: SqlJobs) -> None:
    there = NOON.astimezone(timezone(timedelta(hours=5, minutes=30)))
    jobs.add(make_job(created=there))
    job = jobs.get("job-1")
    assert job is not None and job.created == NOON and job.created.tzinfo is UTC


def test_moves_keep_to_the_table(jobs: SqlJobs) -> None:
    for frm, to in itertools.product(LEGAL_MOVES, LEGAL_MOVES):
        name = f"{frm}-{to}"
        jobs.add(make_job(name, state=frm))
        if to in LEGAL_MOVES[frm]:
            assert jobs.move(name, to).state == to
        else:
            with pytest.raises(Conflict):
                jobs.move(name, to)
            job = jobs.get(name)
            assert job is not None and job.state == frm and job.updated == NOON


def test_a_move_to_running_counts_an_attempt_and_others_do_not(jobs: SqlJobs) -> None:
    jobs.add(make_job())
    assert jobs.move("job-1", "running").attempt == 1
    assert jobs.move("job-1", "interrupted").attempt == 1
    assert jobs.move("job-1", "queued").attempt == 1
    moved = jobs.move("job-1", "running")
    assert moved.attempt == 2 and moved.updated > NOON and datetime.now(UTC) >= moved.updated


def test_a_problem_is_kept_until_the_next_move(jobs: SqlJobs) -> None:
    jobs.add(make_job())
    assert jobs.move("job-1", "interrupted", problem={"code": "x"}).problem == {"code": "x"}
    assert jobs.move("job-1", "queued").problem is None


def test_a_move_of_an_unknown_job_is_not_found(jobs: SqlJobs) -> None:
    with pytest.raises(NotFound):
        jobs.move("job-1", "running")


def test_unfinished_jobs_come_oldest_first_and_ended_ones_not_at_all(jobs: SqlJobs) -> None:
    for number, state in enumerate(LEGAL_MOVES):
        # The clock going back does not change the order.
        jobs.add(make_job(f"job-{state}", state=state, created=NOON - timedelta(hours=number)))
    assert [job.state for job in jobs.unfinished()] == ["queued", "running", "sealing"]


def test_recent_jobs_are_those_of_the_principal_newest_first(jobs: SqlJobs) -> None:
    for number in range(5):
        jobs.add(make_job(f"job-{number}", principal="ann" if number % 2 else "bob"))
    assert [job.id for job in jobs.recent("bob", limit=2)] == ["job-4", "job-2"]
    assert jobs.recent("eve") == ()


def test_images_are_counted_from_the_history(database: Database, jobs: SqlJobs) -> None:
    history = SqlHistory(database)
    jobs.add(make_job(count=2, state="sealing"))
    for index in (0, 1):
        history.commit(make_record(index, job_id="job-1", index=index), last=False)
        job = jobs.get("job-1")
        assert job is not None and job.images == index + 1
    history.delete("rec-000000")
    job = jobs.get("job-1")
    assert job is not None and job.images == 1
