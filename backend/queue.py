"""States of a job and the fair order of the queue. Pure: no clock, no database, no threads."""

from __future__ import annotations

from collections import Counter, defaultdict, deque
from collections.abc import Mapping, Sequence
from types import MappingProxyType

from backend.errors import Conflict
from backend.types import Job, JobState

MAX_ATTEMPTS = 2
"""Starts a job may have. A job that takes the engine down twice is not offered a third time."""

LEGAL_MOVES: Mapping[JobState, frozenset[JobState]] = MappingProxyType(
    {
        "queued": frozenset[JobState]({"running", "cancelled", "failed", "interrupted"}),
        # A job of several pictures is "sealing" from its first finished picture on.
        "running": frozenset[JobState]({"sealing", "done", "cancelled", "failed", "interrupted"}),
        "sealing": frozenset[JobState]({"done", "cancelled", "failed", "interrupted"}),
        # Nothing runs again by itself: somebody has to take up the offer.
        "interrupted": frozenset[JobState]({"queued", "cancelled"}),
        "done": frozenset[JobState](),
        "cancelled": frozenset[JobState](),
        "failed": frozenset[JobState](),
        # Refused jobs are born so and never move.
        "refused": frozenset[JobState](),
    }
)
UNFINISHED: frozenset[JobState] = frozenset({"queued", "running", "sealing"})


def check_move(frm: JobState, to: JobState) -> None:
    """Raise Conflict if a job may not go from `frm` to `to`."""
    if to not in LEGAL_MOVES[frm]:
        raise Conflict(f'A job that is "{frm}" cannot become "{to}".')


def next_jobs(
    waiting: Sequence[Job],
    running: Sequence[Job],
    room: int,
    served: Sequence[str] = (),
    order: Mapping[str, float] = MappingProxyType({}),
) -> tuple[Job, ...]:
    """The jobs to start now: at most `room` of `waiting`, in order.

    Round robin over principals, oldest job first within one, unless `order` gives a job another place than its time (a
    number by job id that stands for a POSIX time): people may reorder their own work, and nobody else's. The next turn
    goes to the principal with the fewest jobs under way; among equals to the one served longest ago (`served` names
    principals in the order of their last turns, oldest turn first; who is not in it comes first), then to the one whose
    job has waited longest. The caller who starts one job at a time keeps `served` up to date with `turns`, otherwise a
    long queue of one principal is emptied before the others get a turn.
    """
    line: dict[str, deque[Job]] = defaultdict(deque)
    for job in sorted(waiting, key=lambda job: (order.get(job.id, job.created.timestamp()), job.id)):
        line[job.principal.id].append(job)
    under_way = Counter(job.principal.id for job in running)
    last_turn = {principal: turn for turn, principal in enumerate(served)}
    chosen: list[Job] = []
    while line and len(chosen) < room:
        turn = min(line, key=lambda who: (under_way[who], last_turn.get(who, -1), line[who][0].created, who))
        chosen.append(line[turn].popleft())
        under_way[turn] += 1
        last_turn[turn] = len(served) + len(chosen)
        if not line[turn]:
            del line[turn]
    return tuple(chosen)


def turns(served: Sequence[str], started: Sequence[Job]) -> tuple[str, ...]:
    """`served` after `started` had their turns: each principal once, the latest turn last."""
    latest = dict.fromkeys(reversed([*served, *(job.principal.id for job in started)]))
    return tuple(reversed(latest))
