"""What the studio and an engine process say to each other. Small frozen messages; raw pixels are not among them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from backend.errors import Problem
from backend.ports import SafetyDesk
from backend.types import GenerationRequest, ModelInfo, ModelKind, SealedImage, SourceImage, Verdict
from backend.types.training import TrainingRequest


@dataclass(frozen=True, slots=True)
class Work:
    """Studio to engine: make the pictures `indexes` of a job.

    `resources` are the catalogue entries of everything the request names beside its model, `inputs` the pictures it
    names, by sha256, `cells` the finished pictures of a grid in order (None where there is none).
    """

    job_id: str
    request: GenerationRequest
    model: ModelInfo
    verdict: Verdict
    indexes: tuple[int, ...]
    resources: tuple[ModelInfo, ...] = ()
    inputs: Mapping[str, SourceImage] = field(default_factory=dict)
    cells: tuple[SourceImage | None, ...] = ()

    def resource(self, kinds: ModelKind | tuple[ModelKind, ...], ident: str) -> ModelInfo:
        """The entry of a kind by id; the studio has made sure that it is there."""
        wanted = (kinds,) if isinstance(kinds, str) else kinds
        return next(info for info in self.resources if info.kind in wanted and info.id == ident)


@dataclass(frozen=True, slots=True)
class Cancel:
    job_id: str


@dataclass(frozen=True, slots=True)
class Unload:
    """Studio to engine: let go of a model, if no picture under way needs it."""

    model_id: str


@dataclass(frozen=True, slots=True)
class Train:
    """Studio to engine: train a LoRA or an embedding, or go on from the checkpoint in `folder`.

    Cancel with the same id stops it. The pictures lie in `folder`/pictures with their captions, what is
    learned is written to `output`.
    """

    job_id: str
    request: TrainingRequest
    model: ModelInfo
    folder: Path
    output: Path


@dataclass(frozen=True, slots=True)
class Invert:
    """Studio to engine: from a picture back to the noise that `model` would make it from, by `steps` of the model.

    `picture` is a PNG, JPEG or WebP; it is brought to `width` x `height` pixels, 0 for its own. Without `load` the
    model must be in memory. Cancel with the same id stops it.
    """

    ask_id: str
    model: ModelInfo
    picture: bytes = field(repr=False)
    width: int = 0
    height: int = 0
    steps: int = 20
    load: bool = False


@dataclass(frozen=True, slots=True)
class Stop:
    """Studio to engine: finish nothing, end now."""


@dataclass(frozen=True, slots=True)
class Ready:
    """Engine to studio: models can run on `device`, described for people."""

    device: str


@dataclass(frozen=True, slots=True)
class Progress:
    """`step` of `steps` over all pictures of the job; `eta` in seconds."""

    job_id: str
    phase: Literal["loading", "encoding", "step", "decoding", "sealing"]
    step: int = 0
    steps: int = 0
    eta: float | None = None
    message: str = ""


@dataclass(frozen=True, slots=True)
class Preview:
    """A small JPEG of the newest estimate."""

    job_id: str
    jpeg: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Frame:
    """One frame of the film of picture `index`: the estimate after `step`, a small JPEG like a preview.

    `noisy` is what the denoiser was given for it, `sigma` the noise level then. `moved` tells how far the step took the
    sample, `changed` how far the estimate is from that of the step before (root mean squares, in latents).
    """

    job_id: str
    index: int
    step: int
    jpeg: bytes = field(repr=False)
    noisy: bytes = field(default=b"", repr=False)
    sigma: float = 0.0
    moved: float = 0.0
    changed: float | None = None


@dataclass(frozen=True, slots=True)
class WordMap:
    """Where a picture attended to a word: a PNG of at most 64 pixels. `share` is the word's part among all words."""

    word: str
    share: float
    png: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Maps:
    """The heat maps of picture `index` at `step`, a word of the prompt each, in order."""

    job_id: str
    index: int
    step: int
    words: tuple[WordMap, ...]


@dataclass(frozen=True, slots=True)
class Sealed:
    job_id: str
    image: SealedImage = field(repr=False)


@dataclass(frozen=True, slots=True)
class Ended:
    """The engine is through with a job. `problem` tells why it failed; `cancelled` that it was stopped on demand."""

    job_id: str
    problem: Problem | None = None
    cancelled: bool = False


@dataclass(frozen=True, slots=True)
class Trained:
    """A training has come to `step`. `average` is the moving average of the loss; `wrote` says that what was
    learned lies in its file. Without a `loss` nothing was learned since the message before."""

    job_id: str
    step: int
    loss: float | None = None
    average: float | None = None
    wrote: bool = False


@dataclass(frozen=True, slots=True)
class Inverted:
    """The noise, float32 (1, channels, height, width) in latents, or why there is none; neither if it was cancelled."""

    ask_id: str
    latent: NDArray[np.float32] | None = field(default=None, repr=False)
    problem: Problem | None = None


@dataclass(frozen=True, slots=True)
class Loaded:
    """Which models are in memory now, least recently used first. `used` of `budget` bytes are taken by weights."""

    models: tuple[str, ...]
    used: int = field(default=0, compare=False)
    budget: int = field(default=0, compare=False)


@dataclass(frozen=True, slots=True)
class Crashed:
    """Made by the supervisor: the engine process is gone; everything it held is lost."""

    detail: str


@dataclass(frozen=True, slots=True)
class GaveUp:
    """Made by the supervisor: the engine keeps dying at start; it is tried again, but seldom."""

    detail: str


ToEngine = Work | Train | Invert | Cancel | Unload | Stop
FromEngine = Ready | Progress | Preview | Frame | Maps | Sealed | Ended | Trained | Inverted | Loaded | Crashed | GaveUp


class NoiseMark(Protocol):
    """A keyed mark in the noise that pictures begin with; safety.watermark.latent has them."""

    @property
    def name(self) -> str: ...

    def carries(self, shape: tuple[int, ...]) -> bool:
        """Whether noise of this shape has room for the mark."""
        ...

    def shape(self, drawn: NDArray[np.float32], nonce: int) -> NDArray[np.float32]:
        """Marked noise in place of `drawn`, standard normal of shape (1, channels, height, width)."""
        ...


@dataclass(frozen=True, slots=True)
class EngineConfig:
    """All an engine process needs; it must survive the way into a spawned process.

    `open_desk` builds the safety desk inside the engine, `open_mark` the mark for the noise, if there is one. `warm` is
    loaded before the first request. `memory` is the budget for weights in bytes. `previews_per_second` counts per job.
    `logs` is the folder for engine.log, `encoders` are folders with the vision models of IP-Adapters, `preprocessors`
    the one with preprocessors' weights. `stream` fetches layers from main memory as they run.
    """

    open_desk: Callable[[], SafetyDesk]
    warm: ModelInfo | None = None
    device: Literal["auto", "cpu", "cuda", "mps"] = "auto"
    threads: int | None = None
    memory: int = 8 << 30
    previews_per_second: float = 8.0
    blur_previews: bool = False
    offline: bool = False
    logs: Path | None = None
    precision: str = "auto"
    stream: bool = False
    attention: str = "auto"
    encoders: tuple[Path, ...] = ()
    preprocessors: Path | None = None
    open_mark: Callable[[], NoiseMark] | None = None
