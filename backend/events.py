"""What happened to each job, kept for a while so that a watcher who comes late or comes back can catch up."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field

from backend.types import Event
from backend.wire import Frame, Maps

KEEP_JOBS = 500
KEEP_FILMS = 24
"""Jobs whose frames and maps are kept, the newest ones: a long film with maps takes some megabytes."""
TERMINAL = frozenset({"done", "cancelled", "failed", "interrupted"})


@dataclass(slots=True)
class _Log:
    """`events` in order of seq; consecutive steps are conflated into the newest. `preview` is the newest JPEG,
    `frames` and `maps` are by (picture, step) where a film was asked for."""

    seq: int = 0
    events: list[Event] = field(default_factory=list)
    preview: bytes | None = None
    previews: int = 0
    frames: dict[tuple[int, int], Frame] = field(default_factory=dict)
    maps: dict[tuple[int, int], Maps] = field(default_factory=dict)


class EventLog:
    """Thread-safe. Old steps are dropped when newer ones arrive: a watcher wants the present, not every frame."""

    def __init__(self) -> None:
        self._lock = threading.Condition()
        self._logs: OrderedDict[str, _Log] = OrderedDict()

    def add(self, job_id: str, make: Callable[[int, int | None], Event]) -> None:
        """Append what `make(seq, preview version)` returns; calls for one job come from one thread at a time."""
        with self._lock:
            log = self._log(job_id)
            log.seq += 1
            event = make(log.seq, log.previews or None)
            if log.events and event.phase in ("step", "queued") and log.events[-1].phase == event.phase:
                log.events[-1] = event
            else:
                log.events.append(event)
            self._lock.notify_all()

    def put_preview(self, job_id: str, jpeg: bytes) -> None:
        with self._lock:
            log = self._log(job_id)
            log.preview, log.previews = jpeg, log.previews + 1

    def preview(self, job_id: str) -> bytes | None:
        with self._lock:
            log = self._logs.get(job_id)
            return log.preview if log else None

    def put_film(self, part: Frame | Maps) -> None:
        """Keep a part of a film, until there are KEEP_FILMS newer ones."""
        with self._lock:
            log = self._log(part.job_id)
            if isinstance(part, Frame):
                log.frames[part.index, part.step] = part
            else:
                log.maps[part.index, part.step] = part
            for old in [log for log in self._logs.values() if log.frames or log.maps][:-KEEP_FILMS]:
                old.frames.clear()
                old.maps.clear()

    def frames(self, job_id: str) -> dict[tuple[int, int], Frame]:
        with self._lock:
            log = self._logs.get(job_id)
            return dict(log.frames) if log else {}

    def maps(self, job_id: str) -> dict[tuple[int, int], Maps]:
        with self._lock:
            log = self._logs.get(job_id)
            return dict(log.maps) if log else {}

    def drop_film(self, job_id: str) -> None:
        with self._lock:
            if job_id in self._logs:
                self._logs[job_id].frames.clear()
                self._logs[job_id].maps.clear()

    def drop_preview(self, job_id: str) -> None:
        with self._lock:
            if job_id in self._logs:
                self._logs[job_id].preview = None

    def after(self, job_id: str, seq: int) -> tuple[Event, ...]:
        """Events with a larger seq, oldest first."""
        with self._lock:
            log = self._logs.get(job_id)
            return tuple(event for event in log.events if event.seq > seq) if log else ()

    def wait_end(self, job_id: str, timeout: float | None) -> bool:
        """Block until the job's last event is a final one. False if the time (seconds) ran out."""

        def ended() -> bool:
            events = self._log(job_id).events
            return bool(events) and events[-1].phase in TERMINAL

        with self._lock:
            return self._lock.wait_for(ended, timeout)

    def _log(self, job_id: str) -> _Log:
        if job_id not in self._logs:
            self._logs[job_id] = _Log()
            self._forget_ended()
        return self._logs[job_id]

    def _forget_ended(self) -> None:
        """The oldest ended jobs go first; one that is under way is still watched and stays."""
        for job_id in [ident for ident, log in self._logs.items() if log.events and log.events[-1].phase in TERMINAL]:
            if len(self._logs) <= KEEP_JOBS:
                return
            del self._logs[job_id]
