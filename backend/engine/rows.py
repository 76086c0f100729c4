"""One picture of a job as a state machine: begin -> N denoise steps -> a finished latent."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass

import torch
from torch import Tensor

from backend.engine.batcher import Candidate
from backend.engine.families import sd
from backend.engine.samplers import Stepper
from backend.models.loader import LoadedModel
from backend.types import Bucket, GenerationRequest
from backend.wire import Work


def rows_of(request: GenerationRequest) -> int:
    """Rows a picture takes in the batch: one, or two with guidance."""
    return 1 if request.cfg <= 1 else 2


def key_of(model: LoadedModel, request: GenerationRequest, texts: tuple[Tensor, ...]) -> Hashable:
    """Pictures of equal key may share a forward: same weights, same size, same number of tokens."""
    return id(model), request.width, request.height, texts[0].shape[1]


@dataclass(slots=True, eq=False)
class Picture:
    """Mutable, and known to the engine's loop alone.

    `texts` are the embeddings of its rows, unconditional first. `started` is a time.perf_counter() value.
    """

    id: int
    work: Work
    index: int
    seed: int
    model: LoadedModel
    bucket: Bucket
    texts: tuple[Tensor, ...]
    stepper: Stepper
    sample: Tensor
    started: float
    waited: int = 0

    @property
    def key(self) -> Hashable:
        return key_of(self.model, self.work.request, self.texts)

    def candidate(self) -> Candidate:
        return Candidate(self.id, self.key, self.bucket, len(self.texts), self.stepper.left, self.waited)

    def inputs(self) -> tuple[Tensor, ...]:
        return (self.stepper.model_input(self.sample),) * len(self.texts)

    def guide(self, outputs: Tensor) -> Tensor:
        """Classifier-free guidance (Ho & Salimans 2022) over this picture's rows (1 or 2, C, h, w) -> (1, C, h, w)."""
        if len(self.texts) == 1:
            return outputs
        unconditional, conditional = outputs.chunk(2)
        return unconditional + self.work.request.cfg * (conditional - unconditional)

    def advance(self, prediction: Tensor) -> None:
        self.sample = self.stepper.advance(prediction, self.sample)
        self.waited = 0


def begin(
    number: int, work: Work, index: int, model: LoadedModel, bucket: Bucket, texts: tuple[Tensor, ...], now: float
) -> Picture:
    """A picture at its first step. All its randomness comes from one CPU generator seeded by the request alone."""
    request = work.request
    seed = request.seed + index
    generator = torch.Generator("cpu").manual_seed(seed)
    stepper = Stepper(request.sampler, request.schedule, request.steps, model.scheduler, generator)
    noise = torch.randn(sd.latent_shape(model, request.width, request.height), generator=generator)
    sample = noise.to(model.device) * stepper.start_sigma
    return Picture(number, work, index, seed, model, bucket, texts, stepper, sample, now)
