"""The training that shares the device with the pictures: one optimisation step at a time, between two ticks.

Pictures come first. While some are under way the training gets as much of the time as they do; else all of it.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from pathlib import Path

import torch

from backend.engine.lora_card import LoraCard
from backend.engine.lora_dataset import read_dataset
from backend.engine.lora_settings import TrainingSettings
from backend.engine.lora_state import FILE
from backend.engine.lora_training import Trainer
from backend.errors import Conflict, OutOfMemory, StorageFull
from backend.models.loader import LoadedModel, free_memory
from backend.types import ModelInfo
from backend.types.training import TrainingRequest
from backend.wire import Ended, FromEngine, Train, Trained

PICTURES = "pictures"
"""The folder with what is learned from, inside the training's own."""


class Training:
    """At most one at a time. Used by the engine's loop alone; `load` gives a model of the catalogue."""

    def __init__(self, load: Callable[[ModelInfo], LoadedModel], send: Callable[[FromEngine], None]) -> None:
        self._load = load
        self._send = send
        self._order: Train | None = None
        self._trainer: Trainer | None = None
        self._saved = (-1, -1)
        self._owed = 0.0
        self._cost = 0.0

    def __bool__(self) -> bool:
        return self._order is not None

    @property
    def id(self) -> str:
        """ "" while nothing is trained."""
        return self._order.job_id if self._order else ""

    @property
    def leased(self) -> set[str]:
        """The model that is needed."""
        return {self._order.model.id} if self._order else set()

    def add(self, order: Train) -> None:
        """It begins with the next turn; a second one is turned away."""
        if self._order:
            error = Conflict("Another training is under way.", "Stop it, or wait for its end.")
            self._send(Ended(order.job_id, error.problem))
            return
        self._order, self._saved = order, (-1, -1)
        self._owed = self._cost = 0.0

    def due(self, pictures: float | None) -> bool:
        """Whether a step may be taken now: `pictures` is the seconds that the last tick spent on them, None if none
        are under way."""
        if not self._order:
            return False
        self._owed += pictures or 0.0
        return pictures is None or self._owed >= self._cost

    def turn(self) -> bool:
        """Take one step, or make ready for the first one. True if that was the last; raises SignetError."""
        if self._order is None:
            return False
        begun = time.perf_counter()
        try:
            trainer = self._advance(self._order)
        except torch.OutOfMemoryError:
            trainer = None  # the report comes after the traceback, which holds the tensors, is gone
        if trainer is None:
            raise OutOfMemory("this training", free_memory(), "Use a smaller batch, resolution or rank.")
        self._owed, self._cost = 0.0, time.perf_counter() - begun
        return trainer.done

    def _advance(self, order: Train) -> Trainer:
        if self._trainer is None:
            self._trainer = self._open(order)
            self._send(Trained(order.job_id, self._trainer.step_number, average=self._trainer.average))
        elif not self._trainer.done:
            self._learn(order, self._trainer)
        if self._trainer.done:
            self.keep()
        return self._trainer

    def keep(self) -> None:
        """Write the checkpoint and the file to use, as far as they are not written. Raises StorageFull."""
        if self._order and self._trainer:
            step = self._trainer.step_number
            if self._write(self._order, self._trainer, share=True):
                self._send(Trained(self._order.job_id, step, average=self._trainer.average, wrote=True))

    def drop(self, job_id: str) -> bool:
        """Forget it, if it is the one under way; what is written stays."""
        if job_id != self.id or not self._order:
            return False
        if self._trainer:
            self._trainer.close()
        self._order = self._trainer = None
        return True

    def _open(self, order: Train) -> Trainer:
        request = order.request
        card = LoraCard(request.name, licence=request.licence, trigger=request.trigger)
        model = self._load(order.model)
        trainer = Trainer(model, read_dataset(order.folder / PICTURES), _settings(request), order.folder, card)
        if (order.folder / FILE).is_file():
            try:
                trainer.resume(order.folder)
            except BaseException:
                trainer.close()
                raise
            self._saved = (trainer.step_number, -1)
        return trainer

    def _learn(self, order: Train, trainer: Trainer) -> None:
        request, report = order.request, trainer.step()
        sample = bool(request.sample_every) and report.step % request.sample_every == 0
        wrote = False
        if sample or report.step % request.save_every == 0 or trainer.done:
            wrote = self._write(order, trainer, share=sample or trainer.done)
        self._send(Trained(order.job_id, report.step, report.loss, report.average, wrote))

    def _write(self, order: Train, trainer: Trainer, *, share: bool) -> bool:
        """Whether the file to use was written. The checkpoint comes first: without it the time would be lost."""
        step, (kept, shown) = trainer.step_number, self._saved
        try:
            if kept != step:
                trainer.checkpoint(order.folder)
            if share and shown != step:
                trainer.save(order.output)
        except OSError as error:
            raise _full(order.folder) from error
        self._saved = (step, step if share else shown)
        return share and shown != step


def _settings(request: TrainingRequest) -> TrainingSettings:
    return TrainingSettings(
        kind=request.kind,
        rank=request.rank,
        alpha=request.alpha,
        steps=request.steps,
        learning_rate=request.learning_rate,
        resolution=request.resolution,
        batch=request.batch,
        seed=request.seed,
        train_text_encoder=request.train_text_encoder and request.kind == "lora",
        vectors=request.vectors,
        init_word=request.init_word,
        # The norm of a token's embedding means something; that of a factor does not.
        weight_decay=0.0 if request.kind == "embedding" else 0.01,
        targets=request.targets,
        schedule=request.schedule,
        warmup=min(10, request.steps // 10),
        flip=request.flip,
    )


def _full(folder: Path) -> StorageFull:
    try:
        free = shutil.disk_usage(folder).free
    except OSError:
        free = 0
    return StorageFull(64 << 20, free)
