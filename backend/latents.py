"""Asking the engine which noise a picture was made from. Never imports torch."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from backend import images, wire
from backend.errors import Problem, SignetError, Unavailable
from backend.ids import new_id
from backend.types import ModelInfo, Pixels

STEPS = 20
MOST_MODELS = 2
PATIENCE_S = 300.0


class Link(Protocol):
    """What is asked of the engine."""

    def invert(self, order: wire.Invert) -> None: ...
    def cancel(self, job_id: str) -> None: ...


@dataclass(slots=True)
class _Waiting:
    done: threading.Event = field(default_factory=threading.Event)
    answer: wire.Inverted | None = None


class LatentDesk:
    """Thread-safe. `hear` is told what the engine says, in order; `read` may block its caller for a while."""

    def __init__(self, link: Link) -> None:
        self._link = link
        self._lock = threading.Lock()
        self._up = False
        self._loaded: tuple[str, ...] = ()
        self._waiting: dict[str, _Waiting] = {}

    def hear(self, message: wire.FromEngine) -> None:
        match message:
            case wire.Ready():
                self._up = True
            case wire.Loaded(models):
                self._loaded = models
            case wire.Inverted(ask_id):
                self._answer(ask_id, message)
            case wire.Crashed(detail):
                self._up, self._loaded = False, ()
                with self._lock:
                    lost = tuple(self._waiting)
                problem = Unavailable(f"The engine stopped meanwhile: {detail}", "Ask again.").problem
                for ask_id in lost:
                    self._answer(ask_id, wire.Inverted(ask_id, None, problem))

    def _answer(self, ask_id: str, answer: wire.Inverted) -> None:
        with self._lock:
            waiting = self._waiting.pop(ask_id, None)
        if waiting:  # else its caller has lost patience
            waiting.answer = answer
            waiting.done.set()

    def of_loaded(
        self, pixels: Pixels, find: Callable[[str], ModelInfo], patience: float = PATIENCE_S
    ) -> list[NDArray[np.float32]]:
        """The noise by each model in memory, at most the `MOST_MODELS` last used; those that cannot are left out.

        `find` looks up a model. Raises Unavailable if none is loaded, and the last reason if none of them could.
        """
        reason: SignetError = Unavailable("No model is loaded.", "Make a picture with the model, then ask again.")
        picture, found = images.encode_png(pixels), []
        for name in self._loaded[: -MOST_MODELS - 1 : -1]:
            try:
                found.append(self.read(picture, find(name), patience=patience))
            except SignetError as error:
                reason = error
        if not found:
            raise reason
        return found

    def read(
        self,
        picture: bytes,
        model: ModelInfo,
        *,
        size: tuple[int, int] = (0, 0),
        steps: int = STEPS,
        load: bool = False,
        patience: float = PATIENCE_S,
    ) -> NDArray[np.float32]:
        """The noise (1, channels, height, width) that `model` would make the `picture` (file bytes) from.

        `size` (width, height) is the one it was made at, if it is known to be another than it has now. `load` loads
        the model if it is not in memory. Raises Unavailable if the engine is not up, the model is not loaded or it
        takes more than `patience` seconds, and a SignetError with the engine's reason where it cannot answer.
        """
        if not self._up:
            raise Unavailable("The engine is not running.", "Wait until it is ready, and ask again.")
        order = wire.Invert(new_id(), model, picture, *size, steps=steps, load=load)
        waiting = _Waiting()
        with self._lock:
            self._waiting[order.ask_id] = waiting
        self._link.invert(order)
        if not waiting.done.wait(patience):
            with self._lock:
                self._waiting.pop(order.ask_id, None)
            self._link.cancel(order.ask_id)
            raise Unavailable(f"The engine has not answered within {patience:g} seconds.", "It is busy; ask later.")
        answer = waiting.answer
        if answer is None or answer.latent is None:
            raise SignetError(answer.problem if answer and answer.problem else _WITHDRAWN)
        return answer.latent


_WITHDRAWN = Problem("unavailable", "Not available", "The question was withdrawn.", 503)
