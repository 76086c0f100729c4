"""Who waits and who runs: the bookkeeping of the queue. Its order is backend.queue's; the service holds the lock."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field

from backend import queue
from backend.errors import NotFound
from backend.types import Job

ROOM = 16
"""Pictures handed to the engine at once: enough to fill its largest batch twice, the rest waits in fair order."""


@dataclass(slots=True)
class Line:
    """Mutable. `order` are places by job id that people gave their jobs by moving them, `paused` stops what waits.

    A place stands where other jobs have the time of their creation, so moved jobs come before those that come later.
    """

    waiting: dict[str, Job] = field(default_factory=dict)
    running: dict[str, Job] = field(default_factory=dict)
    served: tuple[str, ...] = ()
    order: dict[str, float] = field(default_factory=dict)
    paused: bool = False

    def next(self) -> Job | None:
        """The job whose turn it is, if the engine has room for it. Counts as its principal's turn."""
        if self.paused or sum(job.request.count for job in self.running.values()) >= ROOM:
            return None
        ready = tuple(job for job in self.waiting.values() if self._ready(job))
        turn = queue.next_jobs(ready, tuple(self.running.values()), 1, self.served, self.order)
        self.served = queue.turns(self.served, turn)
        return turn[0] if turn else None

    def in_order(self) -> tuple[Job, ...]:
        """All that waits, next first."""
        waiting = tuple(self.waiting.values())
        return queue.next_jobs(waiting, tuple(self.running.values()), len(waiting), self.served, self.order)

    def move(self, job_id: str, place: int) -> None:
        """Put a waiting job at `place` (0 = first) among the jobs of its own principal. Raises NotFound."""
        job = self.waiting.get(job_id)
        if job is None:
            raise NotFound("waiting job", job_id)
        mates = [one for one in self.in_order() if one.principal.id == job.principal.id and one.id != job_id]
        mates.insert(min(max(place, 0), len(mates)), job)
        self.order |= {one.id: float(number) for number, one in enumerate(mates)}

    def drop(self, job_id: str) -> Job | None:
        """Out of the line, wherever it stands."""
        self.order.pop(job_id, None)
        return self.running.pop(job_id, None) or self.waiting.pop(job_id, None)

    def _ready(self, job: Job) -> bool:
        """A grid waits for the jobs whose pictures it shows."""
        cells: Collection[str] = job.request.grid.cells if job.request.grid else ()
        return not any(cell in self.waiting or cell in self.running for cell in cells)
