"""What to try, in which order, when memory runs out: the mildest measure first. Pure: no torch, no clock."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal

from backend.errors import OutOfMemory

Op = Literal["load", "denoise", "decode", "upscale"]
Measure = Literal[
    "unload idle models",
    "halve the bucket",
    "slice the decoder",
    "tile the decoder",
    "halve the tiles",
    "stream layers",
]

LADDER: Mapping[Op, tuple[Measure, ...]] = {
    "load": ("unload idle models", "stream layers"),
    "denoise": ("halve the bucket", "unload idle models", "stream layers"),
    "decode": ("slice the decoder", "tile the decoder", "unload idle models", "stream layers"),
    "upscale": ("halve the tiles", "unload idle models"),
}
"""Per operation, mildest first. Unloading costs the next user of that model a wait; streaming costs everybody speed.
Slicing, unloading and streaming keep every bit; another bucket changes last bits; tiles can shift colours slightly."""

SMALLEST_TILE = 128
"""Pixels; below it the seams' overlap is most of the work."""


@dataclass(frozen=True, slots=True)
class State:
    """Where an operation stands. `idle` counts loaded models nobody uses, `tile` is in pixels, `taken` what was tried.

    `rows` are what one forward needs at least (denoise: 1 or 2 for a picture) or is given (decode: latents).
    `streams` says that the device can hold a model layer by layer (there is other memory to fetch it from).
    """

    op: Op
    bucket: int = 1
    rows: int = 1
    idle: int = 0
    tile: int = 512
    streams: bool = False
    taken: tuple[Measure, ...] = ()


def next_measure(state: State) -> Measure | None:
    """The mildest measure of LADDER that is left and would change something; None: the request has to fail."""
    return next((measure for measure in LADDER[state.op] if _helps(measure, state)), None)


def after(state: State, measure: Measure) -> State:
    """The state once `measure` has been applied. A bucket may be halved down to what one picture needs."""
    taken = (*state.taken, measure)
    match measure:
        case "halve the bucket":
            return replace(state, bucket=max(state.rows, state.bucket // 2), taken=taken)
        case "halve the tiles":
            return replace(state, tile=max(SMALLEST_TILE, state.tile // 2), taken=taken)
        case "unload idle models":
            return replace(state, idle=0, taken=taken)
        case _:
            return replace(state, taken=taken)


def failure(state: State, what: str, free: int | None) -> OutOfMemory:
    """The error when nothing is left to try, saying what was tried; `what` names the operation, `free` is in bytes."""
    tried = ", then ".join(dict.fromkeys(state.taken))
    hint = "Make the picture smaller or ask for fewer at once."
    return OutOfMemory(what, free, f"Tried to {tried}. {hint}" if tried else hint)


def _helps(measure: Measure, state: State) -> bool:
    match measure:
        case "halve the bucket":
            return state.bucket // 2 >= state.rows
        case "halve the tiles":
            return state.tile > SMALLEST_TILE
        case "unload idle models":
            return state.idle > 0
        case "slice the decoder":  # a single latent cannot be sliced
            return state.rows > 1 and measure not in state.taken
        case "stream layers":
            return state.streams and measure not in state.taken
        case _:
            return measure not in state.taken
