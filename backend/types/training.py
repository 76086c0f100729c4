"""What a training of a LoRA or an embedding is asked for, and how far it is."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Literal

from pydantic import Field

from backend.types.request import Shape

TrainingState = Literal["waiting", "running", "done", "stopped", "interrupted", "failed"]
TrainingKind = Literal["lora", "embedding"]


class TrainingRequest(Shape):
    """A LoRA, or the embedding of a new word, called `name` for `model`.

    `resolution` is the side of the square pictures in pixels.
    `save_every` steps a checkpoint is written, from which the training can go on; `sample_every` steps (0 = never) the
    LoRA is written and a picture made with it. With `schedule` "cosine" the learning rate falls to 0 at the last step.
    `targets` "all" trains the convolutions as well. An embedding has `vectors` tokens, which begin as those of
    `init_word`; rank, alpha, targets and trigger mean nothing to it: its name is the word.
    """

    kind: TrainingKind = "lora"
    name: str
    model: str
    steps: int = Field(ge=1, le=100_000)
    rank: int = Field(default=8, ge=1, le=256)
    alpha: float = Field(default=8.0, gt=0, le=1024, allow_inf_nan=False)
    learning_rate: float = Field(ge=1e-7, le=0.1, allow_inf_nan=False)
    resolution: int = Field(ge=8, le=2048)
    batch: int = Field(default=1, ge=1, le=64)
    seed: int = Field(default=0, ge=0, lt=2**53)
    targets: Literal["attention", "all"] = "attention"
    schedule: Literal["constant", "cosine"] = "constant"
    flip: bool = False
    train_text_encoder: bool = False
    vectors: int = Field(default=1, ge=1, le=8)
    init_word: str = Field(default="", max_length=200)
    save_every: int = Field(default=50, ge=1, le=100_000)
    sample_every: int = Field(default=0, ge=0, le=100_000)
    sample_prompt: str = Field(default="", max_length=2_000)
    trigger: str = Field(default="", max_length=200)
    licence: str = Field(default="", max_length=200)


class TrainingSample(Shape):
    """A picture asked for after `step`. `job_id` is empty where it could not even be asked for; `why` says why."""

    step: int
    job_id: str = ""
    why: str = ""


class Training(Shape):
    """One training, as it is kept. `pictures` is how many it learns from, `lora` the name of the file it has written,
    whichever of the two it is.

    `losses` are (step, mean loss of the steps since the point before), at most a few hundred points; `average` is the
    moving average now. `seconds` is the time a step takes, pictures of others in between included.
    """

    id: str
    request: TrainingRequest
    state: TrainingState
    pictures: int
    created: datetime
    updated: datetime
    owner: str = "owner"
    step: int = 0
    stride: int = 1
    losses: tuple[tuple[int, float], ...] = ()
    average: float | None = None
    seconds: float | None = None
    samples: tuple[TrainingSample, ...] = ()
    lora: str = ""
    message: str = ""
    problem: Mapping[str, Any] | None = None
