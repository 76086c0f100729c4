"""An engine on the workbench: driven tick by tick in the thread of the test, with everything it says written down."""

from __future__ import annotations

import queue
from functools import partial
from typing import Any

import torch
from torch import Tensor

from backend.engine.loop import Engine
from backend.engine.picture import Picture
from backend.models.loader import load
from backend.models.memory import ModelMemory
from backend.ports import SafetyDesk
from backend.types import GenerationRequest, ModelInfo, Pixels, SealedImage, Verdict
from backend.wire import Cancel, Ended, FromEngine, Sealed, ToEngine, Work
from tests.support import tiny
from tests.support.desk import PlainDesk, pixels_of
from tests.support.models import CPU


def make_work(job_id: str, model: ModelInfo, *, indexes: tuple[int, ...] | None = None, **fields: Any) -> Work:
    plain = {
        "prompt": "a photo of a cat",
        "width": tiny.SIZE,
        "height": tiny.SIZE,
        "steps": 4,
        "sampler": "Euler",
        "schedule": "Automatic",
        "cfg": 7.0,
        "seed": 1,
        "model": model.id,
    }
    request = GenerationRequest(**{**plain, **fields})
    return Work(job_id, request, model, Verdict("allow", "test"), indexes or tuple(range(request.count)))


class _Inbox(queue.Queue[Any]):
    """Waits while a job is open, and says at once that there is nothing when none is."""

    def __init__(self, engine: Engine) -> None:
        super().__init__()
        self._engine = engine

    def get(self, block: bool = True, timeout: float | None = 30) -> Any:
        return super().get(block and bool(self._engine._open), timeout)


class _Watched(Engine):
    """Keeps the finished latents: they show differences that eight bits per colour would hide."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.inbox = _Inbox(self)
        self.latents: dict[tuple[str, int], Tensor] = {}
        self.buckets: dict[tuple[str, int], int] = {}

    def _next_pass(self, picture: Picture) -> None:
        key = picture.work.job_id, picture.painter.index
        self.latents[key] = picture.stage.stepper.sample.clone()
        self.buckets[key] = picture.bucket
        super()._next_pass(picture)


class Bench:
    """`said` is everything the engine sent, in order."""

    def __init__(self, desk: SafetyDesk | None = None, budget: int = 1 << 30, **options: Any) -> None:
        self.said: list[FromEngine] = []
        self.memory = ModelMemory(partial(load, device=CPU, dtype=torch.float32), budget)
        self.engine = _Watched(self.memory, desk or PlainDesk(), self.said.append, **options)

    def give(self, *messages: ToEngine) -> None:
        for message in messages:
            self.engine.inbox.put(message)

    def turn(self, times: int = 1) -> None:
        """Go round the loop, unless there is nothing to do."""
        for _ in range(times):
            if self.busy:
                self.engine._receive()
                self.engine.tick()

    @property
    def busy(self) -> bool:
        return bool(self.engine._open) or not self.engine.inbox.empty()

    def finish(self) -> None:
        while self.busy:
            self.turn()

    def make(self, *works: Work) -> dict[tuple[str, int], SealedImage]:
        """Give all works at once, and wait for the pictures by (job, index)."""
        self.give(*works)
        self.finish()
        wanted = {work.job_id for work in works}
        return {key: sealed for key, sealed in self.sealed.items() if key[0] in wanted}

    def picture(self, work: Work) -> Pixels:
        """Of a work with one picture."""
        (sealed,) = self.make(work).values()
        return pixels_of(sealed)

    @property
    def sealed(self) -> dict[tuple[str, int], SealedImage]:
        return {(said.job_id, said.image.index): said.image for said in self.said if isinstance(said, Sealed)}

    def of(self, job_id: str, kind: type | None = None) -> list[Any]:
        """What was said about a job, of one kind if it is named."""
        about = [said for said in self.said if getattr(said, "job_id", None) == job_id]
        return [said for said in about if kind is None or isinstance(said, kind)]

    def end(self, job_id: str) -> Ended:
        """The one word that a job is over."""
        (ended,) = self.of(job_id, Ended)
        return ended

    def cancel(self, job_id: str) -> None:
        self.give(Cancel(job_id))

    def close(self) -> None:
        self.engine._pool.shutdown()
