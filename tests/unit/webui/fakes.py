"""A front desk without engine, database or disk worth mentioning: for the faces' own tests."""

from __future__ import annotations

import io
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from PIL import Image, ImageDraw

from backend import wire
from backend.errors import Conflict, InvalidParameter, NotFound, Refused, SignetError, Unavailable
from backend.hooks import names_of
from backend.inputs import InputStore
from backend.library import LibraryDesk
from backend.meaning import Nearest
from backend.plans import PlanDesk
from backend.presets import PresetStore
from backend.requests import checked
from backend.settings import Settings
from backend.training import TrainingDesk
from backend.trust import TrustDesk
from backend.types import (
    CredentialFacts,
    CredentialReport,
    DetectorResult,
    EngineFacts,
    Event,
    GenerationRequest,
    HistoryMatch,
    HistoryPage,
    HistoryQuery,
    Inspection,
    Job,
    ModelFacts,
    ModelInfo,
    Passport,
    Principal,
    Record,
    Verdict,
    VerifyReport,
    WatermarkFacts,
    WatermarkReport,
)
from backend.wire import Frame, Maps, WordMap
from extensions.opening import open_extensions
from tests.support.library import FewModels
from tests.support.trust import PlainAudits, plain_trust

USER = Principal()
START = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)
MODEL = ModelInfo(
    id="starter",
    title="Starter",
    family="sd1",
    path="/secret/models/starter",
    layout="diffusers",
    factor=8,
    native_size=256,
    size=1 << 24,
    licence="Apache-2.0",
    sha256="ab" * 32,
    defaults={"steps": 20, "cfg": 4.0},
)
TALL = replace(MODEL, id="tall", title="Tall", family="sd2", factor=64, native_size=512, defaults={"steps": 30})


@dataclass(frozen=True)
class Health:
    engine: str = "ready"
    detail: str = "Models run on cpu."
    device: str | None = "cpu"
    waiting: int = 0
    running: int = 0
    free_bytes: int = 1 << 34
    loaded: tuple[str, ...] = ("starter",)
    paused: bool = False
    memory_used: int = 1 << 24
    memory_budget: int = 1 << 33


class Trainer:
    """Where the engine would be, for trainings."""

    def __init__(self) -> None:
        self.orders: list[wire.Train] = []
        self.cancelled: list[str] = []

    def train(self, order: wire.Train) -> None:
        self.orders.append(order)

    def cancel(self, job_id: str) -> None:
        self.cancelled.append(job_id)


class Lenient:
    def admit(self, request: GenerationRequest, principal: Principal) -> Verdict:
        if "forbidden" in request.prompt:
            raise Refused("The policy does not allow this.")
        return Verdict("allow", "personal")


def picture(seed: int, kind: str = "PNG") -> bytes:
    """A small picture that differs by seed."""
    image = Image.new("RGB", (96, 96), ((seed * 67) % 256, (seed * 151) % 256, 120))
    ImageDraw.Draw(image).ellipse((16, 16, 80, 80), fill=(240, (seed * 31) % 256, 90))
    out = io.BytesIO()
    image.save(out, kind)
    return out.getvalue()


def make_record(number: int, job_id: str, request: GenerationRequest, index: int = 0, state: Any = "clean") -> Record:
    ident = f"r{number:04d}"
    detectors = (
        DetectorResult(name="opennsfw", state=state, score=0.93 if state == "flagged" else 0.02, threshold=0.8),
    )
    passport = Passport(
        record_id=ident,
        sha256="cd" * 32,
        media_type="image/png",
        width=96,
        height=96,
        created=START + timedelta(hours=7 * number),
        request=request,
        seed=request.seed + index,
        model=ModelFacts(id="starter", title="Starter", family="sd1", licence="Apache-2.0", sha256="ab" * 32),
        engine=EngineFacts(
            app="0.1.0",
            torch="2",
            diffusers="0.42",
            device="cpu",
            dtype="float32",
            attention="sdpa",
            bucket=1,
            seconds=1.9,
        ),
        inspection=Inspection(state=state, detectors=detectors),
        watermark=WatermarkFacts(method="signet-dct", mark_id="0123456789ab", p_value=2e-14, psnr_db=41.2),
        credential=CredentialFacts(
            manifest_id="urn:c2pa:1", state="valid", trusted=False, signer="Signet installation"
        ),
        policy="personal",
        admission="allow",
    )
    text = f"{request.prompt}\nSteps: {request.steps}, Seed: {request.seed}"
    return Record(id=ident, job_id=job_id, index=index, path=f"{ident}.png", passport=passport, infotext=text)


class _Kept:
    """History and storage of the fake desk, as the trust desk asks for them."""

    def __init__(self, desk: FakeDesk) -> None:
        self.desk = desk

    def get(self, record_id: str) -> Record | None:
        return self.desk.history.get(record_id)

    def by_sha256(self, sha256: str) -> Record | None:
        return next((one for one in self.desk.history.values() if one.passport.sha256 == sha256), None)

    def page(self, query: HistoryQuery) -> HistoryPage:
        return HistoryPage(records=tuple(reversed(self.desk.history.values())), next=None)

    def path(self, relative: str) -> Path:
        return self.desk.folder / relative


class FakeMeanings:
    """Takes words for what pictures show; `waiting` pictures are said to wait."""

    there = True
    waiting = 0

    def __init__(self, desk: FakeDesk) -> None:
        self.desk = desk

    def nearest(self, query: HistoryQuery, *, meaning: str = "", like: Record | None = None) -> Nearest:
        if bool(meaning) == bool(like):
            raise InvalidParameter("meaning", "Ask with words or with a picture.")
        page = self.desk.records(query.model_copy(update={"text": meaning}))
        found = [one for one in page.records if one.handling == "show" and one != like]
        return Nearest(tuple(found), tuple(0.9 for _ in found), page.next, self.waiting)

    def wake(self) -> None:
        pass


@dataclass
class FakeDesk:
    """Jobs run to their end at once when `instant`; otherwise a test moves them with `happen`."""

    folder: Path
    settings: Settings
    instant: bool = True
    known: FewModels = field(default_factory=lambda: FewModels(MODEL, TALL))
    refused: dict[str, SignetError] = field(default_factory=dict)
    broken: Exception | None = None

    def __post_init__(self) -> None:
        self.lock = threading.RLock()
        self.all_jobs: dict[str, Job] = {}
        self.happened: dict[str, list[Event]] = {}
        self.history: dict[str, Record] = {}
        self.asked: list[Any] = []
        self.verified: list[bytes] = []
        self.paused = False
        self.admitted = 0
        self.known.refused_models = self.refused
        catalog: Any = self.known
        self.library = LibraryDesk(self.settings, catalog, InputStore(self.folder / "inputs", 1 << 30, 1 << 24))
        self.library.presets = PresetStore(self.folder / "presets.json")
        self.trainer = Trainer()
        place = self.settings.model_copy(update={"data": self.folder})
        self.trainings = TrainingDesk(self, self.library, Lenient(), self.trainer, place)
        kept: Any = _Kept(self)
        self.trust = TrustDesk(plain_trust(kept, lambda record: self.history.update({record.id: record})), kept, kept)
        self.audits = PlainAudits()
        self.meaning = FakeMeanings(self)
        names = names_of(self.library)
        self.plans = PlanDesk(self, open_extensions(names), names, self.settings)

    def submit(self, fields: Mapping[str, Any], principal: Principal) -> Job:
        if self.broken:
            raise self.broken
        job = self.admit(fields, principal)
        self.enqueue((job,))
        return self.job(job.id)

    def admit(self, fields: Mapping[str, Any], principal: Principal) -> Job:
        self.asked.append((dict(fields), principal))
        request = checked(fields, self.library.library, self.settings)
        with self.lock:
            self.admitted += 1
            job_id = f"j{self.admitted:04d}"
        return Job(job_id, request, principal, "queued", START, START, Verdict("allow", "personal"))

    def enqueue(self, jobs: Sequence[Job]) -> None:
        for job in jobs:
            with self.lock:
                self.all_jobs[job.id] = job
                self.happened[job.id] = []
            self.happen(job.id, phase="queued", position=0)
            if self.instant:
                self.finish(job.id)

    def happen(self, job_id: str, **what: Any) -> None:
        with self.lock:
            events = self.happened[job_id]
            events.append(Event(job_id=job_id, seq=len(events) + 1, **what))

    def finish(self, job_id: str, state: Any = "clean") -> None:
        job = self.job(job_id)
        for step in range(1, 4):
            self.happen(job_id, phase="step", step=step, steps=3, fraction=step / 3, eta=3.0 - step, preview=step)
        for index in range(job.request.count):
            record = self.keep(job.request, job_id, index, state)
            self.happen(job_id, phase="image", record_id=record.id)
        self.move(job_id, state="done", images=job.request.count)
        self.happen(job_id, phase="done", fraction=1.0)

    def keep(self, request: GenerationRequest, job_id: str = "j0000", index: int = 0, state: Any = "clean") -> Record:
        with self.lock:
            record = make_record(len(self.history) + 1, job_id, request, index, state)
            self.history[record.id] = record
        (self.folder / record.path).write_bytes(picture(record.passport.seed))
        return record

    def request(self, prompt: str, **fields: Any) -> GenerationRequest:
        return checked({"prompt": prompt, "seed": 7, **fields}, self.library.library, self.settings)

    def move(self, job_id: str, **changes: Any) -> None:
        with self.lock:
            self.all_jobs[job_id] = replace(self.all_jobs[job_id], **changes)

    def cancel(self, job_id: str, principal: Principal) -> Job:
        if self.job(job_id).state not in ("queued", "running", "sealing", "interrupted"):
            raise Conflict("The job has already ended.")
        self.move(job_id, state="cancelled")
        self.happen(job_id, phase="cancelled")
        return self.job(job_id)

    def resume(self, job_id: str, principal: Principal) -> Job:
        if self.job(job_id).state != "interrupted":
            raise Conflict("Only an interrupted job can be run again.")
        self.move(job_id, state="queued", attempt=1)
        self.happen(job_id, phase="queued", position=0)
        return self.job(job_id)

    def job(self, job_id: str) -> Job:
        if job_id not in self.all_jobs:
            raise NotFound("job", job_id)
        return self.all_jobs[job_id]

    def jobs(self, principal: Principal, limit: int = 20) -> tuple[Job, ...]:
        return tuple(reversed(self.all_jobs.values()))[:limit]

    def events(self, job_id: str, after: int = 0) -> tuple[Event, ...]:
        """Like the front desk: a job without a log tells its state as an event of its own."""
        with self.lock:
            known = self.happened[job_id]
            if known:
                return tuple(event for event in known if event.seq > after or known[-1].seq < after)
            state: Any = self.job(job_id).state
            return (Event(job_id, after + 1, {"refused": "failed", "running": "step"}.get(state, state)),)

    def preview(self, job_id: str) -> bytes | None:
        steps = [event for event in self.events(job_id) if event.preview]
        return picture(len(steps), "JPEG") if steps else None

    def wait(self, job_id: str, timeout: float | None = None) -> Job:
        return self.job(job_id)

    def record(self, record_id: str) -> Record:
        if record_id not in self.history:
            raise NotFound("picture", record_id)
        return self.history[record_id]

    def records(self, query: HistoryQuery) -> HistoryPage:
        self.asked.append(query)
        found = [record for record in reversed(self.history.values()) if self._fits(record, query)]
        if query.before:
            found = [record for record in found if record.id < query.before]
        more = found[query.limit - 1].id if len(found) > query.limit else None
        return HistoryPage(records=tuple(found[: query.limit]), next=more)

    def _fits(self, record: Record, query: HistoryQuery) -> bool:
        passport = record.passport
        words = passport.request.prompt.casefold()
        return (
            all(word in words for word in query.text.casefold().split())
            and query.model in (None, passport.request.model)
            and query.sampler in (None, passport.request.sampler)
            and record.rating >= (query.rating or 0)
            and (query.since is None or passport.created >= query.since)
            and (query.until is None or passport.created <= query.until)
        )

    def of_job(self, job_id: str) -> tuple[Record, ...]:
        return tuple(record for record in self.history.values() if record.job_id == job_id)

    def file(self, record_id: str, principal: Principal = USER, *, reveal: bool = False) -> Path:
        return self.trust.uncovered(self.record(record_id), principal, reveal=reveal)

    def thumbnail(self, record_id: str) -> Path:
        return self.trust.thumbnail(self.record(record_id))

    def rate(self, record_id: str, rating: int) -> Record:
        self.history[record_id] = self.record(record_id).model_copy(update={"rating": rating})
        return self.history[record_id]

    def delete(self, record_id: str, principal: Principal = USER) -> Record:
        record = self.record(record_id)
        del self.history[record_id]
        (self.folder / record.path).unlink()
        return record

    def filters(self) -> Mapping[str, tuple[str, ...]]:
        return {
            "model": tuple(sorted({record.passport.request.model for record in self.history.values()})),
            "sampler": tuple(sorted({record.passport.request.sampler for record in self.history.values()})),
        }

    def verify(self, data: bytes) -> VerifyReport:
        self.verified.append(data)
        if data == b"busy":
            raise Unavailable("Verifying is not possible now.", retry_after=2.5)
        if not data.startswith(b"\x89PNG"):
            raise InvalidParameter("file", "This is not a picture.")
        return VerifyReport(
            c2pa=CredentialReport(
                state="valid",
                ours=True,
                actions=("c2pa.created",),
                signer="Signet installation",
                generator="Signet 0.1.0",
            ),
            watermark=WatermarkReport(found=True, record_id="r0001", p_value=3e-12, method="signet-dct"),
            infotext="a red apple\nSteps: 20",
            history=HistoryMatch(match="exact", record_id="r0001"),
            summary="This file was made by this installation of Signet and was not changed since.",
        )

    def models(self) -> tuple[ModelInfo, ...]:
        return self.known.all()

    def unload(self, model_id: str) -> None:
        self.asked.append(("unload", model_id))

    def move_in_line(self, job_id: str, place: int, principal: Principal) -> Job:
        self.asked.append(("move", job_id, place))
        return self.job(job_id)

    def pause(self, paused: bool) -> None:
        self.paused = paused

    def waiting(self) -> tuple[Job, ...]:
        return tuple(job for job in self.all_jobs.values() if job.state == "queued")

    def running(self) -> tuple[Job, ...]:
        return tuple(job for job in self.all_jobs.values() if job.state in ("running", "sealing"))

    def frames(self, job_id: str) -> Mapping[tuple[int, int], Frame]:
        """Of every step that was asked for; the sample is as grey as the estimate is red."""
        return {
            (0, step): Frame(job_id, 0, step, picture(step, "JPEG"), picture(0, "JPEG"), 10 / step, 1.0, 0.5)
            for step in self.job(job_id).request.film
        }

    def maps(self, job_id: str) -> Mapping[tuple[int, int], Maps]:
        request = self.job(job_id).request
        words = tuple(WordMap(word, 0.5, picture(3)) for word in request.prompt.split())
        return {(0, step): Maps(job_id, 0, step, words) for step in request.film if request.maps}

    def health(self) -> Health:
        return Health(paused=self.paused)
