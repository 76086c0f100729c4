"""One picture of a job on its way: the script it follows, the pass it is in, and the bucket it keeps."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass

from torch import Tensor

from backend.engine.batcher import Candidate
from backend.engine.painter import Painter
from backend.engine.scripts import Script
from backend.engine.stage import Stage
from backend.prompts import composition, networks
from backend.types import Bucket, GenerationRequest, Pixels, Words
from backend.wire import Work


def rows_of(request: GenerationRequest, words: Words) -> int:
    """The most rows that any pass of a picture takes: one for each part of its prompt, and one with guidance.

    A picture keeps its bucket, so the second pass's own words and guidance count from the start.
    """
    second = request.hires
    texts = [words.prompt, *([second.prompt] if second and second.prompt else [])]
    parts = max(len(composition.parts(networks.extract(text).text)) for text in texts)
    guided = request.cfg > 1 or parts > 1 or bool(second and second.cfg and second.cfg > 1)
    return parts + guided


@dataclass(slots=True, eq=False)
class Picture:
    """Mutable, and known to the engine's loop alone. `started` is a time.perf_counter() value.

    `rows` is the most that any of its passes takes.
    """

    id: int
    painter: Painter
    script: Script
    stage: Stage
    bucket: Bucket
    started: float
    rows: int = 1
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
