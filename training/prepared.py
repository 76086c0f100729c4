"""Stages whose modules make pictures of their own before they train: control and the upscaler, as one step each."""

from __future__ import annotations

from pathlib import Path

from training import control, control_pictures, progress, upscaler, upscaler_pictures
from training.control_hints import KINDS

PARTS = {"art": 40, "own": 8}
"""Files of pictures for the controls: of the real art, and of what the model drew itself."""
SCENES, HELD = 4000, 256
"""Scenes for the upscaler: to train on, and to measure with."""


def control_stage(work: Path, *, minutes: float, seed: int, resume: bool, model: Path, shards: int) -> None:
    """Shares `minutes` between the kinds of control; leaves KIND.safetensors in the model's place in `work/control`."""
    for source, parts in PARTS.items():
        if not progress.stopped():
            control_pictures.prepare(model, work, source, parts, seed)
    for kind in KINDS.values():
        if not progress.stopped():
            each = minutes / len(KINDS)
            control.train(model, work, kind, minutes=each, seed=seed, resume=resume, shards=shards)


def upscaler_stage(work: Path, *, minutes: float, seed: int, resume: bool, model: Path, tarballs: Path) -> None:
    """Renders the scenes if there are none, then trains; leaves `work/upscaler/net.safetensors`."""
    upscaler_pictures.prepare(work, model, tarballs, count=SCENES, held=HELD, seed=seed)
    if not progress.stopped():
        upscaler.train(work, minutes=minutes, seed=seed, resume=resume)
