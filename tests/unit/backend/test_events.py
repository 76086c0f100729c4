from __future__ import annotations

import threading
import time

import pytest

from backend.events import KEEP_FILMS, KEEP_JOBS, TERMINAL, EventLog
from backend.types import Event, Phase
from backend.wire import Frame, Maps, WordMap


def tell(log: EventLog, job_id: str, phase: Phase, step: int = 0) -> None:
    log.add(job_id, lambda seq, preview: Event(job_id, seq, phase, step, preview=preview))


@pytest.fixture
def log() -> EventLog:
    return EventLog()


def phases(log: EventLog, job_id: str = "j", after: int = 0) -> list[tuple[int, str]]:
    return [(event.seq, event.phase) for event in log.after(job_id, after)]


def test_steps_and_positions_are_conflated_into_the_newest_and_nothing_else_is(log: EventLog):
    for phase in ("queued", "queued", "loading", "step", "step", "step", "image", "step", "image", "image", "done"):
        tell(log, "j", phase)
    assert phases(log) == [
        (2, "queued"), (3, "loading"), (6, "step"), (7, "image"), (8, "step"), (9, "image"), (10, "image"),
        (11, "done"),
    ]  # fmt: skip


def test_a_watcher_who_comes_back_gets_only_what_is_new(log: EventLog):
    for phase in ("queued", "loading", "step", "done"):
        tell(log, "j", phase)
    assert phases(log, after=2) == [(3, "step"), (4, "done")]
    assert phases(log, after=4) == phases(log, "unknown") == []


def test_a_watcher_who_saw_a_step_that_was_conflated_still_gets_the_newest(log: EventLog):
    tell(log, "j", "step", 1)
    seen = log.after("j", 0)[-1].seq
    tell(log, "j", "step", 2)
    assert [event.step for event in log.after("j", seen)] == [2]


def test_jobs_are_kept_apart(log: EventLog):
    tell(log, "a", "queued")
    tell(log, "b", "done")
    assert phases(log, "a") == [(1, "queued")]
    assert phases(log, "b") == [(1, "done")]


def test_events_carry_the_version_of_the_newest_preview(log: EventLog):
    tell(log, "j", "step", 1)
    log.put_preview("j", b"one")
    tell(log, "j", "image")
    log.put_preview("j", b"two")
    tell(log, "j", "step", 2)
    assert [event.preview for event in log.after("j", 0)] == [None, 1, 2]
    assert log.preview("j") == b"two"
    log.drop_preview("j")
    assert log.preview("j") is log.preview("unknown") is None


def test_old_jobs_are_forgotten_so_that_memory_stays_bounded(log: EventLog):
    for number in range(KEEP_JOBS + 5):
        tell(log, str(number), "done")
    assert phases(log, "4") == []
    assert phases(log, "5") == [(1, "done")]


@pytest.mark.parametrize("phase", sorted(TERMINAL))
def test_waiting_ends_with_each_final_event(log: EventLog, phase: Phase):
    tell(log, "j", phase)
    assert log.wait_end("j", 0)


def test_waiting_wakes_up_when_the_end_comes_and_gives_up_when_it_does_not(log: EventLog):
    tell(log, "j", "step")
    assert not log.wait_end("j", 0.01)
    ended: list[bool] = []
    waiter = threading.Thread(target=lambda: ended.append(log.wait_end("j", 10)))
    waiter.start()
    time.sleep(0.02)
    tell(log, "j", "image")
    tell(log, "j", "done")
    waiter.join(5)
    assert ended == [True]


def test_a_job_that_is_offered_again_is_not_at_its_end(log: EventLog):
    for phase in ("interrupted", "queued"):
        tell(log, "j", phase)
    assert not log.wait_end("j", 0)


def test_many_threads_lose_no_event(log: EventLog):
    def work(name: str) -> None:
        for _ in range(200):
            tell(log, name, "image")

    threads = [threading.Thread(target=work, args=(str(number),)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all([seq for seq, _ in phases(log, str(number))] == list(range(1, 201)) for number in range(4))


def test_films_and_maps_are_kept_for_the_newest_jobs_that_have_any(log: EventLog) -> None:
    for number in range(KEEP_FILMS + 3):
        tell(log, f"plain {number}", "done")
        log.put_film(Frame(f"j{number}", 0, 1, b"estimate"))
        log.put_film(Maps(f"j{number}", 0, 1, (WordMap("cat", 1.0, b"png"),)))
    assert log.frames("j2") == log.maps("j2") == log.frames("unknown") == {}
    assert log.frames("j3")[0, 1].jpeg == b"estimate" and log.maps("j3")[0, 1].words[0].word == "cat"
