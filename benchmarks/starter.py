"""One picture of the starter model, from words to pixels: the engine against diffusers, float32 on the CPU.

Twenty guided steps, and four without and with guidance; text, denoising and decoding on both sides, in turns, in one
process.

Then the same with the geometry of 256 pixels and random weights, which waits for training on a GPU: how long a picture
takes does not depend on what the weights say.

Gate: every picture is within one grey level of what the stock pipeline makes of the same request.
The goals in seconds (3 and 0.7, at 256 pixels) are for two CPU cores. Run with: python3 launch.py bench starter
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import tempfile
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import torch
from transformers import CLIPTokenizer

from backend.models.catalog import Catalog
from backend.models.loader import load
from backend.types import Pixels
from benchmarks import _stock
from benchmarks._engine import CPU, Studio, work
from benchmarks._pairs import compare
from benchmarks.engine import STARTER, gate, request
from training import export, geometry

GOALS: Mapping[tuple[int, float], float | None] = {(20, 4.0): 3.0, (4, 1.0): 0.7, (4, 4.0): None}
"""Seconds for a picture of so many steps with that guidance. 1, with the LoRA for four steps, is one forward a step."""
ROUNDS = 15


def untrained(folder: Path) -> Path:
    """A starter of 256 pixels with random weights, written to `folder`."""
    torch.manual_seed(0)
    shape = geometry.FULL
    parts = geometry.autoencoder(shape=shape), geometry.text_tower(shape=shape)
    tokenizer = CLIPTokenizer.from_pretrained(STARTER / "tokenizer")
    export.pipeline(*parts, tokenizer, geometry.denoiser(shape=shape), shape).save_pretrained(folder)
    return folder


def measure(model: Path) -> bool:
    """Prints a line for each number of steps; whether every goal in seconds is held."""
    info = Catalog((model,), ()).find(model.name)
    studio = Studio(partial(load, device=CPU, dtype=torch.float32))
    stock = _stock.pipeline(model)
    held = True
    for (steps, guidance), goal in GOALS.items():
        asked = request(info, "a red apple, flat style", steps, "Euler", guidance, 7)

        def ours(asked: Any = asked) -> Pixels:
            return studio.make(work("one", info, asked))["one"].pixels

        def theirs(asked: Any = asked) -> Pixels:
            return _stock.picture(stock, asked)

        gate([ours()], [theirs()])
        ratio = compare(ours, theirs, ROUNDS)
        missed = goal is not None and ratio.ours > goal
        wanted = "no goal" if goal is None else f"goal {goal:g} s{' MISSED' if missed else ''}"
        print(ratio.line(f"{steps} steps, guidance {guidance:g}, {info.native_size} px: ours / stock"))
        print(f"{'':<58} {ratio.ours:6.2f} s, {wanted}; {torch.get_num_threads()} threads", flush=True)
        held &= not missed
    studio.close()
    return held


def main() -> int:
    with tempfile.TemporaryDirectory() as folder:
        held = [measure(STARTER), measure(untrained(Path(folder) / "untrained-256"))]
    return int(not all(held))


if __name__ == "__main__":
    raise SystemExit(main())
