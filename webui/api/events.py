"""The event stream of a job (server-sent events): replay after a sequence number, then what happens, until the end."""

from __future__ import annotations

import json
import time
from collections.abc import AsyncIterator

import anyio

from backend.types import Event, Phase
from webui.api.shapes import event_out
from webui.desk import Desk

POLL = 0.08
HEARTBEAT = 10.0
LAST_PHASES: frozenset[Phase] = frozenset({"done", "cancelled", "failed", "interrupted"})


def starting_point(last_event_id: str | None, after: str | None) -> int:
    """The sequence number to go on from. What a browser remembers (Last-Event-ID) is newer than the address."""
    for given in (last_event_id, after):
        if given and given.isascii() and given.isdigit():
            return int(given[:15])
    return 0


def encoded(event: Event) -> bytes:
    return f"id: {event.seq}\ndata: {json.dumps(event_out(event))}\n\n".encode("ascii")


def news(desk: Desk, job_id: str, seen: int) -> tuple[Event, ...]:
    """What happened since `seen`; for a watcher who comes back after the end, the end once more.

    An end is never made up from the state of the job: the job may be done before its last events are in the log.
    """
    fresh = desk.events(job_id, seen)
    if not fresh:
        return tuple(end for end in desk.events(job_id, 0)[-1:] if end.seq <= seen and end.phase in LAST_PHASES)
    # A job that was interrupted and runs again has ended before; only an end that nothing follows is one.
    return tuple(event for event in fresh if event is fresh[-1] or event.phase not in LAST_PHASES)


async def stream(desk: Desk, job_id: str, after: int) -> AsyncIterator[bytes]:
    """Ends after a terminal event; a comment now and then keeps the connection open."""
    yield b"retry: 1000\n\n"
    seen, spoke = after, time.monotonic()
    while True:
        events = await anyio.to_thread.run_sync(news, desk, job_id, seen)
        for event in events:
            seen = event.seq  # also backwards: after a restart a job counts from one again
            yield encoded(event)
        if events and events[-1].phase in LAST_PHASES:
            return
        if events:
            spoke = time.monotonic()
        elif time.monotonic() - spoke > HEARTBEAT:
            spoke = time.monotonic()
            yield b": still here\n\n"
        await anyio.sleep(POLL)
