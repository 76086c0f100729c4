"""A studio without an engine: the real front desk, database and storage, and a link behind which the test sits."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from backend import wire
from backend.dispatch import Stores
from backend.errors import Problem, Refused, UnreadableModel
from backend.hooks import Hooks, names_of
from backend.inputs import InputStore
from backend.journal import Journal
from backend.library import LibraryDesk
from backend.service import Service
from backend.settings import Settings
from backend.storage import Storage
from backend.types import (
    EngineFacts,
    Event,
    GenerationRequest,
    Job,
    ModelFacts,
    ModelInfo,
    ModelKind,
    Pixels,
    Principal,
    RawImage,
    SealedImage,
    Verdict,
    VerifyReport,
)
from db.engine import Database, open_database
from db.history import SqlHistory
from db.jobs import SqlJobs
from extensions.opening import open_extensions
from tests.support.desk import PlainDesk
from tests.support.library import FewModels
from tests.support.trust import plain_trust

OWNER = Principal()
_MODEL = ModelInfo("tiny", "Tiny", "sd1", "/nowhere", "diffusers", 8, 64, 1)


class FakeLink:
    """Where the engine would be. `works`, `orders` (of trainings) and `cancelled` are what it was asked."""

    def __init__(self) -> None:
        self.works: list[wire.Work] = []
        self.orders: list[wire.Train] = []
        self.cancelled: list[str] = []
        self.closed = False

    def start(self, on_message: Callable[[wire.FromEngine], None]) -> None:
        self.say = on_message

    def submit(self, work: wire.Work) -> None:
        self.works.append(work)

    def train(self, order: wire.Train) -> None:
        self.orders.append(order)

    def invert(self, order: wire.Invert) -> None:
        pass

    def cancel(self, job_id: str) -> None:
        self.cancelled.append(job_id)

    def close(self) -> None:
        self.closed = True


class FakeCatalog(FewModels):
    """One model; `gone` takes it away."""

    gone = False

    def __init__(self) -> None:
        super().__init__(_MODEL, refused={"old.ckpt": UnreadableModel("old.ckpt", "The file is a pickle.")})

    def all(self, kind: ModelKind | None = "checkpoint") -> tuple[ModelInfo, ...]:
        return () if self.gone else super().all(kind)


class FakeAdmission:
    def admit(self, request: GenerationRequest, principal: Principal) -> Verdict:
        if "forbidden" in request.prompt:
            raise Refused("The policy does not allow this.")
        return Verdict("allow", "test")


class FakeVerifier:
    def verify(self, data: bytes, media_type: str, pixels: Pixels | None, infotext: str | None) -> VerifyReport:
        raise NotImplementedError


def sealed(job: Job, index: int) -> SealedImage:
    """A picture of a job, another one for every index."""
    pixels = np.full((8, 8, 3), index, dtype=np.uint8)
    facts = EngineFacts(
        app="test", torch="0", diffusers="0", device="cpu", dtype="float32", attention="none", bucket=2, seconds=0.1
    )
    model = ModelFacts(id="tiny", title="Tiny", family="sd1", licence="none", sha256=None)
    request = job.request
    text = f"{request.prompt}\nSteps: {request.steps}"
    raw = RawImage(pixels, job.id, index, request.seed + index, request, text, model, facts, job.verdict)
    return PlainDesk().seal(PlainDesk().inspect(raw))


class Studio:
    """Open it again on the same folder to see what a restart finds. `options` are settings."""

    def __init__(self, data: Path, hooks: Hooks | None = None, **options: Any) -> None:
        settings = Settings(data=data, default_model="tiny", **{"disk_reserve_mb": 0, **options})
        self.database: Database = open_database(f"sqlite:///{data / 'signet.db'}")
        self.jobs, self.history = SqlJobs(self.database), SqlHistory(self.database)
        self.storage = Storage(settings.outputs)
        journal = Journal(self.jobs, self.history, self.storage)
        self.recovered = journal.recover()
        self.link, self.catalog = FakeLink(), FakeCatalog()
        stores = Stores(self.jobs, self.history, self.storage, journal)
        catalog: Any = self.catalog
        self.library = LibraryDesk(settings, catalog, InputStore(settings.inputs, 1 << 30, 1 << 22))
        hooks = hooks or open_extensions(names_of(self.library))
        self.trust = plain_trust(self.history)
        self.service = Service(
            settings, stores, self.library, FakeAdmission(), FakeVerifier(), self.link, self.trust, hooks
        )
        self.service.start()

    def ready(self) -> None:
        self.link.say(wire.Ready("cpu"))

    def submit(self, prompt: str = "a cat", who: Principal = OWNER, **fields: Any) -> Job:
        return self.service.submit({"prompt": prompt, **fields}, who)

    def make(self, job: Job, *indexes: int) -> None:
        """Let the engine deliver these pictures."""
        for index in indexes:
            self.link.say(wire.Sealed(job.id, sealed(job, index)))

    def end(self, job: Job, problem: Problem | None = None, *, cancelled: bool = False) -> None:
        self.link.say(wire.Ended(job.id, problem, cancelled))

    def run(self, job: Job) -> None:
        """From the engine's first to its last word on a job."""
        self.make(job, *range(job.request.count))
        self.end(job)

    def state(self, job: Job) -> str:
        return self.service.job(job.id).state

    def phases(self, job: Job) -> list[str]:
        return [event.phase for event in self.service.events(job.id)]

    def last(self, job: Job) -> Event:
        return self.service.events(job.id)[-1]

    @property
    def running(self) -> list[str]:
        """Ids of the jobs that were handed over, in order."""
        return [work.job_id for work in self.link.works]

    def close(self) -> None:
        self.service.close()
        self.database.close()

    def crash(self) -> None:
        """Gone without a word, as by kill -9."""
        self.database.close()

    def files(self) -> list[str]:
        """Everything below the folder of pictures."""
        return sorted(path.name for path in self.storage.root.rglob("*") if path.is_file())


def other(name: str) -> Principal:
    return replace(OWNER, id=name)
