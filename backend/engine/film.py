"""The film of one picture: what the denoiser was given and what it made of it, at the steps that were asked for.

It is of the first pass: a second one, or another tile, counts its steps anew.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from torch import Tensor

from backend.engine.attention_maps import Heat, drawn
from backend.engine.previews import Veil
from backend.engine.stage import Stage
from backend.types import GenerationRequest, Pixels
from backend.wire import Frame, Maps

Draw = Callable[[Tensor], Pixels]
"""A latent as a small picture."""


class Film:
    """Mutable: notes how a step began, and what was expected of the picture one step before."""

    def __init__(self, request: GenerationRequest, job_id: str, index: int) -> None:
        self._steps = frozenset(request.film)
        self._job, self._index = job_id, index
        self._maps = Heat() if request.maps else None
        self._stage: Stage | None = None
        self._step = -1
        self._input: Tensor | None = None
        self._x: Tensor | None = None
        self._sigma = 0.0
        self._estimate: Tensor | None = None

    def watch(self, stage: Stage) -> Heat | None:
        """Before every forward; returns where to record attention, if it is wanted at this step."""
        self._stage = self._stage or stage
        if stage is not self._stage:
            return None
        step = stage.stepper.step
        if self._step != step:
            self._step = step
            self._input, self._x, self._sigma = stage.stepper.model_input(), stage.stepper.x, stage.stepper.sigma
        return self._maps if step + 1 in self._steps else None

    def frames(
        self, stage: Stage, step: int, estimate: Tensor, draw: Draw, judge: Callable[[Pixels], Veil]
    ) -> Iterator[Frame | Maps]:
        """After step number `step`, counted from 1: what there is to send, veiled as `judge` says of the estimate.

        What the denoiser was given and where its words looked show the same shapes, so all fall under one veil.
        """
        if stage is not self._stage:
            return
        before, self._estimate = self._estimate, estimate
        if step not in self._steps or self._input is None or self._x is None:
            return
        pixels = draw(estimate)
        veil = judge(pixels)
        yield Frame(
            self._job,
            self._index,
            step,
            veil.jpeg(pixels),
            veil.jpeg(draw(self._input)),
            self._sigma,
            _rms(stage.stepper.x - self._x),
            _rms(estimate - before) if before is not None else None,
        )
        if self._maps is not None:
            yield Maps(self._job, self._index, step, drawn(self._maps.words, self._maps.take(), veil.over))


def _rms(value: Tensor) -> float:
    return float(value.square().mean().sqrt())
