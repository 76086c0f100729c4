"""Jobs from the line to the engine and back: handed over in fair order, heard of, and ended. Never imports torch."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

from backend import queue, wire
from backend.errors import Broken, Busy, Conflict, EngineCrashed, NotFound, Problem, SignetError, Unavailable
from backend.events import EventLog
from backend.gather import gather
from backend.ids import new_id
from backend.journal import Journal
from backend.library import LibraryDesk
from backend.line import Line
from backend.ports import HistoryStore, JobStore
from backend.storage import Storage
from backend.supervisor import EngineLink
from backend.types import Event, Job, JobState, Phase, Record, SealedImage, Verdict

_LOG = logging.getLogger(__name__)
EngineState = Literal["starting", "ready", "restarting", "failed", "stopped"]


@dataclass(frozen=True, slots=True)
class Stores:
    """Where things are kept."""

    jobs: JobStore
    history: HistoryStore
    storage: Storage
    journal: Journal


@dataclass(frozen=True, slots=True)
class Listeners:
    """Told of every picture that is kept and of every job that ends, without waiting."""

    kept: Callable[[Record], None]
    ended: Callable[[Job], None]


@dataclass(frozen=True, slots=True)
class Health:
    """What the state line shows. `waiting` and `running` count jobs, `free_bytes` is disk space for pictures.

    `memory_used` of `memory_budget` bytes are taken by the weights of models.
    """

    engine: EngineState
    detail: str
    device: str | None
    waiting: int
    running: int
    free_bytes: int
    loaded: tuple[str, ...]
    paused: bool = False
    memory_used: int = 0
    memory_budget: int = 0


class Dispatch:
    """Thread-safe. At most `most` jobs wait. `hear` is told what the engine says, by one thread, in order."""

    def __init__(self, stores: Stores, library: LibraryDesk, link: EngineLink, listeners: Listeners, most: int) -> None:
        self.events = EventLog()
        self._stores = stores
        self._library = library
        self._link = link
        self._listeners = listeners
        self._most = most
        self._lock = threading.RLock()
        self._line = Line()
        self._unwritten: dict[str, Job] = {}
        self._engine: EngineState = "starting"
        self._detail = "The engine is starting."
        self._device: str | None = None
        self._loaded = wire.Loaded(())

    def stop(self) -> None:
        """Stop the engine; `interrupt_all` then closes what it left."""
        self._engine = "stopped"
        self._link.close()

    def interrupt_all(self) -> None:
        """Jobs that wait or run are offered again at the next start."""
        for job_id in (*self._line.running, *self._line.waiting):
            self.settle(job_id, "interrupted")

    # ---- the line

    def check_can_run(self) -> None:
        """Before anything is written down: raises Unavailable or StorageFull."""
        if self._engine == "failed":
            raise _does_not_start(self._detail)
        self._stores.storage.check_room(0)

    def enqueue(self, jobs: Sequence[Job]) -> None:
        """Queue admitted jobs, all of them or none. Raises Busy if they are more than may wait."""
        with self._lock:
            if len(self._line.waiting) + len(jobs) > self._most:
                more = f" {len(jobs)} more are too many." if len(jobs) > 1 else ""
                raise Busy(f"{len(self._line.waiting)} jobs are waiting already.{more}", retry_after=30)
            self._write_down(jobs)
            self._line.waiting |= {job.id: job for job in jobs}
            self._tell_positions()
            self._hand_out()

    def requeue(self, job_id: str, verdict: Verdict) -> Job:
        """Queue an interrupted job again. Raises Conflict for any other."""
        with self._lock:
            job = replace(self._stores.jobs.move(job_id, "queued"), verdict=verdict)
            self._line.waiting[job.id] = job
            self._tell_positions()
            self._hand_out()
        return job

    def cancel(self, job_id: str) -> Job:
        """Takes effect at once for a waiting job, within one step for a running one."""
        with self._lock:
            job = self.job(job_id)
            if job.id in self._line.running:
                self._link.cancel(job_id)
                return job
            if job.state == "cancelled":
                return job
            if job.state not in (*queue.UNFINISHED, "interrupted"):
                raise Conflict(f"The job is already {job.state}.", "There is nothing left to cancel.")
            job = self._stores.jobs.move(job_id, "cancelled")
            self._line.drop(job_id)
            self._tell(job_id, "cancelled", message="cancelled before it started")
            self._listeners.ended(job)
            self._hand_out()
        return job

    def move_in_line(self, job_id: str, place: int) -> None:
        """Put a waiting job at `place` (0 = first) among one's own. Raises NotFound if it does not wait."""
        with self._lock:
            self._line.move(job_id, place)
            self._tell_positions()

    def pause(self, paused: bool) -> None:
        """Stop handing out what waits, or go on; what runs is finished either way."""
        with self._lock:
            self._line.paused = paused
        self._hand_out()

    def waiting(self) -> tuple[Job, ...]:
        """In the order in which they will start."""
        with self._lock:
            return self._line.in_order()

    def running(self) -> tuple[Job, ...]:
        with self._lock:
            return tuple(self._line.running.values())

    def job(self, job_id: str) -> Job:
        job = self._stores.jobs.get(job_id)
        if job is None:
            raise NotFound("job", job_id)
        return self._unwritten.get(job_id, job) if job.state in queue.UNFINISHED else job

    def told(self, job_id: str, after: int) -> tuple[Event, ...]:
        """What happened since event number `after`. A job of an earlier run of the studio tells its last state."""
        known = self.events.after(job_id, 0)
        if known:
            return tuple(event for event in known if event.seq > after) if known[-1].seq >= after else known
        job = self.job(job_id)
        return (Event(job_id, after + 1, _PHASES[job.state], problem=job.problem),)

    def idle(self) -> bool:
        """Whether nothing waits or runs and the engine is up."""
        with self._lock:
            return self._engine == "ready" and not self._line.waiting and not self._line.running

    def health(self) -> Health:
        with self._lock:
            line = self._line
            return Health(
                engine=self._engine,
                detail=self._detail,
                device=self._device,
                waiting=len(line.waiting),
                running=len(line.running),
                free_bytes=self._stores.storage.room(),
                loaded=self._loaded.models,
                paused=line.paused,
                memory_used=self._loaded.used,
                memory_budget=self._loaded.budget,
            )

    # ---- to the engine

    def _write_down(self, jobs: Sequence[Job]) -> None:
        written: list[Job] = []
        try:
            for job in jobs:
                self._stores.jobs.add(job)
                written.append(job)
        except SignetError:
            for job in written:  # nobody will hear of these
                with suppress(SignetError):
                    self._stores.jobs.move(job.id, "cancelled")
            raise

    def _hand_out(self) -> None:
        """Hand the engine what it has room for, in fair order."""
        with self._lock:
            self._write_ends()
            while self._engine == "ready" and (job := self._line.next()):
                self._hand_over(job)
            self._tell_positions()

    def _hand_over(self, job: Job) -> None:
        try:
            work = gather(job, self._library.catalog, self._library, self._stores.history, self._stores.storage)
            running = self._stores.jobs.move(job.id, "running")
        except SignetError as error:
            self._fail(job.id, error.problem)
            return
        except Exception:  # noqa: BLE001 - one job that cannot be handed over must not hold up all others
            self._fail(job.id, _unforeseen())
            return
        self._line.drop(job.id)
        self._line.running[job.id] = running
        self._link.submit(work)

    def _tell_positions(self) -> None:
        for position, job in enumerate(self._line.in_order()):
            last = self.events.after(job.id, 0)
            if not last or last[-1].position != position:
                self._tell(job.id, "queued", position=position)

    # ---- what the engine says

    def hear(self, message: wire.FromEngine) -> None:
        match message:
            case wire.Ready(device):
                self._set_engine("ready", "", device)
                self._hand_out()
            case wire.Loaded():
                self._loaded = message
            case wire.Progress():
                self._tell_progress(message)
            case wire.Preview(job_id, jpeg):
                if job_id in self._line.running:
                    self.events.put_preview(job_id, jpeg)
            case wire.Frame() | wire.Maps():
                if message.job_id in self._line.running:
                    self.events.put_film(message)
            case wire.Sealed(job_id, sealed):
                self._keep(job_id, sealed)
            case wire.Ended():
                self._ended(message)
            case wire.Crashed(detail):
                self._set_engine("restarting", detail, None)
                for job_id in tuple(self._line.running):
                    self._fail(job_id, EngineCrashed(detail).problem)
            case wire.GaveUp(detail):
                self._set_engine("failed", detail, None)
                for job_id in tuple(self._line.waiting):  # kept as an offer: the engine is still tried now and then
                    self.settle(job_id, "interrupted", _does_not_start(detail).problem)

    def _set_engine(self, state: EngineState, detail: str, device: str | None) -> None:
        with self._lock:
            self._engine, self._detail, self._device = state, detail, device
            self._loaded = self._loaded if device else wire.Loaded(())

    def _tell_progress(self, message: wire.Progress) -> None:
        if message.job_id not in self._line.running:
            return
        fraction = message.step / message.steps if message.steps else None
        self._tell(
            message.job_id,
            message.phase,
            step=message.step,
            steps=message.steps,
            fraction=fraction,
            eta=message.eta,
            message=message.message,
        )

    def _keep(self, job_id: str, sealed: SealedImage) -> None:
        job = self._line.running.get(job_id)
        if job is None:
            return  # cancelled or failed meanwhile; what was not stored does not exist
        try:
            made = {record.index for record in self._stores.history.of_job(job_id)} | {sealed.index}
            record = self._stores.journal.keep(sealed, job_id, last=len(made) == job.request.count)
        except SignetError as error:
            problem = error.problem
        except Exception:  # noqa: BLE001 - a failing disk or database must fail this job, not the studio
            problem = _unforeseen()
        else:
            if record.handling != "show":  # the newest preview may be of it
                self.events.drop_preview(job_id)
            self._tell(job_id, "image", record_id=record.id)
            self._listeners.kept(record)
            return
        self._link.cancel(job_id)
        self._fail(job_id, problem)

    def _ended(self, message: wire.Ended) -> None:
        with self._lock:
            if message.job_id in self._line.running:  # else it failed here and was called off
                if message.problem:
                    self._fail(message.job_id, message.problem)
                else:
                    self.settle(message.job_id, "cancelled" if message.cancelled else "done")
        self._hand_out()

    def _fail(self, job_id: str, problem: Problem) -> None:
        self.settle(job_id, "failed", problem)

    def settle(self, job_id: str, state: JobState, problem: Problem | None = None) -> None:
        """End a job here, and tell; whatever the database says, nobody may be left waiting for it.

        A job that the journal has already closed keeps the state it has there. An end that cannot be written now (the
        disk is full) is remembered until it can.
        """
        with self._lock:
            known = self._line.drop(job_id)
            try:
                job = self.job(job_id)
            except SignetError:
                if known is None:
                    raise
                job = known
            if job.state in queue.UNFINISHED:
                job = replace(job, state=state, problem=asdict(problem) if problem else None)
                self._unwritten[job_id] = job
                self._write_ends()
            self.events.drop_preview(job_id)
            if job.state != "done":  # a film stays only with a picture that was inspected and sealed
                self.events.drop_film(job_id)
            said = problem.sentence() if problem and job.state == state else ""
            self._tell(job_id, _PHASES[job.state], problem=job.problem, message=said)
            self._listeners.ended(job)

    def _write_ends(self) -> None:
        for job in tuple(self._unwritten.values()):
            try:
                self._stores.jobs.move(job.id, job.state, problem=job.problem)
            except (Conflict, NotFound):
                pass  # it has ended otherwise
            except SignetError as error:
                _LOG.error("the end of job %s cannot be written yet: %s", job.id, error)
                return
            del self._unwritten[job.id]

    def _tell(self, job_id: str, phase: Phase, **what: Any) -> None:
        plain = Event(job_id, 0, phase, **what)
        self.events.add(job_id, lambda seq, preview: replace(plain, seq=seq, preview=preview))


def _unforeseen() -> Problem:
    """What is told of the error just caught that nobody foresaw; the log has it under the same trace."""
    trace = new_id()[-8:]
    _LOG.exception("trace %s", trace)
    return Broken(trace).problem


def _does_not_start(detail: str) -> Unavailable:
    return Unavailable(f"The engine does not start: {detail}", "See what `python3 launch.py doctor` says.")


_PHASES: Mapping[JobState, Phase] = {
    "queued": "queued",
    "running": "step",
    "sealing": "sealing",
    "done": "done",
    "cancelled": "cancelled",
    "refused": "failed",
    "failed": "failed",
    "interrupted": "interrupted",
}
