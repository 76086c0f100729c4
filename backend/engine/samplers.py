"""Carries out a Plan on one picture: per denoiser forward one scaled input and a small linear update of its latent."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable

import torch
from torch import Tensor

from backend.solvers.moves import Move, Plan
from backend.solvers.noise import NoiseTable


class Stepper:
    """One picture's run through its plan. Mutable: it holds the sample and what the plan needs remembered.

    The sample lives in the variance-exploding space; `model_input` and `denoised` translate to and from the denoiser,
    which knows inputs of unit variance. Nothing here depends on other pictures or waits for the device.

    `x` (1, C, h, w) is picture + start_sigma * noise. `draw` gives standard normals of x's shape from the picture's own
    generator on the CPU and is called once for each move that needs noise, in order.
    """

    def __init__(self, plan: Plan, table: NoiseTable, x: Tensor, draw: Callable[[], Tensor]) -> None:
        self._plan = plan
        self._table = table
        self._draw = draw
        self._x = x.float()
        self._saved = self._x
        self._memory: deque[Tensor] = deque(maxlen=max(plan.memory, 1))
        self._normals: deque[Tensor] = deque(maxlen=max(plan.normals, 1))
        self._index = 0
        if plan.start_noise:
            self._x = self._x.add(self._fresh(), alpha=plan.start_noise)

    @property
    def left(self) -> int:
        """Moves (denoiser forwards) still to do."""
        return len(self._plan.moves) - self._index

    @property
    def move(self) -> Move:
        """The next one; the last one when none is left."""
        return self._plan.moves[min(self._index, len(self._plan.moves) - 1)]

    @property
    def step(self) -> int:
        """The user's step the next move belongs to, from 0; the number of steps when none is left."""
        return self.move.step if self.left else self._plan.steps

    @property
    def steps(self) -> int:
        return self._plan.steps

    @property
    def share(self) -> float:
        """Of the steps done, 0 to 1."""
        return self.step / self._plan.steps

    @property
    def sigma(self) -> float:
        """The noise level at which the denoiser is asked next."""
        return self.move.sigma

    @property
    def timestep(self) -> float:
        return self._table.timestep(self.move.sigma)

    @property
    def x(self) -> Tensor:
        """The sample as it is now, in the variance-exploding space."""
        return self._x

    @property
    def sample(self) -> Tensor:
        """The sample in the model's own scale: the finished latent when nothing is left."""
        return self._x if self._plan.final_scale == 1 else self._x * self._plan.final_scale

    def model_input(self) -> Tensor:
        """(1, C, h, w) of unit variance."""
        return self._x * (1 / math.hypot(1, self.move.sigma))

    def denoised(self, prediction: Tensor) -> Tensor:
        """What the finished latent would be if the (guided) model output for this move were right at once."""
        prediction, sigma = prediction.float(), self.move.sigma
        match self._table.prediction_type:
            case "epsilon":
                return self._x.add(prediction, alpha=-sigma)
            case "v_prediction":  # Salimans & Ho 2022, for inputs of unit variance
                return (self._x / (1 + sigma**2)).sub_(prediction, alpha=sigma / math.hypot(1, sigma))
            case "sample":
                return prediction

    def advance(self, denoised: Tensor) -> None:
        """Carry out the next move with its prediction."""
        move = self._plan.moves[self._index]
        self._memory.appendleft(self._x.sub(denoised).div_(move.sigma) if move.slope else denoised)
        moved = self._moved(move, denoised)
        if move.noise:
            self._fresh()
            for weight, normal in zip(move.noise, self._normals, strict=False):
                moved.add_(normal, alpha=weight)
        if move.save:
            self._saved = self._x
        self._x = moved
        self._index += 1

    def _moved(self, move: Move, denoised: Tensor) -> Tensor:
        """Everything but the noise, always in a tensor of its own."""
        if move.straight:
            return torch.lerp(denoised, self._x, move.x)
        moved = self._x * move.x
        if move.saved:
            moved.add_(self._saved, alpha=move.saved)
        for weight, remembered in zip(move.d, self._memory, strict=False):
            if weight:
                moved.add_(remembered, alpha=weight)
        return moved

    def _fresh(self) -> Tensor:
        # From pageable memory this is safe: the copy has left the source before the call returns.
        normal = self._draw().to(self._x.device, self._x.dtype, non_blocking=self._x.is_cuda)
        self._normals.appendleft(normal)
        return normal
