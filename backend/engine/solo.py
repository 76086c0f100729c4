"""Models with a pipeline of their own: one picture at a time, one step per tick, between the batched ones."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Collection
from dataclasses import dataclass, field

import torch

from backend.engine.families.pipeline import Finished, Progress, SoloPipeline, SoloRun
from backend.engine.painter import Painter
from backend.models.memory import ModelMemory
from backend.requests import seed_of
from backend.types import ModelInfo, Pixels
from backend.wire import Work


@dataclass(slots=True)
class _Turn:
    """A job on its way: the pictures it still has to make, and the one in the making."""

    work: Work
    left: deque[int]
    run: SoloRun | None = None
    pipeline: SoloPipeline | None = None
    started: float = 0.0
    done: int = 0


@dataclass(frozen=True, slots=True)
class Told:
    """What a tick came to: `step` steps are done over all pictures of the job, and a picture may be finished."""

    step: int = 0
    preview: Pixels | None = field(default=None, repr=False)
    painter: Painter | None = None
    pixels: Pixels | None = field(default=None, repr=False)
    seconds: float = 0.0


class Solos:
    """Jobs in order of arrival. `painter` makes what is written down about picture `index` of a work."""

    def __init__(
        self,
        memory: ModelMemory,
        load: Callable[[ModelInfo], SoloPipeline],
        painter: Callable[[Work, int], Painter],
    ) -> None:
        self._memory = memory
        self._load = load
        self._painter = painter
        self._turns: deque[_Turn] = deque()

    def __bool__(self) -> bool:
        return bool(self._turns)

    @property
    def current(self) -> Work | None:
        return self._turns[0].work if self._turns else None

    @property
    def loaded(self) -> bool:
        """Whether the model of the current job is in memory."""
        return bool(self._turns) and self._memory.has(self._turns[0].work.model)

    @property
    def leased(self) -> set[str]:
        """Ids of models that a picture is being made with."""
        return {turn.work.model.id for turn in self._turns if turn.run is not None}

    def add(self, work: Work) -> None:
        self._turns.append(_Turn(work, deque(work.indexes)))

    def tick(self, leased: Collection[str] = ()) -> Told:
        """One step of the current picture. No model in `leased` is unloaded for it. Raises what the pipeline raises."""
        turn = self._turns[0]
        if turn.run is None:
            self._start(turn, leased)
        assert turn.run is not None and turn.pipeline is not None  # _start made them
        said = turn.run.tick()
        steps = turn.work.request.steps
        if isinstance(said, Progress):
            preview = turn.pipeline.preview(said.latent) if said.latent is not None else None
            return Told(turn.done * steps + said.step, preview)
        if isinstance(said, Finished):
            return self._finished(turn, said.pixels)
        return Told()

    def _start(self, turn: _Turn, leased: Collection[str]) -> None:
        info = turn.work.model
        turn.pipeline = self._memory.get(info, leased, self._load)
        turn.started = time.perf_counter()
        index = turn.left[0]
        request = turn.work.request
        turn.run = turn.pipeline.start(request, seed_of(request, index), request.words_of(index))

    def _finished(self, turn: _Turn, pixels: Pixels) -> Told:
        painter = self._painter(turn.work, turn.left.popleft())
        painter.ran = f"{turn.work.model.pipeline or turn.work.model.family} (its own)"
        turn.done += 1
        turn.run = None
        if not turn.left:
            self._turns.popleft()
        steps = turn.work.request.steps
        return Told(turn.done * steps, None, painter, pixels, time.perf_counter() - turn.started)

    def drop(self, job_id: str) -> None:
        """Stop a job's picture where it stands, and forget the job."""
        for turn in [turn for turn in self._turns if turn.work.job_id == job_id]:
            if turn.run is not None:
                turn.run.stop()
            self._turns.remove(turn)

    def close(self) -> None:
        for turn in tuple(self._turns):
            self.drop(turn.work.job_id)


def loader(device: torch.device, dtype: torch.dtype, precision: str) -> Callable[[ModelInfo], SoloPipeline]:
    return lambda info: SoloPipeline.load(info, device, dtype, precision)
