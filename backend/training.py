"""Trainings of LoRAs and embeddings as the studio knows them: one at a time in the engine, the others wait.

Each has a folder of its own with what it learns from, a checkpoint, and state.json, so that it outlives the studio. Its
sample pictures are ordinary jobs: they go through admission, inspection and sealing as everybody's do.
"""

from __future__ import annotations

import logging
import re
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol

from backend import wire
from backend.engine.lora_dataset import worded
from backend.errors import Conflict, InvalidParameter, NotFound, Problem, SignetError, UnknownModel
from backend.ids import new_id
from backend.library import LibraryDesk
from backend.loss_curve import joined
from backend.models.roots import OWN_FOLDERS
from backend.ports import Admission
from backend.requests import BATCHED
from backend.settings import Settings
from backend.training_files import TrainingFiles
from backend.types import GenerationRequest, Job, ModelInfo, Principal
from backend.types.training import Training, TrainingKind, TrainingRequest, TrainingSample, TrainingState

_LOG = logging.getLogger(__name__)
_NAME = re.compile(r"\w[\w .-]{0,78}\w|\w")
_LIVE: frozenset[TrainingState] = frozenset({"waiting", "running"})
_KEEP_EVERY_S = 5.0
"""Seconds between two writings of a running training's state; ends are written at once."""
_SMOOTHING = 0.9


@dataclass(frozen=True, slots=True)
class TrainingPicture:
    """A picture that was brought along (`backend.inputs`), and what it shows."""

    image: str
    caption: str = ""


class Queue(Protocol):
    """What is asked of the front desk for sample pictures."""

    def submit(self, fields: Mapping[str, Any], principal: Principal) -> Job: ...


class Link(Protocol):
    """What is asked of the engine."""

    def train(self, order: wire.Train) -> None: ...
    def cancel(self, job_id: str) -> None: ...


class TrainingDesk:
    """Thread-safe. `hear` is told what the engine says, in order."""

    def __init__(
        self, queue: Queue, library: LibraryDesk, admission: Admission, link: Link, settings: Settings
    ) -> None:
        self._queue = queue
        self._library = library
        self._admission = admission
        self._link = link
        self._data = settings.data
        self._models = settings.data / "models"
        self._files = TrainingFiles(settings.data / "training")
        self._lock = threading.RLock()
        self._all = {one.id: _after_restart(one) for one in self._files.read()}
        self._ready = False
        self._heard: dict[str, float] = {}
        self._kept: dict[str, float] = {}

    # ---- what there is

    def trainings(self) -> tuple[Training, ...]:
        """Newest first."""
        with self._lock:
            return tuple(sorted(self._all.values(), key=lambda one: one.id, reverse=True))

    def training(self, ident: str) -> Training:
        """Raises NotFound."""
        with self._lock:
            found = self._all.get(ident)
        if found is None:
            raise NotFound("training", ident)
        return found

    @property
    def active(self) -> bool:
        """Whether one runs or is about to."""
        with self._lock:
            return any(one.state in _LIVE for one in self._all.values())

    def defaults(self, model: str, kind: TrainingKind = "lora") -> Mapping[str, Any]:
        """Settings to start from. Raises as the catalogue does."""
        info = self._library.model(model)
        start = _STARTS[kind][info.native_size > 256]
        return {"kind": kind, "resolution": info.native_size, "seed": 0, **start}

    # ---- moving

    def create(
        self,
        request: TrainingRequest,
        principal: Principal,
        pictures: Sequence[TrainingPicture] = (),
        folder: str = "",
    ) -> Training:
        """Take copies of the pictures, or of those in a `folder` below the data folder, and queue the training.

        Nothing is kept if anything is wrong. Raises InvalidParameter, UnknownModel, NotFound (a picture), Conflict,
        Refused if a caption is, or StorageFull.
        """
        if bool(pictures) == bool(folder):
            raise InvalidParameter("images", "Name pictures, or one folder with pictures.")
        request = self._checked(request)
        taken = self._taken(pictures, _woken_by(request)) if pictures else self._files.of_folder(self._data, folder)
        own = (request.name, request.trigger, request.init_word, request.sample_prompt)
        texts = [*own, *(caption for _, caption, _ in taken)]
        for text in dict.fromkeys(text for text in texts if text.strip()):
            self._admit(text, request.model, principal)
        if request.sample_every and not request.sample_prompt.strip():
            request = request.model_copy(update={"sample_prompt": taken[0][1]})
        now, ident = datetime.now(UTC), new_id()
        made = Training(
            id=ident,
            request=request,
            state="waiting",
            pictures=len(taken),
            created=now,
            updated=now,
            owner=principal.id,
        )
        self._files.create(ident, taken)
        with self._lock:
            self._put(made)
            self._dispatch()
            return self._all[ident]

    def stop(self, ident: str) -> Training:
        """It ends within a step and can go on later. Raises NotFound, or Conflict if it does not run."""
        with self._lock:
            found = self.training(ident)
            if found.state == "running":
                self._link.cancel(ident)
                return found
            if found.state != "waiting":
                raise Conflict(f"The training is already {found.state}.", "There is nothing left to stop.")
            return self._put(_moved(found, "stopped"))

    def resume(self, ident: str) -> Training:
        """Go on from the last checkpoint, or from the start without one. Raises NotFound or Conflict."""
        with self._lock:
            found = self.training(ident)
            if found.state in _LIVE or found.state == "done":
                raise Conflict(f"The training is {found.state}.", "Only one that has stopped can go on.")
            self._put(_moved(found, "waiting"))
            self._dispatch()
            return self._all[ident]

    def delete(self, ident: str) -> None:
        """Remove its pictures, checkpoint and state; the file it has written stays. Raises NotFound or Conflict."""
        with self._lock:
            found = self.training(ident)
            if found.state == "running":
                raise Conflict("The training is running.", "Stop it first.")
            del self._all[ident]
            self._files.remove(ident)

    def close(self) -> None:
        """The studio stops: what runs is offered again at the next start."""
        with self._lock:
            self._ready = False
            for one in tuple(self._all.values()):
                if one.state in _LIVE:
                    self._put(_moved(one, "interrupted", "The studio was stopped."))

    # ---- what the engine says

    def hear(self, message: wire.FromEngine) -> None:
        match message:
            case wire.Ready():
                with self._lock:
                    self._ready = True
                    self._dispatch()
            case wire.Crashed(detail) | wire.GaveUp(detail):
                self._lost(detail)
            case wire.Progress(job_id, message=words) if words and job_id in self._all:
                with self._lock:
                    self._put(self._all[job_id].model_copy(update={"message": words}), soon=True)
            case wire.Trained():
                self._trained(message)
            case wire.Ended(job_id) if job_id in self._all:
                self._ended(message)

    def _trained(self, message: wire.Trained) -> None:
        with self._lock:
            known = self._all.get(message.job_id)
            if known is None or known.state != "running":
                return
            known = _with_loss(known, message).model_copy(update={"seconds": self._pace(known, message)})
            if message.wrote:
                known = known.model_copy(update={"lora": known.request.name})
            self._put(known, soon=not message.wrote)
        request, step = known.request, message.step
        if message.wrote and request.sample_every and (step % request.sample_every == 0 or step == request.steps):
            self._sample(known, step)

    def _pace(self, known: Training, message: wire.Trained) -> float | None:
        """Seconds per step, smoothed; the first message after a start only starts the clock."""
        now, before = time.monotonic(), self._heard.get(known.id)
        self._heard[known.id] = now
        if message.loss is None or before is None:
            return known.seconds
        took = now - before
        return took if known.seconds is None else _SMOOTHING * known.seconds + (1 - _SMOOTHING) * took

    def _sample(self, known: Training, step: int) -> None:
        """Ask for a picture as anybody would. A refusal or a full queue costs the sample, not the training."""
        request = known.request
        fields = {
            "prompt": _calling(request),
            "model": request.model,
            "seed": request.seed,
            "client_extras": {"training": known.id, "training_step": step},
        }
        try:
            sample = TrainingSample(step=step, job_id=self._queue.submit(fields, Principal(id=known.owner)).id)
        except SignetError as error:
            sample = TrainingSample(step=step, why=error.problem.sentence())
        with self._lock:
            if known.id in self._all:
                now = self._all[known.id]
                others = tuple(one for one in now.samples if one.step != step)
                self._put(now.model_copy(update={"samples": (*others, sample)}))

    def _ended(self, message: wire.Ended) -> None:
        with self._lock:
            known = self._all[message.job_id]
            if known.state != "running":
                return
            if message.problem:
                self._put(_moved(known, "failed", problem=message.problem))
            else:
                self._put(_moved(known, "stopped" if message.cancelled else "done"))
            self._dispatch()

    def _lost(self, detail: str) -> None:
        with self._lock:
            self._ready = False
            for one in tuple(self._all.values()):
                if one.state == "running":
                    self._put(_moved(one, "interrupted", f"The engine stopped: {detail}"))

    # ---- inside

    def _dispatch(self) -> None:
        """Hand the engine the oldest training that waits, if it has none."""
        while self._ready and not any(one.state == "running" for one in self._all.values()):
            waiting = sorted((one for one in self._all.values() if one.state == "waiting"), key=lambda one: one.updated)
            if not waiting:
                return
            first = waiting[0]
            try:
                model = self._library.model(first.request.model)
            except SignetError as error:
                self._put(_moved(first, "failed", problem=error.problem))
                continue
            output = self._output(first.request)
            self._heard.pop(first.id, None)
            self._put(_moved(first, "running", "The engine makes ready."))
            self._link.train(wire.Train(first.id, first.request, model, self._files.folder(first.id), output))

    def _put(self, training: Training, *, soon: bool = False) -> Training:
        """Remember it, also on disk; `soon` lets that wait a little. A full disk must not stop the training."""
        self._all[training.id] = training
        now = time.monotonic()
        if soon and now - self._kept.get(training.id, 0.0) < _KEEP_EVERY_S:
            return training
        self._kept[training.id] = now
        try:
            self._files.write(training)
        except OSError as error:
            _LOG.error("the state of training %s cannot be written: %s", training.id, error)
        return training

    def _checked(self, request: TrainingRequest) -> TrainingRequest:
        model = self._library.model(request.model)
        _trainable(model)
        if not _NAME.fullmatch(request.name):
            hint = "Use letters, digits, spaces, - and _, at most 80 characters."
            raise InvalidParameter("name", f'"{request.name[:80]}" cannot be the name of {_a(request)}.', hint)
        grain = model.factor * 2
        if request.resolution % grain:
            near = max(grain, round(request.resolution / grain) * grain)
            detail = f"The resolution is {request.resolution}; with this model it must be a multiple of {grain}."
            raise InvalidParameter("resolution", detail, f"Try {near}.")
        self._free(request)
        return request.model_copy(update={"model": model.id})

    def _output(self, request: TrainingRequest) -> Path:
        return self._models / OWN_FOLDERS[request.kind] / f"{request.name}.safetensors"

    def _free(self, request: TrainingRequest) -> None:
        """No file is ever written over by another training than its own."""
        hint = "Choose another name, or remove the other one first."
        name = request.name
        with self._lock:
            if any(one.request.name.casefold() == name.casefold() for one in self._all.values()):
                raise Conflict(f'There is a training called "{name}" already.', hint)
        try:
            there = self._library.model(name, request.kind).id.rsplit("/", 1)[-1].casefold() == name.casefold()
        except UnknownModel:
            there = False
        except SignetError:
            there = True  # a file of that name that cannot be read is still somebody's
        if there or self._output(request).exists():
            raise Conflict(f'There is {_a(request)} called "{name}" already.', hint)

    def _taken(self, pictures: Sequence[TrainingPicture], trigger: str) -> list[tuple[Path, str, str]]:
        """(file, caption, media type) of each. Raises NotFound, or InvalidParameter for one without any words."""
        found = []
        for number, picture in enumerate(pictures):
            kept = self._library.input(picture.image)
            caption = " ".join(picture.caption.split()) or trigger
            if not caption:
                detail = f"Picture {number + 1} has no caption."
                raise InvalidParameter("images", detail, "Say what it shows, or give a trigger word for all.")
            found.append((kept.path, caption, kept.media_type))
        return found

    def _admit(self, text: str, model: str, principal: Principal) -> None:
        """What may not be asked for may not be taught either."""
        asked = GenerationRequest(
            prompt=text,
            width=64,
            height=64,
            steps=1,
            sampler="Euler",
            schedule="Automatic",
            cfg=1.0,
            seed=0,
            model=model,
        )
        self._admission.admit(asked, principal)


# Measured with the starter model: two minutes on two cores teach it a drawing style from twelve pictures. A large model
# knows more, and would unlearn it at such a rate.
_OFTEN, _SELDOM = {"save_every": 50, "sample_every": 50}, {"save_every": 250, "sample_every": 250}
_STARTS: Mapping[TrainingKind, tuple[Mapping[str, Any], Mapping[str, Any]]] = {
    "lora": (
        {"rank": 8, "alpha": 8.0, "steps": 300, "learning_rate": 2e-3, "batch": 4, "targets": "all",
         "schedule": "cosine", **_OFTEN},
        {"rank": 8, "alpha": 8.0, "steps": 1500, "learning_rate": 1e-4, "batch": 1, "targets": "attention",
         "schedule": "constant", **_SELDOM},
    ),
    "embedding": (
        {"vectors": 4, "steps": 300, "learning_rate": 1e-2, "batch": 4, "schedule": "cosine", **_OFTEN},
        {"vectors": 2, "steps": 3000, "learning_rate": 5e-3, "batch": 1, "schedule": "constant", **_SELDOM},
    ),
}  # fmt: skip
"""For a model of small pictures, and for any other."""


def _a(request: TrainingRequest) -> str:
    return "a LoRA" if request.kind == "lora" else "an embedding"


def _woken_by(request: TrainingRequest) -> str:
    """What a picture without a caption shows."""
    return request.trigger if request.kind == "lora" else request.name


def _calling(request: TrainingRequest) -> str:
    """The sample prompt with what is being learned."""
    prompt, name = request.sample_prompt, request.name
    return f"{prompt} <lora:{name}:1>" if request.kind == "lora" else worded(prompt, name)


def _trainable(model: ModelInfo) -> None:
    if model.family not in BATCHED or model.variant != "plain":
        detail = f'"{model.title}" ({model.family}, {model.variant}) cannot be trained here.'
        raise InvalidParameter("model", detail, "Choose a plain SD 1.x, SD 2.x or SDXL model.")


def _moved(training: Training, state: TrainingState, message: str = "", problem: Problem | None = None) -> Training:
    update = {
        "state": state,
        "message": message,
        "problem": asdict(problem) if problem else None,
        "updated": datetime.now(UTC),
    }
    return training.model_copy(update=update)


def _after_restart(training: Training) -> Training:
    if training.state not in _LIVE:
        return training
    return _moved(training, "interrupted", "The studio stopped while it ran.")


def _with_loss(training: Training, message: wire.Trained) -> Training:
    """One more step on the curve. Steps that a resumed training takes again replace what was there."""
    update: dict[str, Any] = {"step": message.step, "message": "", "average": message.average}
    points = tuple(point for point in training.losses if point[0] < message.step or message.loss is None)
    if message.loss is not None:
        points, stride = joined(points, (message.step, message.loss), training.stride)
        update |= {"stride": stride}
    return training.model_copy(update={**update, "losses": points})
