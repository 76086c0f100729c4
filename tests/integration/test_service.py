"""The front desk with a real database and storage, while the test plays the engine."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from backend import wire
from backend.errors import (
    Busy,
    Conflict,
    InvalidParameter,
    NotFound,
    OutOfMemory,
    Refused,
    StorageFull,
    Unavailable,
    UnreadableImage,
)
from backend.line import ROOM
from tests.support.studio import OWNER, Studio, other, sealed


@pytest.fixture
def studio(data: Path) -> Iterator[Studio]:
    made = Studio(data)
    yield made
    made.close()


@pytest.fixture
def ready(studio: Studio) -> Studio:
    studio.ready()
    return studio


# ---- the plain road


def test_a_job_goes_from_queued_to_done_and_its_pictures_are_in_the_history(ready: Studio):
    job = ready.submit(count=2)
    assert (job.state, ready.state(job)) == ("queued", "running")
    (work,) = ready.link.works
    assert (work.job_id, work.request, work.indexes) == (job.id, job.request, (0, 1))
    ready.make(job, 0)
    assert ready.state(job) == "sealing"
    ready.make(job, 1)
    ready.end(job)
    done = ready.service.job(job.id)
    assert (done.state, done.images, done.attempt) == ("done", 2, 1)
    records = ready.service.of_job(job.id)
    assert [record.index for record in records] == [0, 1]
    for record in records:
        data = ready.service.file(record.id, OWNER).read_bytes()
        assert hashlib.sha256(data).hexdigest() == record.passport.sha256
        assert ready.service.thumbnail(record.id) == ready.service.file(record.id, OWNER)
    assert ready.service.health().running == 0


def test_events_come_in_order_with_growing_numbers(ready: Studio):
    job = ready.submit(count=1, steps=4)
    for phase, step in (("loading", 0), ("encoding", 0), ("step", 1), ("step", 2), ("decoding", 4), ("sealing", 4)):
        ready.link.say(wire.Progress(job.id, phase, step, 4 if step else 0, eta=1.5))
    ready.run(job)
    events = ready.service.events(job.id)
    assert [event.phase for event in events] == [
        "queued", "loading", "encoding", "step", "decoding", "sealing", "image", "done",
    ]  # fmt: skip
    assert [event.seq for event in events] == sorted({event.seq for event in events})
    step = events[3]
    assert (step.step, step.steps, step.fraction, step.eta) == (2, 4, 0.5, 1.5)
    assert events[-2].record_id == ready.service.of_job(job.id)[0].id
    assert ready.service.events(job.id, after=events[-2].seq) == events[-1:]
    assert ready.service.events(job.id, after=events[-1].seq) == ()


def test_nothing_is_handed_over_before_the_engine_is_ready(studio: Studio):
    job = studio.submit()
    assert (studio.state(job), studio.link.works, studio.service.health().engine) == ("queued", [], "starting")
    studio.ready()
    assert studio.running == [job.id]
    assert (studio.service.health().engine, studio.service.health().device) == ("ready", "cpu")


def test_the_engine_gets_only_as_much_as_it_has_room_for_and_the_rest_hear_their_positions(ready: Studio):
    jobs = [ready.submit(count=8) for _ in range(5)]
    assert ROOM == 16
    assert ready.running == [jobs[0].id, jobs[1].id]
    assert [ready.last(job).position for job in jobs[2:]] == [0, 1, 2]
    ready.run(jobs[0])
    assert ready.running == [jobs[0].id, jobs[1].id, jobs[2].id]
    assert [ready.last(job).position for job in jobs[3:]] == [0, 1]
    assert (ready.service.health().running, ready.service.health().waiting) == (2, 2)


def test_one_who_asks_for_much_does_not_keep_another_waiting(ready: Studio):
    many = [ready.submit(count=8, who=other("many")) for _ in range(6)]
    one = ready.submit(count=8, who=other("one"))
    ready.run(many[0])
    assert ready.running[-1] == one.id


def test_a_preview_is_there_while_the_job_runs_and_gone_afterwards(ready: Studio):
    job = ready.submit()
    ready.link.say(wire.Preview(job.id, b"jpeg"))
    ready.link.say(wire.Progress(job.id, "step", 1, 20))
    assert (ready.service.preview(job.id), ready.last(job).preview) == (b"jpeg", 1)
    ready.run(job)
    assert ready.service.preview(job.id) is None


def test_waiting_for_a_job_returns_when_it_is_through(ready: Studio):
    job = ready.submit()
    assert ready.service.wait(job.id, timeout=0.01).state == "running"
    seen: list[str] = []
    waiter = threading.Thread(target=lambda: seen.append(ready.service.wait(job.id, timeout=10).state))
    waiter.start()
    ready.run(job)
    waiter.join(10)
    assert seen == ["done"]


# ---- what is turned away


def test_a_bad_request_is_turned_away_and_leaves_no_job(ready: Studio):
    with pytest.raises(InvalidParameter):
        ready.submit("")
    assert ready.service.jobs(OWNER) == ()


def test_a_refused_request_is_recorded_with_its_reason_and_never_queued(ready: Studio):
    with pytest.raises(Refused):
        ready.submit("forbidden things")
    (job,) = ready.service.jobs(OWNER)
    assert job.state == "refused"
    assert job.problem is not None
    assert job.problem["code"] == "refused"
    assert ready.phases(job) == ["failed"]
    assert ready.link.works == []
    with pytest.raises(Conflict):
        ready.service.cancel(job.id, OWNER)


def test_too_many_waiting_jobs_turn_the_next_one_away(data: Path):
    studio = Studio(data, max_waiting_jobs=2)
    first = studio.submit()
    studio.submit()
    with pytest.raises(Busy) as caught:
        studio.submit()
    assert caught.value.problem.retry_after
    assert len(studio.service.jobs(OWNER)) == 2
    studio.service.cancel(first.id, OWNER)
    studio.submit()
    studio.close()


def test_a_disk_below_its_reserve_turns_new_jobs_away(studio: Studio, monkeypatch: pytest.MonkeyPatch):
    def full(needed: int) -> None:
        raise StorageFull(needed, 0)

    monkeypatch.setattr(studio.storage, "check_room", full)
    with pytest.raises(StorageFull):
        studio.submit()
    assert studio.service.jobs(OWNER) == ()


def test_what_is_not_there_is_not_found(ready: Studio):
    for call in (ready.service.job, ready.service.events, ready.service.record, ready.service.thumbnail):
        with pytest.raises(NotFound):
            call("nothing")
    with pytest.raises(NotFound):
        ready.service.cancel("nothing", OWNER)
    with pytest.raises(UnreadableImage):
        ready.service.verify(b"hello")


# ---- cancelling


def test_a_waiting_job_is_cancelled_at_once_and_the_others_move_up(studio: Studio):
    first, second = studio.submit(), studio.submit()
    assert studio.service.cancel(first.id, OWNER).state == "cancelled"
    assert studio.phases(first) == ["queued", "cancelled"]
    assert studio.last(second).position == 0
    studio.ready()
    assert studio.running == [second.id]
    assert studio.service.cancel(first.id, OWNER).state == "cancelled"


def test_a_running_job_is_cancelled_by_the_engine_and_keeps_what_it_has_made(ready: Studio):
    job = ready.submit(count=3)
    ready.make(job, 0)
    ready.service.cancel(job.id, OWNER)
    assert ready.link.cancelled == [job.id]
    assert ready.state(job) == "sealing"
    ready.end(job, cancelled=True)
    assert (ready.state(job), ready.phases(job)[-1]) == ("cancelled", "cancelled")
    ready.make(job, 1)
    assert [record.index for record in ready.service.of_job(job.id)] == [0]


def test_a_job_that_was_done_before_the_cancelling_arrived_is_done(ready: Studio):
    job = ready.submit()
    ready.make(job, 0)
    ready.service.cancel(job.id, OWNER)
    ready.end(job, cancelled=True)
    assert (ready.state(job), ready.phases(job)[-1]) == ("done", "done")
    with pytest.raises(Conflict):
        ready.service.cancel(job.id, OWNER)


# ---- accidents


def test_a_crash_fails_what_was_running_and_the_rest_goes_on_after_the_restart(ready: Studio):
    lost = [ready.submit(count=8), ready.submit(count=8)]
    waits = ready.submit(count=1)
    ready.link.say(wire.Crashed("exit code -9"))
    health = ready.service.health()
    assert (health.engine, health.device, health.running) == ("restarting", None, 0)
    for job in lost:
        problem = ready.service.job(job.id).problem
        assert problem is not None
        assert problem["code"] == "engine-crashed"
        assert ready.last(job).problem == problem
    assert ready.state(waits) == "queued"
    ready.ready()
    assert ready.running[-1] == waits.id
    ready.run(waits)
    assert ready.state(waits) == "done"
    assert ready.service.health().engine == "ready"


def test_an_engine_that_was_given_up_keeps_what_waits_as_an_offer_and_turns_new_ones_away(studio: Studio):
    job = studio.submit()
    studio.link.say(wire.Crashed("no device"))
    studio.link.say(wire.GaveUp("no device"))
    assert studio.state(job) == studio.last(job).phase == "interrupted"
    assert "no device" in studio.last(job).message
    for attempt in (studio.submit, lambda: studio.service.resume(job.id, OWNER)):
        with pytest.raises(Unavailable, match="no device"):
            attempt()
    assert studio.service.health().engine == "failed"
    assert studio.state(job) == "interrupted"
    studio.ready()
    studio.service.resume(job.id, OWNER)
    assert studio.running == [job.id]


def test_a_problem_of_the_engine_reaches_the_job_word_by_word(ready: Studio):
    job = ready.submit()
    problem = OutOfMemory("this picture", 2**20, "Make it smaller.").problem
    ready.end(job, problem)
    stored = ready.service.job(job.id)
    assert stored.state == "failed"
    assert stored.problem is not None
    assert (stored.problem["code"], stored.problem["hint"]) == ("out-of-memory", "Make it smaller.")
    assert ready.last(job).message == problem.sentence()


def test_a_model_that_vanished_while_its_job_waited_fails_that_job(studio: Studio):
    job = studio.submit()
    studio.catalog.gone = True
    studio.ready()
    problem = studio.service.job(job.id).problem
    assert problem is not None
    assert (studio.state(job), problem["code"]) == ("failed", "unknown-model")


def full_disk(*_args: Any, **_options: Any) -> None:
    raise StorageFull(1, 0)


def test_a_full_disk_fails_the_job_and_nothing_is_half_written(ready: Studio, monkeypatch: pytest.MonkeyPatch):
    job = ready.submit(count=2)
    ready.make(job, 0)
    before = ready.files()
    monkeypatch.setattr(ready.storage, "write", full_disk)
    ready.make(job, 1)
    problem = ready.service.job(job.id).problem
    assert problem is not None
    assert (ready.state(job), problem["code"]) == ("failed", "storage-full")
    assert ready.link.cancelled == [job.id]
    assert ready.files() == before
    assert ready.history.intents() == ()
    monkeypatch.undo()
    ready.end(job, cancelled=True)
    following = ready.submit()
    ready.run(following)
    assert ready.state(following) == "done"


def test_a_failing_database_fails_the_job_and_not_the_studio(ready: Studio, monkeypatch: pytest.MonkeyPatch):
    def broken(*_args: Any, **_options: Any) -> None:
        raise RuntimeError("secret detail")

    job = ready.submit()
    monkeypatch.setattr(ready.history, "commit", broken)
    ready.make(job, 0)
    problem = ready.service.job(job.id).problem
    assert problem is not None
    assert problem["code"] == "broken"
    assert "secret" not in str(problem)
    assert ready.files() == []


def test_the_queue_moves_on_when_a_full_disk_has_ended_the_jobs_before(ready: Studio, monkeypatch: pytest.MonkeyPatch):
    jobs = [ready.submit(count=8) for _ in range(3)]
    monkeypatch.setattr(ready.storage, "write", full_disk)
    for job in jobs[:2]:
        ready.make(job, 0)
        ready.end(job, cancelled=True)
    assert ready.running[-1] == jobs[2].id


def test_late_words_of_the_engine_about_unknown_jobs_change_nothing(ready: Studio):
    job = ready.submit()
    ready.run(job)
    events = ready.service.events(job.id)
    for message in (
        wire.Progress(job.id, "step", 1, 2),
        wire.Preview(job.id, b"late"),
        wire.Sealed(job.id, sealed(job, 0)),
        wire.Ended(job.id),
        wire.Ended("unknown", cancelled=True),
    ):
        ready.link.say(message)
    assert ready.service.events(job.id) == events
    assert ready.service.preview(job.id) is None
    assert len(ready.service.of_job(job.id)) == 1


def no_more_moves(studio: Studio, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_args: Any, **_options: Any) -> None:
        raise StorageFull(1, 0)

    monkeypatch.setattr(studio.jobs, "move", full)


def test_a_job_whose_end_cannot_be_written_still_ends_for_all_who_watch(ready: Studio, monkeypatch: pytest.MonkeyPatch):
    job = ready.submit()
    monkeypatch.setattr(ready.storage, "write", full_disk)
    no_more_moves(ready, monkeypatch)
    ready.make(job, 0)
    assert ready.last(job).phase == "failed"
    assert ready.service.wait(job.id, timeout=0).state == "failed"
    assert ready.link.cancelled == [job.id]
    with pytest.raises(Conflict, match="already failed"):
        ready.service.cancel(job.id, OWNER)
    monkeypatch.undo()
    following = ready.submit()
    ready.run(following)
    assert ready.state(following) == "done"
    written = ready.jobs.get(job.id)
    assert written is not None
    assert written.state == "failed"


def test_a_crash_after_the_last_picture_leaves_that_job_done_and_fails_the_others(ready: Studio):
    whole, other_job = ready.submit(), ready.submit()
    ready.make(whole, 0)
    ready.link.say(wire.Crashed("gone"))
    assert (ready.state(whole), ready.last(whole).phase) == ("done", "done")
    assert (ready.state(other_job), ready.last(other_job).phase) == ("failed", "failed")
    assert ready.service.health().running == 0


def test_the_queue_moves_on_when_the_end_of_a_job_cannot_be_written(ready: Studio, monkeypatch: pytest.MonkeyPatch):
    first, second, third = (ready.submit(count=8) for _ in range(3))
    failing = ready.jobs.move

    def full_for_the_first(job_id: str, *args: Any, **options: Any) -> Any:
        if job_id == first.id:
            raise StorageFull(1, 0)
        return failing(job_id, *args, **options)

    monkeypatch.setattr(ready.jobs, "move", full_for_the_first)
    ready.end(first, cancelled=True)
    assert ready.running == [first.id, second.id, third.id]
    assert ready.state(first) == "cancelled"


def test_a_job_that_cannot_be_handed_over_fails_and_is_not_lost(studio: Studio, monkeypatch: pytest.MonkeyPatch):
    job = studio.submit()

    def busy(_job_id: str) -> None:
        raise Busy("The database is busy.", retry_after=1)

    monkeypatch.setattr(studio.history, "of_job", busy)
    studio.ready()
    assert (studio.state(job), studio.last(job).phase) == ("failed", "failed")
    assert studio.service.health().waiting == 0


# ---- restarts


def test_an_interrupted_job_is_offered_again_and_only_its_missing_pictures_are_made(data: Path):
    first = Studio(data)
    first.ready()
    job = first.submit(count=3, seed=7)
    first.make(job, 1)
    first.crash()

    second = Studio(data)
    assert [there.id for there in second.recovered.interrupted] == [job.id]
    assert (second.state(job), second.phases(job)) == ("interrupted", ["interrupted"])
    second.ready()
    assert second.running == []
    second.service.resume(job.id, OWNER)
    (work,) = second.link.works
    assert (work.indexes, work.request) == ((0, 2), job.request)
    second.make(job, 0, 2)
    second.end(job)
    assert second.state(job) == "done"
    assert [record.index for record in second.service.of_job(job.id)] == [0, 1, 2]
    with pytest.raises(Conflict):
        second.service.resume(job.id, OWNER)
    second.close()


def test_an_interrupted_job_may_be_cancelled_instead(data: Path):
    first = Studio(data)
    job = first.submit()
    first.close()
    second = Studio(data)
    assert second.service.cancel(job.id, OWNER).state == "cancelled"
    second.close()


def test_a_watcher_who_comes_back_after_a_restart_hears_how_it_ended(data: Path):
    first = Studio(data)
    first.ready()
    done, failed = first.submit(), first.submit()
    first.run(done)
    first.end(failed, OutOfMemory("it", None, "Less.").problem)
    last = first.last(done).seq
    first.close()

    second = Studio(data)
    (event,) = second.service.events(done.id, after=last)
    assert (event.phase, event.seq) == ("done", last + 1)
    (event,) = second.service.events(failed.id)
    assert event.phase == "failed"
    assert event.problem is not None
    assert event.problem["code"] == "out-of-memory"
    assert second.service.wait(done.id, timeout=0).state == "done"
    second.close()


def test_closing_the_studio_closes_the_engine(data: Path):
    studio = Studio(data)
    studio.ready()
    studio.close()
    assert studio.link.closed
    assert studio.service.health().engine == "stopped"


def test_closing_the_studio_keeps_its_jobs_as_offers_and_lets_their_watchers_go(data: Path):
    first = Studio(data)
    first.ready()
    jobs = [first.submit(count=8) for _ in range(3)]
    first.close()
    assert [first.last(job).phase for job in jobs] == ["interrupted"] * 3
    second = Studio(data)
    assert [second.state(job) for job in jobs] == ["interrupted"] * 3
    second.close()


# ---- pictures


def test_a_deleted_picture_is_gone_from_history_and_disk(ready: Studio):
    job = ready.submit()
    ready.run(job)
    (record,) = ready.service.of_job(job.id)
    assert ready.service.rate(record.id, 4).rating == 4
    assert ready.service.delete(record.id, OWNER).id == record.id
    assert ready.files() == []
    with pytest.raises(NotFound):
        ready.service.record(record.id)
