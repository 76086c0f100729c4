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
    """One engine in a thread of its own. `watch` is called in that thread after each step of the user's.

    `load` finds the model for a catalogue entry.
    """

    def __init__(
        self,
        load: Callable[[ModelInfo], LoadedModel],
        *,
        save: bool = False,
        watch: Callable[[Progress], None] = lambda progress: None,
        **options: Any,
    ) -> None:
        self._made: queue.SimpleQueue[RawImage | Ended] = queue.SimpleQueue()
        self._watch = watch
        self.memory = ModelMemory(load, BUDGET)
        self.engine = _Watched(self.memory, _Desk(self._made.put, save), self._said, **options)
        self._thread = threading.Thread(target=self.engine.run, daemon=True)

    def _said(self, message: FromEngine) -> None:
        if isinstance(message, Progress) and message.phase == "step":
            self._watch(message)
        if isinstance(message, Ended) and (message.problem or message.cancelled):
            self._made.put(message)

    def give(self, *works: Work) -> None:
        """What is given before the first `make` is found waiting all at once."""
        for work in works:
            self.engine.inbox.put(work)

    def take(self, number: int) -> dict[str, RawImage]:
        """The next pictures, by job."""
        if not self._thread.is_alive():
            self._thread.start()
        found = [self._made.get() for _ in range(number)]
        broken = [one for one in found if isinstance(one, Ended)]
        if broken:
            raise SystemExit(f"gate: {broken[0].problem or 'a job was cancelled'}")
        return {one.job_id: one for one in found if isinstance(one, RawImage)}

    def make(self, *works: Work) -> dict[str, RawImage]:
        """One picture for each, by job."""
        self.give(*works)
        return self.take(len(works))

    def close(self) -> None:
        self.engine.inbox.put(Stop())
        if self._thread.is_alive():
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
