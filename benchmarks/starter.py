"""One picture of the starter model, from words to pixels: the engine against diffusers, float32 on the CPU.

Twenty guided steps and four; text, denoising and decoding on both sides, in turns, in one process.

Gate: every picture is within one grey level of what the stock pipeline makes of the same request.
The goals in seconds (3 and 0.7) are for two CPU cores. Run with: python3 launch.py bench starter
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

from functools import partial
from typing import Any

import torch
from diffusers import StableDiffusionPipeline

from backend.models.catalog import Catalog
from backend.models.loader import load
from backend.types import Pixels
from benchmarks import _stock
from benchmarks._engine import CPU, Studio, work
from benchmarks._pairs import compare
from benchmarks.engine import STARTER, gate, request

GOALS = {20: 3.0, 4: 0.7}
"""Seconds for a picture of so many steps."""
ROUNDS = 15


def main() -> int:
    info = Catalog((STARTER,), ()).find("starter")
    studio = Studio(partial(load, device=CPU, dtype=torch.float32))
    stock: Any = StableDiffusionPipeline.from_pretrained(STARTER, dtype=torch.float32)
    stock.set_progress_bar_config(disable=True)
    missed = False
    for steps, goal in GOALS.items():
        asked = request(info, "a red apple, flat style", steps, "Euler", 4.0, 7)

        def ours(asked: Any = asked) -> Pixels:
            return studio.make(work("one", info, asked))["one"].pixels

        def theirs(asked: Any = asked) -> Pixels:
            return _stock.picture(stock, asked)

        gate([ours()], [theirs()])
        ratio = compare(ours, theirs, ROUNDS)
        print(ratio.line(f"{steps} steps, {info.native_size} px, {torch.get_num_threads()} threads: ours / stock"))
        print(f"{'':<58} {ratio.ours:6.2f} s, goal {goal:g} s{' MISSED' if ratio.ours > goal else ''}")
        missed |= ratio.ours > goal
    studio.close()
    return int(missed)


if __name__ == "__main__":
    raise SystemExit(main())
