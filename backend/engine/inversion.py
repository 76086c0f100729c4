"""From a picture back to the noise that the model would make it from: DDIM inversion, to read marks in that noise.

The deterministic sampler is an ordinary differential equation (Song et al. 2021); run from the encoded picture towards
the noise, with an empty prompt and no guidance, it comes near the noise that the picture was made from. Near only: the
prompt, its guidance and the autoencoder are not undone, and the finished picture says little about parts of the noise.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch

from backend import images
from backend.engine.conditioning import Conditioner, Reading
from backend.engine.encoding import encode
from backend.engine.forward import Forward
from backend.engine.samplers import Stepper
from backend.engine.stage import Guidance, Stage, Voice
from backend.errors import InvalidParameter, Problem, Unavailable
from backend.models.loader import LoadedModel
from backend.requests import BATCHED
from backend.solvers.moves import Move, Plan
from backend.solvers.noise import NoiseTable
from backend.types import ModelInfo, Pixels
from backend.wire import FromEngine, Invert, Inverted

MOST_STEPS = 100
MOST_SIDE = 4096
_MOST_PIXELS = 64_000_000


def upwards(table: NoiseTable, steps: int) -> Plan:
    """From the least noise level of a model to its highest, evenly in timesteps; a straight step from each to the next.

    It begins at the picture itself, which is taken for the least level, and ends at noise of unit variance.
    """
    times = np.linspace(0, len(table.sigmas) - 1, steps + 1)
    levels = [table.sigma(float(time)) for time in times]
    moves = tuple(
        Move(low, high / low, d=(1 - high / low,), step=step) for step, (low, high) in enumerate(pairwise(levels))
    )
    return Plan(moves, start_sigma=0.0, final_scale=1 / math.hypot(1, levels[-1]), steps=steps)


def inversion(model: LoadedModel, conditioner: Conditioner, pixels: Pixels, steps: int) -> Stage:
    """The pass that leads from `pixels` (H, W, 3), whose sides the model must be able to do, to their noise.

    When its stepper has nothing left, `sample` is the noise (1, C, h, w).
    """
    height, width = pixels.shape[:2]
    with torch.inference_mode():
        latent = encode(model, pixels)
    texts = conditioner.conditioning(model, "", "", steps, Reading(), guided=False)
    table = NoiseTable.of(model.scheduler)
    stepper = Stepper(upwards(table, steps), table, latent, lambda: torch.zeros_like(latent))
    return Stage((Voice(model, texts),), width, height, stepper, Guidance(1.0))


def step(stage: Stage, forward: Forward) -> None:
    (prediction,) = forward([stage], 1)
    with torch.inference_mode():
        stage.advance(prediction)


@dataclass(slots=True)
class _Turn:
    order: Invert
    stage: Stage | None = None


class Inversions:
    """The questions under way, one after the other, a step at a time. Used by the engine's loop alone.

    They have rows, kernels and random numbers of their own, so no picture changes for their sake. `load` gives a model
    of the catalogue, `loaded` tells whether it is in memory.
    """

    def __init__(
        self,
        load: Callable[[ModelInfo], LoadedModel],
        loaded: Callable[[ModelInfo], bool],
        conditioner: Conditioner,
        forward: Forward,
        send: Callable[[FromEngine], None],
    ) -> None:
        self._load = load
        self._loaded = loaded
        self._conditioner = conditioner
        self._forward = forward
        self._send = send
        self._turns: deque[_Turn] = deque()

    def __bool__(self) -> bool:
        return bool(self._turns)

    @property
    def id(self) -> str:
        """Of the one that is next; "" without any."""
        return self._turns[0].order.ask_id if self._turns else ""

    @property
    def leased(self) -> set[str]:
        """Ids of models in use."""
        return {turn.order.model.id for turn in self._turns if turn.stage is not None}

    def add(self, order: Invert) -> None:
        self._turns.append(_Turn(order))

    def turn(self) -> None:
        """One step of the first; its answer is sent after the last. Raises the SignetError that says why not."""
        turn = self._turns[0]
        if turn.stage is None:
            turn.stage = self._begin(turn.order)
            return
        step(turn.stage, self._forward)
        if not turn.stage.stepper.left:
            self._turns.popleft()
            noise = turn.stage.stepper.sample.float().cpu().numpy()
            self._send(Inverted(turn.order.ask_id, noise))

    def _begin(self, order: Invert) -> Stage:
        if not 1 <= order.steps <= MOST_STEPS:
            raise InvalidParameter("steps", f"{order.steps} steps are not possible.", f"Use 1 to {MOST_STEPS}.")
        if order.model.family not in BATCHED:
            raise Unavailable(f"The noise of pictures by {order.model.title} cannot be recovered.")
        if not (order.load or self._loaded(order.model)):
            raise Unavailable(
                f"The model {order.model.title} is not loaded.", "Make a picture with it, then ask again."
            )
        model = self._load(order.model)
        if model.inpaints:
            raise Unavailable(f"{order.model.title} is an inpainting model, which makes no picture from noise alone.")
        pixels = images.decode(order.picture, max_pixels=_MOST_PIXELS).pixels
        sides = (order.width or pixels.shape[1], order.height or pixels.shape[0])
        width, height = (max(1, round(side / model.latent_factor)) * model.latent_factor for side in sides)
        if max(width, height) > MOST_SIDE:
            raise Unavailable(f"A picture of {width} x {height} px is too large for this.", "Make it smaller.")
        return inversion(model, self._conditioner, images.resize(pixels, width, height, "stretch"), order.steps)

    def drop(self, ask_id: str, problem: Problem | None) -> None:
        """Forget a question; the answer is its `problem`, or nothing at all. Harmless for others."""
        for turn in [turn for turn in self._turns if turn.order.ask_id == ask_id]:
            self._turns.remove(turn)
            self._send(Inverted(ask_id, None, problem))
