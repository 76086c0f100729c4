"""The engine against diffusers on the starter model, in one process, float32 on the CPU.

1. wall time per step of our loop against a bare `unet(...)` forward of the same batch, ten steps of the one and ten of
   the other in turns, in one thread: what the loop, the solver and the previews add;
2. eight waiting requests with mixed steps and samplers against the stock pipeline, one after another.

Gate: every picture is within one grey level of what the stock pipeline makes of the same request.
A missed goal ends with status 1. Run with: python3 launch.py bench engine
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import sys
import time
from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np
import torch

from backend.models.catalog import Catalog
from backend.models.loader import load
from backend.settings import ROOT
from backend.types import GenerationRequest, ModelInfo, Pixels
from backend.wire import Progress
from benchmarks import _stock
from benchmarks._engine import CPU, Studio, work
from benchmarks._goals import Verdict, at_least, at_most
from benchmarks._pairs import Ratio, compare, of_pairs, seconds

STARTER = ROOT / "models" / "starter"
SAME = 1  # grey levels
CHUNK, WARM_UP = 10, 2
STEP_GOAL, EARLIER_STEP_GOAL = 1.02, 1.05
MIXED = (
    ("a red apple", 8, "Euler", 3.0), ("a cat", 10, "DDIM", 4.0),
    ("a dog", 20, "UniPC", 5.0), ("a rocket", 20, "Euler a", 3.5),
    ("pizza", 16, "UniPC", 4.0), ("a house", 30, "Euler", 6.0),
    ("a tree", 10, "Euler a", 3.0), ("a heart", 25, "DDIM", 4.5),
)  # fmt: skip


def main() -> int:
    found = verdicts()
    for verdict in found:
        print(verdict.line())
    return int(any(verdict.missed for verdict in found))


def verdicts(short: bool = False) -> list[Verdict]:
    info = Catalog((STARTER,), ()).find("starter")
    clock = _Clock(info)
    studio = Studio(partial(load, device=CPU, dtype=torch.float32), watch=clock.step)
    clock.unet = studio.memory.get(info).unet
    stock = _stock.pipeline(STARTER)
    requests = [
        request(info, prompt, steps, sampler, cfg, 100 + number)
        for number, (prompt, steps, sampler, cfg) in enumerate(MIXED)
    ]

    def ours() -> list[Pixels]:
        made = studio.make(*(work(f"{number}", info, request) for number, request in enumerate(requests)))
        return [made[f"{number}"].pixels for number in range(len(requests))]

    def theirs() -> list[Pixels]:
        return [_stock.picture(stock, request) for request in requests]

    gate(ours(), theirs())
    steps = 100 if short else 200
    long = request(info, "a house", steps + CHUNK * WARM_UP, "Euler", 6.0, 7)
    clock.running = True
    studio.make(work("long", info, long))
    clock.running = False
    step = clock.ratio()
    note = f"{steps} steps, batch 2, {torch.get_num_threads()} threads"
    found = [
        at_most("C1", "wall per step / bare forward", step, STEP_GOAL, note),
        at_most("C1", "the same, our earlier goal", step, EARLIER_STEP_GOAL, note),
    ]
    if not short:
        mixed = compare(ours, theirs, rounds=5)
        found.append(at_least("-", "throughput, 8 mixed requests: ours / stock one after another", mixed, 1.0))
    studio.close()
    return found


class _Clock:
    """Lets the engine take ten steps, and then the bare network, again and again."""

    def __init__(self, info: ModelInfo) -> None:
        self._side = info.native_size // info.factor
        self._pairs: list[tuple[float, float]] = []
        self._began = 0.0
        self.running = False
        self.unet: Any = None

    def step(self, progress: Progress) -> None:
        """After each step of the engine, in its thread."""
        if not self.running or progress.step % CHUNK:
            return
        now = time.perf_counter()
        if self._began:
            self._pairs.append(((now - self._began), seconds(self._bare)))
        self._began = time.perf_counter()

    def _bare(self) -> None:
        config = self.unet.config
        latents = torch.randn(2, config.in_channels, self._side, self._side)
        texts = torch.randn(2, 77, config.cross_attention_dim)
        with torch.inference_mode():
            for number in range(CHUNK):
                self.unet(latents, torch.tensor([999.0 - number] * 2), encoder_hidden_states=texts, return_dict=False)

    def ratio(self) -> Ratio:
        return of_pairs(self._pairs[WARM_UP - 1 :])


def request(info: ModelInfo, prompt: str, steps: int, sampler: str, cfg: float, seed: int) -> GenerationRequest:
    """As both sides are asked: the model's own size, the schedule its scheduler would take."""
    side = info.native_size
    return GenerationRequest(
        prompt=prompt, steps=steps, sampler=sampler, schedule="Automatic", cfg=cfg, seed=seed, model=info.id,
        width=side, height=side,
    )  # fmt: skip


def gate(ours: Sequence[Pixels], theirs: Sequence[Pixels]) -> None:
    """Stops the benchmark unless the pictures are the same but for rounding."""
    apart = [int(np.abs(mine.astype(int) - other).max()) for mine, other in zip(ours, theirs, strict=True)]
    if max(apart) > SAME:
        raise SystemExit(f"gate: a picture differs from the stock pipeline's by {max(apart)} grey levels ({apart})")
    print(f"gate: {len(apart)} pictures within {SAME} grey level of the stock pipeline", flush=True)


if __name__ == "__main__":
    sys.exit(main())
