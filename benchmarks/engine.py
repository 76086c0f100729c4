"""The engine against diffusers on the starter model, in one process, float32 on the CPU.

1. wall time per step of our loop against a bare `unet(...)` forward of the same batch;
2. eight waiting requests with mixed steps and samplers against the stock pipeline, one after another.

Gate: every picture is within one grey level of what the stock pipeline makes of the same request.
A missed goal ends with status 1. Run with: python3 launch.py bench engine
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import queue
import sys
import threading
from functools import partial
from typing import Any

import diffusers
import numpy as np
import torch
from diffusers import StableDiffusionPipeline

from backend import wire
from backend.engine.loop import Engine
from backend.models.catalog import Catalog
from backend.models.loader import load
from backend.models.memory import ModelMemory
from backend.requests import checked
from backend.samplers import SAMPLERS
from backend.settings import ROOT, Settings
from backend.types import CheckedImage, GenerationRequest, Inspection, RawImage, Verdict
from benchmarks._pairs import compare

STARTER = ROOT / "models" / "starter"
SAME = 1  # grey levels
MIXED = (
    ("a red apple", 8, "Euler", 3.0), ("a cat", 12, "DDIM", 4.0), ("a dog", 20, "DPM++ 2M", 5.0),
    ("a rocket", 20, "Euler a", 3.5), ("pizza", 16, "UniPC", 4.0), ("a house", 30, "Euler", 6.0),
    ("a tree", 10, "DPM++ 2M", 3.0), ("a heart", 25, "DDIM", 4.5),
)  # fmt: skip


class OpenDesk:
    """No safety work: only the engine is measured here. The pixels stay in this process."""

    def __init__(self) -> None:
        self.raw: queue.SimpleQueue[RawImage] = queue.SimpleQueue()

    def inspect(self, raw: RawImage) -> CheckedImage:
        return CheckedImage(raw, Inspection(state="not-scanned"))

    def seal(self, checked: CheckedImage) -> Any:
        self.raw.put(checked.raw)
        return None


def main() -> int:
    catalog = Catalog((STARTER,), ())
    info = catalog.find("starter")
    settings = Settings()
    desk = OpenDesk()
    memory = ModelMemory(partial(load, device=torch.device("cpu"), dtype=torch.float32), 8 << 30)
    engine = Engine(memory, desk, lambda message: None)
    stock = StableDiffusionPipeline.from_pretrained(STARTER, dtype=torch.float32)
    stock.set_progress_bar_config(disable=True)
    requests = [
        checked(
            {"prompt": p, "steps": n, "sampler": s, "cfg": c, "seed": 100 + i, "model": "starter"}, catalog, settings
        )
        for i, (p, n, s, c) in enumerate(MIXED)
    ]

    def work(number: int, request: GenerationRequest) -> wire.Work:
        return wire.Work(f"bench{number}", request, info, Verdict("allow", "bench"), (0,))

    def ours(batch: list[GenerationRequest]) -> list[np.ndarray]:
        for number, request in enumerate(batch):
            engine.inbox.put(work(number, request))
        found = {raw.job_id: raw.pixels for raw in (desk.raw.get() for _ in batch)}
        return [found[f"bench{number}"] for number in range(len(batch))]

    def theirs(batch: list[GenerationRequest]) -> list[np.ndarray]:
        return [_stock(stock, request) for request in batch]

    # Queued before the loop starts, so that all eight are waiting when it looks.
    threading.Thread(target=engine.run, daemon=True).start()
    for mine, other in zip(ours(requests), theirs(requests), strict=True):
        difference = int(np.abs(mine.astype(int) - other.astype(int)).max())
        if difference > SAME:
            raise SystemExit(f"gate: a picture differs from the stock pipeline's by {difference} grey levels")
    print(f"gate: {len(requests)} pictures within {SAME} grey level of the stock pipeline")

    long = requests[5].model_copy(update={"steps": 100, "bucket": 2})
    model = memory.get(info)
    x = torch.randn(2, model.unet.config.in_channels, long.height // info.factor, long.width // info.factor)
    text = torch.randn(2, 77, model.unet.config.cross_attention_dim)

    def bare() -> None:
        with torch.inference_mode():
            for step in range(long.steps):
                model.unet(x, torch.tensor([float(step)] * 2), encoder_hidden_states=text, return_dict=False)
            model.vae.decode(torch.randn(1, *x.shape[1:]), return_dict=False)

    step = compare(lambda: ours([long]), bare, rounds=5, goal=1.05)
    print(step.line("wall per step / bare forward, batch 2"))
    mixed = compare(lambda: ours(requests), lambda: theirs(requests), rounds=5, goal=1.0)
    print(mixed.line("8 mixed requests: our time / stock one after another"))
    print(f"throughput against the stock pipeline: {1 / mixed.ratio:.2f} x")
    return int(step.missed or mixed.missed)


def _stock(pipe: Any, request: GenerationRequest) -> np.ndarray:
    entry = SAMPLERS[request.sampler]
    kind = getattr(diffusers, entry.scheduler)
    pipe.scheduler = kind.from_config(pipe.scheduler.config, **entry.options, **entry.schedules[request.schedule])
    image = pipe(
        request.prompt,
        width=request.width,
        height=request.height,
        num_inference_steps=request.steps,
        guidance_scale=request.cfg,
        generator=torch.Generator().manual_seed(request.seed),
    ).images[0]
    return np.asarray(image)


if __name__ == "__main__":
    sys.exit(main())
