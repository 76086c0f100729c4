from __future__ import annotations

from collections import Counter
from datetime import timedelta
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backend.errors import Conflict
from backend.queue import LEGAL_MOVES, UNFINISHED, check_move, next_jobs, turns
from backend.types import Job, JobState
from tests.crash.pictures import NOON, make_job

WHO = st.sampled_from(["ann", "bob", "eve"])


def jobs_of(principals: list[str]) -> list[Job]:
    return [
        make_job(f"job-{number:03d}", principal=who, created=NOON + timedelta(seconds=number))
        for number, who in enumerate(principals)
    ]


def test_the_table_knows_every_state_and_nothing_else() -> None:
    states = set(get_args(JobState))
    assert set(LEGAL_MOVES) == states and all(targets <= states for targets in LEGAL_MOVES.values())


def test_refused_is_a_birth_state_and_ends_are_final() -> None:
    assert all("refused" not in targets for targets in LEGAL_MOVES.values())
    for state in ("done", "cancelled", "failed", "refused"):
        assert not LEGAL_MOVES[state]  # type: ignore[index]
    assert all(LEGAL_MOVES[state] >= {"cancelled", "failed", "interrupted"} for state in UNFINISHED)


def test_an_illegal_move_is_a_conflict_that_names_both_states() -> None:
    check_move("queued", "running")
    with pytest.raises(Conflict, match='"done" cannot become "running"'):
        check_move("done", "running")


def test_principals_take_turns_and_each_gets_the_oldest_first() -> None:
    waiting = jobs_of(["ann", "ann", "ann", "bob", "eve", "bob"])
    order = [job.id for job in next_jobs(waiting[::-1], [], 6)]
    assert order == ["job-000", "job-003", "job-004", "job-001", "job-005", "job-002"]


def test_who_has_less_under_way_comes_first() -> None:
    waiting = jobs_of(["ann", "bob"])
    running = [make_job("r1", principal="ann", state="running")]
    assert [job.principal.id for job in next_jobs(waiting, running, 1)] == ["bob"]


def test_with_turns_remembered_one_slot_is_shared_too() -> None:
    waiting = jobs_of(["ann"] * 5 + ["bob"] * 2)
    served: tuple[str, ...] = ()
    order = []
    while waiting:
        started = next_jobs(waiting, [], 1, served)
        served = turns(served, started)
        waiting.remove(started[0])
        order.append(started[0].principal.id)
    assert order == ["ann", "bob", "ann", "bob", "ann", "ann", "ann"]


@given(st.lists(WHO, max_size=30), st.lists(WHO, max_size=5), st.integers(-1, 40), st.lists(WHO, unique=True))
def test_jobs_are_neither_lost_nor_doubled_and_shares_differ_by_one_at_most(
    waiting: list[str], running: list[str], room: int, served: list[str]
) -> None:
    line = jobs_of(waiting)
    under_way = [make_job(f"r{number}", principal=who, state="running") for number, who in enumerate(running)]
    chosen = next_jobs(line, under_way, room, served)
    assert len(chosen) == max(0, min(room, len(line)))
    assert len({job.id for job in chosen}) == len(chosen) and all(job in line for job in chosen)
    picked, left = Counter(job.principal.id for job in chosen), Counter(waiting)
    share = Counter(running) + picked
    for who, number in picked.items():
        mine = [job for job in line if job.principal.id == who]
        assert [job for job in chosen if job.principal.id == who] == mine[:number]
        for other in left:
            if picked[other] < left[other]:
                assert share[who] <= share[other] + 1


@given(st.lists(st.tuples(WHO, st.integers(0, 3)), min_size=1, max_size=40), st.integers(1, 3))
def test_nobody_starves(arrivals: list[tuple[str, int]], room: int) -> None:
    """A job that waits is started within as many rounds as there are principals times jobs of its own before it."""
    waiting: list[Job] = []
    served: tuple[str, ...] = ()
    waited: Counter[str] = Counter()
    bound: dict[str, int] = {}
    number = 0
    rounds = iter(arrivals)
    while True:
        arriving = next(rounds, None)
        if arriving is None and not waiting:
            break
        for _ in range(arriving[1] if arriving else 0):
            job = make_job(f"j{number}", principal=arriving[0], created=NOON + timedelta(seconds=number))  # type: ignore[index]
            number += 1
            bound[job.id] = 3 * (1 + sum(other.principal.id == job.principal.id for other in waiting))
            waiting.append(job)
        started = next_jobs(waiting, [], room, served)
        served = turns(served, started)
        waiting = [job for job in waiting if job not in started]
        for job in waiting:
            waited[job.id] += 1
            assert waited[job.id] <= bound[job.id]
