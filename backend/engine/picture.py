"""One picture of a job on its way: the script it follows, the pass it is in, and the bucket it keeps."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass

from torch import Tensor

from backend.engine.batcher import Candidate
from backend.engine.painter import Painter
from backend.engine.scripts import Script
from backend.engine.stage import Stage
from backend.types import Bucket, GenerationRequest, Pixels
from backend.wire import Work


def rows_of(request: GenerationRequest) -> int:
    """Rows a picture is likely to take in the batch: one, or two with guidance."""
    return 1 if request.cfg <= 1 else 2


@dataclass(slots=True, eq=False)
class Picture:
    """Mutable, and known to the engine's loop alone. `started` is a time.perf_counter() value."""

    id: int
    painter: Painter
    script: Script
    stage: Stage
    bucket: Bucket
    started: float
    waited: int = 0

    @property
    def work(self) -> Work:
        return self.painter.work

    @property
    def key(self) -> Hashable:
        return self.stage.key

    def candidate(self) -> Candidate:
        return Candidate(self.id, self.key, self.bucket, self.stage.most_rows, self.stage.stepper.left, self.waited)


def after(script: Script, latent: Tensor | None) -> Stage | Pixels:
    """What a script wants next: another pass, or that its pixels be sealed. `latent` is the pass it waited for.

    Passes without a single step left are over at once.
    """
    try:
        stage = next(script) if latent is None else script.send(latent)
        while not stage.stepper.left:
            stage = script.send(stage.stepper.sample)
    except StopIteration as end:
        pixels: Pixels = end.value
        return pixels
    return stage
