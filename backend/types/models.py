"""What is on disk and can be used: checkpoints and everything that goes with them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

ModelKind = Literal[
    "checkpoint", "lora", "vae", "controlnet", "t2i-adapter", "ip-adapter", "embedding", "upscaler", "preprocessor"
]
Variant = Literal["plain", "inpaint", "edit", "refiner"]


@dataclass(frozen=True, slots=True)
class ModelInfo:
    """One entry of the catalogue.

    `family` is the architecture it is or belongs to: "sd1", "sd2", "sdxl", "sdxl-refiner" run in the batched engine,
    every other name is a diffusers pipeline that runs alone; "any" fits all, "unknown" none. `factor` is the
    autoencoder's pixels per latent, sizes are pixels, `size` is bytes. `modified_ns` is the newest time of its files: a
    file that was replaced makes another ModelInfo. `sha256` and `autov3` are filled in when the background hashing is
    through. `vae` is the path of the autoencoder that lies beside a checkpoint. `width` is that of the text that
    cross-attention takes, None where it is not known.

    For a pipeline that runs alone `factor` is what sides must be a multiple of; for an upscaler it is the scale, 1
    where the file does not show it. Sizes mean nothing for other kinds than checkpoints.
    """

    id: str
    title: str
    family: str
    path: str
    layout: Literal["diffusers", "single-file"]
    factor: int
    native_size: int
    size: int
    licence: str = "not stated"
    sha256: str | None = None
    modified_ns: int = 0
    defaults: Mapping[str, Any] = field(default_factory=dict)
    kind: ModelKind = "checkpoint"
    variant: Variant = "plain"
    autov3: str | None = None
    vae: str | None = None
    pipeline: str | None = None
    width: int | None = None


@dataclass(frozen=True, slots=True)
class ModelCard:
    """What people are shown about a model; every text is a stranger's. `folder` is relative to the models folder."""

    info: ModelInfo
    folder: str = ""
    description: str = ""
    author: str = ""
    source: str = ""
    base_model: str = ""
    triggers: tuple[str, ...] = ()
    tags: tuple[tuple[str, int], ...] = ()
    notes: str = ""
    preferred_weight: float | None = None
    preview: str | None = None
    metadata: Mapping[str, str] = field(default_factory=dict)
