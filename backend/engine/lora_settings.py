"""How a LoRA or an embedding is trained, and what can be trained with at all."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import torch

from backend.engine.lora_dataset import TrainingImage
from backend.errors import InvalidParameter
from backend.models.loader import LoadedModel
from backend.types.training import TrainingKind

Targets = Literal["attention", "all"]
"""kohya's choice, every Linear and 1 x 1 convolution of the transformers; "all" adds the convolutions around them."""


@dataclass(frozen=True, slots=True)
class TrainingSettings:
    """`resolution` is the side of the square pictures in pixels, `caption_dropout` the share of empty captions
    (of an embedding: of captions that say its word alone).

    `save_every` steps (0 = never) the file and a checkpoint are written. `noise_offset` lets brightness be learned,
    `min_snr` is the gamma of Hang et al. 2023. With `schedule` "cosine" the learning rate falls to 0 at the last step.
    `text_learning_rate` None means half the learning rate. An embedding has `vectors` tokens that begin as those of
    `init_word`, or as chance has it; a LoRA has neither, and an embedding no rank, alpha or targets.
    """

    kind: TrainingKind = "lora"
    rank: int = 8
    alpha: float = 8.0
    steps: int = 1000
    learning_rate: float = 1e-4
    resolution: int = 512
    batch: int = 1
    seed: int = 0
    train_text_encoder: bool = False
    targets: Targets = "attention"
    save_every: int = 0
    noise_offset: float = 0.0
    caption_dropout: float = 0.05
    schedule: Literal["constant", "cosine"] = "constant"
    warmup: int = 0
    weight_decay: float = 0.01
    min_snr: float | None = None
    flip: bool = False
    text_learning_rate: float | None = None
    vectors: int = 1
    init_word: str = ""


MOST_VECTORS = 8
"""Tokens of a trained word. More learn the pictures by heart."""
_LONGEST_NAME = 120
"""Bytes."""
_LIMITS: Mapping[str, tuple[float, float]] = {
    "rank": (1, 1024), "alpha": (1e-6, 1e6), "steps": (1, 1_000_000), "learning_rate": (1e-9, 1.0),
    "resolution": (8, 4096), "batch": (1, 64), "save_every": (0, 1_000_000), "noise_offset": (0, 1),
    "caption_dropout": (0, 1), "warmup": (0, 1_000_000), "weight_decay": (0, 10), "vectors": (1, MOST_VECTORS),
}  # fmt: skip


def check(model: LoadedModel, pictures: Sequence[TrainingImage], settings: TrainingSettings) -> None:
    """Raises InvalidParameter, which says what cannot be trained with and what can."""
    for name, (least, most) in _LIMITS.items():
        value = getattr(settings, name)
        if not least <= value <= most:
            raise InvalidParameter(name, f"{name} is {value}; it must be {least:g} to {most:g}.")
    # The sides of a latent are halved on the way down through the UNet.
    grain = model.latent_factor * 2 ** (len(model.unet.config.block_out_channels) - 1)
    if settings.resolution % grain:
        detail = f"The resolution is {settings.resolution}; with this model it must be a multiple of {grain}."
        raise InvalidParameter("resolution", detail, f"Try {max(grain, round(settings.resolution / grain) * grain)}.")
    if not pictures:
        raise InvalidParameter("dataset", "There are no pictures to train on.")
    if model.dtype == torch.float16:
        hint = "Load the model in bfloat16 or float32 for the training."
        raise InvalidParameter("precision", "Gradients vanish in half precision.", hint)
    if int(model.unet.config.in_channels) != int(model.vae.config.latent_channels):
        detail = "Inpainting and edit models cannot be trained: their denoiser sees more than a noisy picture."
        raise InvalidParameter("model", detail, "Train on the plain model of the same family; the LoRA fits both.")


def check_name(name: str) -> None:
    """Raises InvalidParameter unless files can be called so on every system: the name is part of their names."""
    bad = sorted({letter for letter in name if letter in '<>:"/\\|?*,' or not letter.isprintable()})
    if bad or not name.strip() or name != name.strip(" .") or len(name.encode()) > _LONGEST_NAME:
        detail = f"The name {name[:40]!r} cannot be used for a file" + (f": it has {''.join(bad)!r}." if bad else ".")
        raise InvalidParameter("name", detail, "Use letters, digits, spaces, - and _.")


def ran_off(step: int) -> InvalidParameter:
    """The training has left the range of numbers; the checkpoint before is still good."""
    detail = f"The training ran off: at step {step} the loss is no longer a number."
    return InvalidParameter("learning_rate", detail, "Lower the learning rate and start again.")
