"""An engine with models of our choosing and without safety work, so that it alone is measured."""

from __future__ import annotations

import io
import queue
import threading
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from PIL import Image

from backend.engine.loop import Engine
from backend.engine.picture import Picture
from backend.models.loader import LoadedModel
from backend.models.memory import ModelMemory
from backend.types import CheckedImage, GenerationRequest, Inspection, ModelInfo, RawImage, Verdict
from backend.wire import Ended, FromEngine, Progress, Stop, Work

CPU = torch.device("cpu")
BUDGET = 1 << 40


class _Desk:
    """No safety work. With `save` every picture is written as a PNG by PIL, as a plain script would."""

    def __init__(self, made: Callable[[RawImage], None], save: bool) -> None:
        self._made, self._save = made, save

    def inspect(self, raw: RawImage) -> CheckedImage:
        return CheckedImage(raw, Inspection(state="not-scanned"))

    def seal(self, checked: CheckedImage) -> Any:
        if self._save:
            png(checked.raw)
        self._made(checked.raw)
        return None


class _Watched(Engine):
    """Keeps the finished latents, by job: they show differences that eight bits per colour would hide."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.latents: dict[str, torch.Tensor] = {}

    def _next_pass(self, one: Picture) -> None:
        self.latents[one.work.job_id] = one.stage.stepper.sample.clone()
        super()._next_pass(one)


class Studio:
    """One engine in a thread of its own. `load` finds the model for a catalogue entry.

    `watch` is called in the engine's thread for each step that is reported.
    """

    def __init__(
        self,
        load: Callable[[ModelInfo], LoadedModel],
        *,
        save: bool = False,
        watch: Callable[[Progress], None] = lambda progress: None,
        **options: Any,
    ) -> None:
        self._made: dict[str, RawImage] = {}
        self._ended: queue.SimpleQueue[Ended] = queue.SimpleQueue()
        self._watch = watch
        self.memory = ModelMemory(load, BUDGET)
        self.engine = _Watched(self.memory, _Desk(self._keep, save), self._said, **options)
        self._thread = threading.Thread(target=self.engine.run, daemon=True)
        self._thread.start()

    def _keep(self, raw: RawImage) -> None:
        self._made[raw.job_id] = raw

    def _said(self, message: FromEngine) -> None:
        if isinstance(message, Progress) and message.phase == "step":
            self._watch(message)
        elif isinstance(message, Ended):
            self._ended.put(message)

    def give(self, *works: Work) -> None:
        for work in works:
            self.engine.inbox.put(work)

    def take(self, number: int) -> dict[str, RawImage]:
        """Wait for the next `number` jobs to end; one picture for each, by job."""
        ended = [self._ended.get() for _ in range(number)]
        for one in ended:
            if one.problem or one.cancelled:
                raise SystemExit(f"gate: {one.job_id} ended with {one.problem or 'a cancellation'}")
        return {one.job_id: self._made.pop(one.job_id) for one in ended}

    def make(self, *works: Work) -> dict[str, RawImage]:
        self.give(*works)
        return self.take(len(works))

    def close(self) -> None:
        self.engine.inbox.put(Stop())
        self._thread.join()


def work(name: str, model: ModelInfo, request: GenerationRequest, **more: Any) -> Work:
    """Of the first picture of a request."""
    return Work(name, request, model, Verdict("allow", "bench"), (0,), **more)


def pinned(one: Work, name: str, bucket: int) -> Work:
    """The same picture again, in batches of exactly `bucket` rows."""
    return replace(one, job_id=name, request=one.request.model_copy(update={"bucket": bucket}))


def png(raw: RawImage) -> bytes:
    out = io.BytesIO()
    Image.fromarray(raw.pixels).save(out, "PNG")
    return out.getvalue()
