"""The front desk: every face submits, watches, cancels and fetches here, and nowhere else. Never imports torch."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

from backend import images, queue, wire
from backend.dispatch import Dispatch, Health, Listeners, Stores
from backend.errors import NotFound, Refused, SignetError, UnreadableImage
from backend.hooks import Hooks, NoHooks, names_of, no_looser
from backend.ids import new_id
from backend.latents import LatentDesk
from backend.library import LibraryDesk
from backend.meaning import Meanings, NoMeanings
from backend.plans import PlanDesk
from backend.ports import Admission, Verifier
from backend.recorded import OfTexts, RecordedAdmission
from backend.requests import checked
from backend.settings import Settings
from backend.supervisor import EngineLink
from backend.training import TrainingDesk
from backend.trust import Trust, TrustDesk
from backend.types import (
    Event,
    HistoryPage,
    HistoryQuery,
    Job,
    ModelInfo,
    Principal,
    Record,
    Verdict,
    VerifyReport,
)

_LOG = logging.getLogger(__name__)
Part = TypeVar("Part", wire.Frame, wire.Maps)


class Service:
    """Thread-safe. `Dispatch` owns the order of work, the engine behind `link` owns the device."""

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
        self._history = stores.history
        self._jobs, self._journal = stores.jobs, stores.journal
        self.trust = TrustDesk(trust, stores.history, stores.storage)
        self._admission = RecordedAdmission(admission, trust.log)
        self._verifier = verifier
        self._link = link
        self._latents = latents
        listeners = Listeners(kept=self._kept, ended=self._hooks.job_ended)
        self._dispatch = Dispatch(stores, library, link, listeners, settings.max_waiting_jobs)
        self.trainings = TrainingDesk(self, library, OfTexts(self._admission, {"in": "training"}), link, settings)
        self.audits = trust.open_audits(self)

    def start(self) -> None:
        self._link.start(self._hear)

    def close(self) -> None:
        """Stop the engine. Jobs that wait or run are offered again at the next start."""
        self._dispatch.stop()
        self.trainings.close()
        self._dispatch.interrupt_all()
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
        self._dispatch.check_can_run()
        now = datetime.now(UTC)
        job_id = new_id()
        try:
            verdict = self._admission.admit(request, principal, {"job": job_id})
        except Refused as error:
            silent = Verdict("note", "refused")
            job = Job(job_id, request, principal, "refused", now, now, silent, problem=asdict(error.problem))
            self._jobs.add(job)
            raise
        return Job(job_id, request, principal, "queued", now, now, verdict)

    def enqueue(self, jobs: Sequence[Job]) -> None:
        """Queue admitted jobs, all of them or none. Raises Busy if they are more than may wait."""
        self._dispatch.enqueue(jobs)

    def resume(self, job_id: str, principal: Principal) -> Job:
        """Queue an interrupted job again; pictures that it has already made are kept and not made twice.

        The policy may have changed since, so it is admitted anew; one that is refused stays as it is.
        """
        self._dispatch.check_can_run()
        verdict = self._admitted_again(self.job(job_id), principal)
        return self._dispatch.requeue(job_id, verdict)

    def _admitted_again(self, job: Job, principal: Principal) -> Verdict:
        """The verdict under the policy in force; the old one for a job that cannot go on anyway."""
        if job.state != "interrupted":
            return job.verdict
        return self._admission.admit(job.request, job.principal, {"job": job.id, "resumed": True}, principal)

    def cancel(self, job_id: str, principal: Principal) -> Job:
        """Takes effect at once for a waiting job, within one step for a running one."""
        return self._dispatch.cancel(job_id)

    def move_in_line(self, job_id: str, place: int, principal: Principal) -> Job:
        """Put a waiting job at `place` (0 = first) among one's own. Raises NotFound if it does not wait."""
        self._dispatch.move_in_line(job_id, place)
        return self.job(job_id)

    def pause(self, paused: bool) -> None:
        """Stop handing out what waits, or go on; what runs is finished either way."""
        self._dispatch.pause(paused)

    def waiting(self) -> tuple[Job, ...]:
        """In the order in which they will start."""
        return self._dispatch.waiting()

    def running(self) -> tuple[Job, ...]:
        return self._dispatch.running()

    def job(self, job_id: str) -> Job:
        return self._dispatch.job(job_id)

    def jobs(self, principal: Principal, limit: int = 20) -> tuple[Job, ...]:
        return self._jobs.recent(principal.id, limit)

    def events(self, job_id: str, after: int = 0) -> tuple[Event, ...]:
        """What happened since event number `after`. A job of an earlier run of the studio tells its last state."""
        return self._dispatch.told(job_id, after)

    def preview(self, job_id: str) -> bytes | None:
        """The newest preview as JPEG, while the job runs."""
        return self._dispatch.events.preview(job_id)

    def frames(self, job_id: str) -> Mapping[tuple[int, int], wire.Frame]:
        """A film by (picture, step), where the request asked for one and the picture is not covered."""
        return self._uncovered(job_id, self._dispatch.events.frames(job_id))

    def maps(self, job_id: str) -> Mapping[tuple[int, int], wire.Maps]:
        """Where the words of the prompt looked, by (picture, step), where the request asked for it and the picture is
        not covered."""
        return self._uncovered(job_id, self._dispatch.events.maps(job_id))

    def _uncovered(self, job_id: str, parts: Mapping[tuple[int, int], Part]) -> Mapping[tuple[int, int], Part]:
        """A glance at a preview may find harmless what the inspection of the picture, or its owner, then covers."""
        covered = {record.index for record in self.of_job(job_id) if record.handling != "show"} if parts else set()
        return {key: part for key, part in parts.items() if key[0] not in covered}

    def wait(self, job_id: str, timeout: float | None = None) -> Job:
        """Block until the job is through (or `timeout` seconds have passed) and return it."""
        if self.job(job_id).state in queue.UNFINISHED:
            self._dispatch.events.wait_end(job_id, timeout)
        return self.job(job_id)

    # ---- pictures

    def record(self, record_id: str) -> Record:
        record = self._history.get(record_id)
        if record is None:
            raise NotFound("record", record_id)
        return record

    def records(self, query: HistoryQuery) -> HistoryPage:
        return self._history.page(query)

    def of_job(self, job_id: str) -> tuple[Record, ...]:
        return self._history.of_job(job_id)

    def file(self, record_id: str, principal: Principal, *, reveal: bool = False) -> Path:
        """The file with the signed bytes. Raises Covered for a picture that may not be seen, or not without asking."""
        return self.trust.uncovered(self.record(record_id), principal, reveal=reveal)

    def thumbnail(self, record_id: str) -> Path:
        """A small WebP, blurred while the picture is covered, or the file itself where it is small enough."""
        return self.trust.thumbnail(self.record(record_id))

    def rate(self, record_id: str, rating: int) -> Record:
        return self._history.rate(record_id, rating)

    def delete(self, record_id: str, principal: Principal) -> Record:
        """Remove a picture, its row and its files; of a covered one also the copy that it was taken up again as, which
        nothing would close any more. Raises NotAllowed for a withheld picture, which is the owner's to delete."""
        record = self.record(record_id)
        self.trust.check_deletion(record, principal)
        self.trust.record("deletion", principal, {"record": record.id, "sha256": record.passport.sha256})
        if record.handling != "show":
            with suppress(NotFound):
                self.library.input(record.passport.sha256).path.unlink(missing_ok=True)
        return self._journal.remove(record_id)

    def filters(self) -> Mapping[str, tuple[str, ...]]:
        return self._history.choices()

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
        return self.library.catalog.all()

    def unload(self, model_id: str) -> None:
        """Let the engine forget a model that no job under way needs."""
        self._link.unload(model_id)

    def idle(self) -> bool:
        """Whether nothing waits or runs and the engine is up."""
        if self.trainings.active:
            return False
        return self._dispatch.idle()

    def health(self) -> Health:
        return self._dispatch.health()

    # ---- what the engine says

    def _kept(self, record: Record) -> None:
        self.meaning.wake()
        self._hooks.picture_kept(record)

    def _hear(self, message: wire.FromEngine) -> None:
        for listener in (self._dispatch.hear, self.trainings.hear, *((self._latents.hear,) if self._latents else ())):
            try:
                listener(message)
            except SignetError as error:
                _LOG.warning("%s", error)
            except Exception:  # noqa: BLE001 - the studio's edge towards the engine: logged, and the queue goes on
                _LOG.exception("while handling %s", type(message).__name__)
