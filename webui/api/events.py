"""The event stream of a job (server-sent events): replay after a sequence number, then what happens, until the end."""

from __future__ import annotations

import json
import time
from collections.abc import AsyncIterator

import anyio

from backend.types import Event, Job, JobState, Phase
from webui.api.shapes import event_out
from webui.desk import Desk

POLL = 0.08
HEARTBEAT = 10.0
LAST_PHASES: frozenset[Phase] = frozenset({"done", "cancelled", "failed", "interrupted"})
_ENDS: dict[JobState, Phase] = {
    "done": "done",
    "cancelled": "cancelled",
    "failed": "failed",
    "refused": "failed",
    "interrupted": "interrupted",
}


def starting_point(last_event_id: str | None, after: str | None) -> int:
    """The sequence number to go on from. What a browser remembers (Last-Event-ID) is newer than the address."""
    for given in (last_event_id, after):
        if given and given.isascii() and given.isdigit():
            return int(given[:15])
    return 0


def encoded(event: Event) -> bytes:
    return f"id: {event.seq}\ndata: {json.dumps(event_out(event))}\n\n".encode("ascii")


def ending(job: Job, seq: int) -> Event | None:
    """The last event of a job whose events are no longer kept, for instance after a restart."""
    phase = _ENDS.get(job.state)
    return None if phase is None else Event(job.id, seq, phase, problem=job.problem)


async def stream(desk: Desk, job_id: str, after: int) -> AsyncIterator[bytes]:
    """Ends after a terminal event; a comment now and then keeps the connection open."""
    yield b"retry: 1000\n\n"
    seen, spoke = after, time.monotonic()
    while True:
        # The state is read before the events: an end that comes in between is seen in the next round.
        job = await anyio.to_thread.run_sync(desk.job, job_id)
        events = await anyio.to_thread.run_sync(desk.events, job_id, seen)
        for event in events:
            seen = event.seq  # also backwards: after a restart a job counts from one again
            yield encoded(event)
        if events and events[-1].phase in LAST_PHASES:
            return
        if not events and (end := ending(job, seen + 1)) is not None:
            yield encoded(end)
            return
        if events:
            spoke = time.monotonic()
        elif time.monotonic() - spoke > HEARTBEAT:
            spoke = time.monotonic()
            yield b": still here\n\n"
        await anyio.sleep(POLL)
