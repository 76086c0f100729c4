"""The front desk: every face submits, watches, cancels and fetches here, and nowhere else. Never imports torch."""

from __future__ import annotations

import logging
import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal, TypeVar

from backend import images, queue, wire
from backend.errors import (
    Broken,
    Busy,
    Conflict,
    EngineCrashed,
    NotFound,
    Problem,
    Refused,
    SignetError,
    Unavailable,
    UnreadableImage,
)
from backend.events import EventLog
from backend.gather import gather
from backend.hooks import Hooks, NoHooks, names_of, no_looser
from backend.ids import new_id
from backend.journal import Journal
from backend.latents import LatentDesk
from backend.library import LibraryDesk
from backend.line import Line
from backend.meaning import Meanings, NoMeanings
from backend.plans import PlanDesk
from backend.ports import Admission, HistoryStore, JobStore, Verifier
from backend.recorded import OfTexts, RecordedAdmission
from backend.requests import checked
from backend.settings import Settings
from backend.storage import Storage
from backend.supervisor import EngineLink
from backend.training import TrainingDesk
from backend.trust import Trust, TrustDesk
from backend.types import (
    Event,
    HistoryPage,
    HistoryQuery,
    Job,
    JobState,
    ModelInfo,
    Phase,
    Principal,
    Record,
    SealedImage,
    Verdict,
    VerifyReport,
)

_LOG = logging.getLogger(__name__)
EngineState = Literal["starting", "ready", "restarting", "failed", "stopped"]
Part = TypeVar("Part", wire.Frame, wire.Maps)


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


@dataclass(frozen=True, slots=True)
class Stores:
    """Where things are kept."""

    jobs: JobStore
    history: HistoryStore
    storage: Storage
    journal: Journal


class Service:
    """Thread-safe. Owns the order of work; the engine behind `link` owns the device."""

    def __init__(
        self,
        settings: Settings,
        stores: Stores,
        library: LibraryDesk,
        admission: Admission,
        verifier: Verifier,
        link: EngineLink,
        trust: Trust,
        hooks: Hooks | None = None,
        latents: LatentDesk | None = None,
        meaning: Meanings | None = None,
    ) -> None:
        self.settings = settings
        self.library = library
        self.meaning: Meanings = meaning or NoMeanings()
        self._hooks: Hooks = hooks or NoHooks()
        self.plans = PlanDesk(self, self._hooks, names_of(library), settings)
        self._stores = stores
        self.trust = TrustDesk(trust, stores.history, stores.storage)
        self._catalog = library.catalog
        self._admission = RecordedAdmission(admission, trust.log)
        self._verifier = verifier
        self._link = link
        self._latents = latents
        self._events = EventLog()
        self._lock = threading.RLock()
        self._line = Line()
        self._unwritten: dict[str, Job] = {}
        self._engine: EngineState = "starting"
        self._detail = "The engine is starting."
        self._device: str | None = None
        self._loaded = wire.Loaded(())
        self.trainings = TrainingDesk(self, library, OfTexts(self._admission, {"in": "training"}), link, settings)
        self.audits = trust.open_audits(self)

    def start(self) -> None:
        self._link.start(self._hear)

    def close(self) -> None:
        """Stop the engine. Jobs that wait or run are offered again at the next start."""
        self._engine = "stopped"
        self._link.close()
        self.trainings.close()
        for job_id in (*self._line.running, *self._line.waiting):
            self._settle(job_id, "interrupted")
        self.audits.close()

    # ---- jobs

    def submit(self, fields: Mapping[str, Any], principal: Principal) -> Job:
        """Check, admit and queue a request. Raises the SignetError that says why not."""
        job = self.admit(fields, principal)
        self.enqueue((job,))
        return job

    def admit(self, fields: Mapping[str, Any], principal: Principal) -> Job:
        """A request as the job it would be, checked and admitted; `enqueue` takes it up. Raises as `submit`."""
        changed = no_looser(fields, self._hooks.changed_fields(fields, principal))
        request = checked(changed, self.library.library, self.settings)
        self._check_can_run()
        now = datetime.now(UTC)
        job_id = new_id()
        try:
            verdict = self._admission.admit(request, principal, {"job": job_id})
        except Refused as error:
            silent = Verdict("note", "refused")
            job = Job(job_id, request, principal, "refused", now, now, silent, problem=asdict(error.problem))
            self._stores.jobs.add(job)
            raise
        return Job(job_id, request, principal, "queued", now, now, verdict)

    def enqueue(self, jobs: Sequence[Job]) -> None:
        """Queue admitted jobs, all of them or none. Raises Busy if they are more than may wait."""
        with self._lock:
            if len(self._line.waiting) + len(jobs) > self.settings.max_waiting_jobs:
                more = f" {len(jobs)} more are too many." if len(jobs) > 1 else ""
                raise Busy(f"{len(self._line.waiting)} jobs are waiting already.{more}", retry_after=30)
            self._write_down(jobs)
            self._line.waiting |= {job.id: job for job in jobs}
            self._tell_positions()
            self._dispatch()

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

    def resume(self, job_id: str, principal: Principal) -> Job:
        """Queue an interrupted job again; pictures that it has already made are kept and not made twice.

        The policy may have changed since, so it is admitted anew; one that is refused stays as it is.
        """
        self._check_can_run()
        verdict = self._admitted_again(self.job(job_id), principal)
        with self._lock:
            job = replace(self._stores.jobs.move(job_id, "queued"), verdict=verdict)
            self._enqueue(job)
        return job

    def _admitted_again(self, job: Job, principal: Principal) -> Verdict:
        """The verdict under the policy in force; the old one for a job that cannot go on anyway."""
        if job.state != "interrupted":
            return job.verdict
        return self._admission.admit(job.request, job.principal, {"job": job.id, "resumed": True}, principal)

    def cancel(self, job_id: str, principal: Principal) -> Job:
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
            self._hooks.job_ended(job)
            self._dispatch()
        return job

    def move_in_line(self, job_id: str, place: int, principal: Principal) -> Job:
        """Put a waiting job at `place` (0 = first) among one's own. Raises NotFound if it does not wait."""
        with self._lock:
            self._line.move(job_id, place)
            self._tell_positions()
        return self.job(job_id)

    def pause(self, paused: bool) -> None:
        """Stop handing out what waits, or go on; what runs is finished either way."""
        with self._lock:
            self._line.paused = paused
        self._dispatch()

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

    def jobs(self, principal: Principal, limit: int = 20) -> tuple[Job, ...]:
        return self._stores.jobs.recent(principal.id, limit)

    def events(self, job_id: str, after: int = 0) -> tuple[Event, ...]:
        """What happened since event number `after`. A job of an earlier run of the studio tells its last state."""
        known = self._events.after(job_id, 0)
        if known:
            return tuple(event for event in known if event.seq > after) if known[-1].seq >= after else known
        job = self.job(job_id)
        phase: Phase = "failed" if job.state == "refused" else _PHASES[job.state]
        return (Event(job_id, after + 1, phase, problem=job.problem),)

    def preview(self, job_id: str) -> bytes | None:
        """The newest preview as JPEG, while the job runs."""
        return self._events.preview(job_id)

    def frames(self, job_id: str) -> Mapping[tuple[int, int], wire.Frame]:
        """A film by (picture, step), where the request asked for one and the picture is not covered."""
        return self._uncovered(job_id, self._events.frames(job_id))

    def maps(self, job_id: str) -> Mapping[tuple[int, int], wire.Maps]:
        """Where the words of the prompt looked, by (picture, step), where the request asked for it and the picture is
        not covered."""
        return self._uncovered(job_id, self._events.maps(job_id))

    def _uncovered(self, job_id: str, parts: Mapping[tuple[int, int], Part]) -> Mapping[tuple[int, int], Part]:
        """A glance at a preview may find harmless what the inspection of the picture, or its owner, then covers."""
        covered = {record.index for record in self.of_job(job_id) if record.handling != "show"} if parts else set()
        return {key: part for key, part in parts.items() if key[0] not in covered}

    def wait(self, job_id: str, timeout: float | None = None) -> Job:
        """Block until the job is through (or `timeout` seconds have passed) and return it."""
        if self.job(job_id).state in queue.UNFINISHED:
            self._events.wait_end(job_id, timeout)
        return self.job(job_id)

    # ---- pictures

    def record(self, record_id: str) -> Record:
        record = self._stores.history.get(record_id)
        if record is None:
            raise NotFound("record", record_id)
        return record

    def records(self, query: HistoryQuery) -> HistoryPage:
        return self._stores.history.page(query)

    def of_job(self, job_id: str) -> tuple[Record, ...]:
        return self._stores.history.of_job(job_id)

    def file(self, record_id: str, principal: Principal, *, reveal: bool = False) -> Path:
        """The file with the signed bytes. Raises Covered for a picture that may not be seen, or not without asking."""
        return self.trust.uncovered(self.record(record_id), principal, reveal=reveal)

    def thumbnail(self, record_id: str) -> Path:
        """A small WebP, blurred while the picture is covered, or the file itself where it is small enough."""
        return self.trust.thumbnail(self.record(record_id))

    def rate(self, record_id: str, rating: int) -> Record:
        return self._stores.history.rate(record_id, rating)

    def delete(self, record_id: str, principal: Principal) -> Record:
        """Remove a picture, its row and its files; of a covered one also the copy that it was taken up again as, which
        nothing would close any more. Raises NotAllowed for a withheld picture, which is the owner's to delete."""
        record = self.record(record_id)
        self.trust.check_deletion(record, principal)
        self.trust.record("deletion", principal, {"record": record.id, "sha256": record.passport.sha256})
        if record.handling != "show":
            with suppress(NotFound):
                self.library.input(record.passport.sha256).path.unlink(missing_ok=True)
        return self._stores.journal.remove(record_id)

    def filters(self) -> Mapping[str, tuple[str, ...]]:
        return self._stores.history.choices()

    def verify(self, data: bytes) -> VerifyReport:
        """What can be said about any picture. Raises UnreadableImage if nothing can."""
        media_type = images.media_type(data)
        try:
            found = images.decode(data, max_pixels=self.settings.upload_limit_mpx * 1_000_000)
        except UnreadableImage:
            report = self._verifier.verify(data, media_type, None, None)
            if report.c2pa.state == "absent":
                raise
            return report
        return self._verifier.verify(data, media_type, found.pixels, found.text)

    # ---- state

    def models(self) -> tuple[ModelInfo, ...]:
        return self._catalog.all()

    def unload(self, model_id: str) -> None:
        """Let the engine forget a model that no job under way needs."""
        self._link.unload(model_id)

    def idle(self) -> bool:
        """Whether nothing waits or runs and the engine is up."""
        if self.trainings.active:
            return False
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

    # ---- the queue

    def _check_can_run(self) -> None:
        """Before anything is written down: raises Unavailable or StorageFull."""
        if self._engine == "failed":
            raise _does_not_start(self._detail)
        self._stores.storage.check_room(0)

    def _enqueue(self, job: Job) -> None:
        self._line.waiting[job.id] = job
        self._tell_positions()
        self._dispatch()

    def _dispatch(self) -> None:
        """Hand the engine what it has room for, in fair order."""
        with self._lock:
            self._write_ends()
            while self._engine == "ready" and (job := self._line.next()):
                self._hand_over(job)
            self._tell_positions()

    def _hand_over(self, job: Job) -> None:
        try:
            work = gather(job, self._catalog, self.library, self._stores.history, self._stores.storage)
            running = self._stores.jobs.move(job.id, "running")
        except SignetError as error:
            self._fail(job.id, error.problem)
            return
        except Exception:  # noqa: BLE001 - one job that cannot be handed over must not hold up all others
            trace = new_id()[-8:]
            _LOG.exception("trace %s", trace)
            self._fail(job.id, Broken(trace).problem)
            return
        self._line.drop(job.id)
        self._line.running[job.id] = running
        self._link.submit(work)

    def _tell_positions(self) -> None:
        for position, job in enumerate(self._line.in_order()):
            last = self._events.after(job.id, 0)
            if not last or last[-1].position != position:
                self._tell(job.id, "queued", position=position)

    # ---- what the engine says (one thread, in order)

    def _hear(self, message: wire.FromEngine) -> None:
        for listener in (self._on_message, self.trainings.hear, *((self._latents.hear,) if self._latents else ())):
            try:
                listener(message)
            except SignetError as error:
                _LOG.warning("%s", error)
            except Exception:  # noqa: BLE001 - the studio's edge towards the engine: logged, and the queue goes on
                _LOG.exception("while handling %s", type(message).__name__)

    def _on_message(self, message: wire.FromEngine) -> None:
        match message:
            case wire.Ready(device):
                self._set_engine("ready", "", device)
                self._dispatch()
            case wire.Loaded():
                self._loaded = message
            case wire.Progress():
                self._tell_progress(message)
            case wire.Preview(job_id, jpeg):
                if job_id in self._line.running:
                    self._events.put_preview(job_id, jpeg)
            case wire.Frame() | wire.Maps():
                if message.job_id in self._line.running:
                    self._events.put_film(message)
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
                    self._settle(job_id, "interrupted", _does_not_start(detail).problem)

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
            trace = new_id()[-8:]
            _LOG.exception("trace %s", trace)
            problem = Broken(trace).problem
        else:
            if record.handling != "show":  # the newest preview may be of it
                self._events.drop_preview(job_id)
            self._tell(job_id, "image", record_id=record.id)
            self.meaning.wake()
            self._hooks.picture_kept(record)
            return
        self._link.cancel(job_id)
        self._fail(job_id, problem)

    def _ended(self, message: wire.Ended) -> None:
        with self._lock:
            if message.job_id in self._line.running:  # else it failed here and was called off
                if message.problem:
                    self._fail(message.job_id, message.problem)
                else:
                    self._settle(message.job_id, "cancelled" if message.cancelled else "done")
        self._dispatch()

    def _fail(self, job_id: str, problem: Problem) -> None:
        self._settle(job_id, "failed", problem)

    def _settle(self, job_id: str, state: JobState, problem: Problem | None = None) -> None:
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
            self._events.drop_preview(job_id)
            if job.state != "done":  # a film stays only with a picture that was inspected and sealed
                self._events.drop_film(job_id)
            said = problem.sentence() if problem and job.state == state else ""
            self._tell(job_id, _PHASES[job.state], problem=job.problem, message=said)
            self._hooks.job_ended(job)

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
        self._events.add(job_id, lambda seq, preview: replace(plain, seq=seq, preview=preview))


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
