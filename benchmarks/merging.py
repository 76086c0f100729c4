"""Eight users at once on a UNet of SD 1.5's size (random weights), 64 px pictures, float32 on the CPU.

Ours merges their steps into shared forwards; the others are the stock pipeline, `pipe(...)` and a PIL save for one
after the other, and our own engine with the requests one by one. At 64 px most of a forward is the reading of the
weights, which merging does once for all. The networks are the same objects on all sides.

Gate: every picture is within one grey level of the stock pipeline's. Needs 10 GB of memory.
A missed goal ends with status 1. Run with: python3 launch.py bench merging
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import io
import sys
import time
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from diffusers import EulerDiscreteScheduler, StableDiffusionPipeline
from PIL import Image

from backend.models.loader import LoadedModel
from backend.types import GenerationRequest, Pixels
from benchmarks import _stock
from benchmarks._engine import Studio, pinned, work
from benchmarks._goals import Verdict, at_least
from benchmarks._pairs import of_pairs, seconds
from benchmarks._real import model as random_model

USERS, SIDE, STEPS, CFG = 8, 64, (1, 2), 4.0
ROUNDS = 5
SAME = 1  # grey levels
RAW_GOAL, ALONE_GOAL = 1.5, 1.3


def main() -> int:
    found = verdicts()
    for verdict in found:
        print(verdict.line())
    return int(any(verdict.missed for verdict in found))


def verdicts(short: bool = False) -> list[Verdict]:
    started = time.perf_counter()
    model = random_model("sd1", torch.float32)
    print(f"made {model.size / 1e9:.1f} GB of weights in {time.perf_counter() - started:.0f} s", flush=True)
    stock = _pipeline(model)
    studio = Studio(lambda info: model, save=True, previews=0.1)
    requests = [_request(model, number) for number in range(USERS)]
    works = [work(f"{number}", model.info, request) for number, request in enumerate(requests)]
    lonely = [pinned(one, one.job_id, 2) for one in works]

    def merged() -> list[Pixels]:
        made = studio.make(*works)
        return [made[one.job_id].pixels for one in works]

    def alone() -> list[Pixels]:
        made = [studio.make(one)[one.job_id] for one in lonely]
        return [raw.pixels for raw in made]

    def theirs() -> list[Pixels]:
        return [_saved(_stock.picture(stock, request)) for request in requests]

    raw = theirs()
    _gate(merged(), raw, "merged")
    _gate(alone(), raw, "alone")
    rounds = [(seconds(merged), seconds(theirs), seconds(alone)) for _ in range(ROUNDS)]
    studio.close()
    against_raw = of_pairs([(ours, others) for ours, others, _ in rounds])
    against_ours = of_pairs([(ours, others) for ours, _, others in rounds])
    note = f"{SIDE} px, {min(STEPS)} or {max(STEPS)} steps"
    return [
        at_least("C4", f"throughput, {USERS} users: ours / stock one after another", against_raw, RAW_GOAL, note),
        at_least("C4", f"throughput, {USERS} users: merging on / off", against_ours, ALONE_GOAL, note),
    ]


def _pipeline(model: LoadedModel) -> Any:
    pipe = StableDiffusionPipeline(
        vae=model.vae, text_encoder=model.text_encoder, tokenizer=model.tokenizer, unet=model.unet,
        scheduler=EulerDiscreteScheduler.from_config(dict(model.scheduler)), safety_checker=None,
        feature_extractor=None, requires_safety_checker=False,
    )  # fmt: skip
    pipe.set_progress_bar_config(disable=True)
    return pipe


def _request(model: LoadedModel, number: int) -> GenerationRequest:
    return GenerationRequest(
        prompt=f"a picture of the number {number}", steps=STEPS[number % len(STEPS)], sampler="Euler",
        schedule="Automatic", cfg=CFG, seed=number, model=model.info.id, width=SIDE, height=SIDE,
    )  # fmt: skip


def _saved(pixels: Pixels) -> Pixels:
    Image.fromarray(pixels).save(io.BytesIO(), "PNG")
    return pixels


def _gate(ours: Sequence[Pixels], theirs: Sequence[Pixels], how: str) -> None:
    apart = max(int(np.abs(mine.astype(int) - other).max()) for mine, other in zip(ours, theirs, strict=True))
    if apart > SAME or any(picture.std() < 1 for picture in ours):
        raise SystemExit(f"gate: {how}, a picture differs from the stock pipeline's by {apart} grey levels")
    print(f"gate: {how}, {len(ours)} pictures within {SAME} grey level of the stock pipeline", flush=True)


if __name__ == "__main__":
    sys.exit(main())
