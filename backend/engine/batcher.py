"""Which rows share the next forward. Pure: no torch, no clock; tested on its own.

A picture needs one row per step, or two with guidance. It is given a bucket when it starts and keeps it, because a
batch of another size rounds differently: what comes out depends on the request and its bucket, never on neighbours.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from backend.types import Bucket

BUCKETS: tuple[Bucket, ...] = (1, 2, 4, 8)
AGE = 0.5
"""Steps of head start that a picture earns for each tick it had to wait, so that long pictures cannot starve."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """A picture that could take its next step. `waited` counts ticks since its last one."""

    id: int
    key: Hashable
    bucket: Bucket
    rows: int
    left: int
    waited: int


def choose_bucket(rows: int) -> Bucket:
    """The smallest bucket that holds `rows`, or the largest there is."""
    return next((bucket for bucket in BUCKETS if bucket >= rows), BUCKETS[-1])


def join_bucket(rows: int, waiting: int, live: Mapping[Bucket, int]) -> Bucket:
    """The bucket for a picture of `rows` that starts now.

    `live` counts the rows of the same kind already under way per bucket. A free place in a running batch is taken
    first; otherwise a batch is opened that would hold what is under way and all `waiting` rows that start together,
    since where work overlaps more of it is likely to follow.
    """
    for bucket, used in sorted(live.items(), reverse=True):
        if used % bucket and used % bucket + rows <= bucket:
            return bucket
    return choose_bucket(waiting + sum(live.values()))


def next_batch(candidates: Sequence[Candidate]) -> tuple[Candidate, ...]:
    """The most urgent picture and those that may share its forward, in order of urgency.

    Shortest remaining work first, with age: a four-step picture does not wait for fifty-step ones, and nothing starves.
    """
    if not candidates:
        return ()
    by_urgency = sorted(candidates, key=lambda one: (one.left - AGE * one.waited, one.id))
    first = by_urgency[0]
    return tuple(_fill(first.bucket, (one for one in by_urgency if (one.key, one.bucket) == (first.key, first.bucket))))


def _fill(room: int, candidates: Iterable[Candidate]) -> Iterable[Candidate]:
    for one in candidates:
        if one.rows <= room:
            room -= one.rows
            yield one
