"""Cache latents and caption embeddings once, then train the denoiser on nothing but those two arrays.

Noise follows the shipped scheduler's table; the network predicts v = sqrt(a) noise - sqrt(1 - a) latent,
where a is the share of signal left at a step.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from random import Random

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from training import autoencoder, data, geometry, running, towers
from training import lens as lenses
from training.autoencoder import Basis
from training.captions import EMPTY, Scene, caption, draw_scene
from training.data import Record
from training.everyday import CORE, EVERYDAY
from training.pictures import batch

BATCH = 48
SHARDS = 2  # one per core
PEAK = 1e-3
VARIANTS = 1.5  # shown pictures per unit of weight
EVERYDAY_TIMES, EVERYDAY_FROM = 6.0, 0.5  # how much more often, from which share of the budget on
CORE_TIMES, CORE_FROM = 100.0, 0.75
POOL = "captions.npy"


def plan(records: list[Record], rng: Random) -> tuple[list[int], list[Scene]]:
    """Which pictures are cached in which scenes: everyday ones several times, every one at least once."""
    rows: list[int] = []
    scenes: list[Scene] = []
    for row, record in enumerate(records):
        for _ in range(max(1, round(VARIANTS * record.weight))):
            rows.append(row)
            scenes.append(draw_scene(record, rng))
    return rows, scenes


def encode(basis: Basis, pictures: NDArray[np.uint8], rows: list[int], scenes: list[Scene]) -> Tensor:
    """Scaled latents of the planned pictures, (N, C, 8, 8), fp16."""
    parts: list[Tensor] = []
    for start in range(0, len(rows), 256):
        real = batch(pictures, rows[start : start + 256], scenes[start : start + 256])
        parts.append((basis.latents(real) * basis.scale).half())
    return torch.cat(parts)


@torch.no_grad()
def embed(work: Path, said: list[str]) -> None:
    """Writes the text tower's states of every caption, fp16 (len(said), 77, 256), to `work/captions.npy`."""
    tower, tokenizer = towers.load_text(work), towers.learn_tokenizer(work)
    shape = (len(said), geometry.TOKENS, geometry.TEXT_WIDTH)
    pool = np.lib.format.open_memmap(work / POOL, mode="w+", dtype=np.float16, shape=shape)
    for start in range(0, len(said), 64):
        ids = tokenizer(said[start : start + 64], padding="max_length", truncation=True, return_tensors="pt").input_ids
        with torch.autocast("cpu", torch.bfloat16):
            states = tower(input_ids=ids).last_hidden_state
        pool[start : start + 64] = states.float().numpy()
        if start % 6400 == 0:
            print(f"denoiser: embedded {start} of {len(said)} captions", flush=True)
    pool.flush()


def cache(work: Path, *, seed: int) -> None:
    """Leaves `work/latents.safetensors` (scaled latents, draw weights, caption numbers) and the caption pool.

    Caption number 0 is the empty caption; each cached picture has two, the same one twice if it is rare.
    """
    rng = Random(seed)
    pictures, records = data.load(work)
    rows, scenes = plan(records, rng)
    numbers: dict[str, int] = {"": 0}
    choice = np.zeros((len(rows), 2), dtype=np.int64)
    for place, (row, scene) in enumerate(zip(rows, scenes, strict=True)):
        for column in range(2 if records[row].weight >= 0.3 else 1):
            text = caption(records[row], scene, rng, empty=0)
            choice[place, column:] = numbers.setdefault(text, len(numbers))
    print(f"denoiser: {len(rows)} shown pictures, {len(numbers)} different captions", flush=True)
    embed(work, list(numbers))
    latents = encode(autoencoder.basis_of(work), pictures, rows, scenes)
    counts = np.bincount(rows, minlength=len(records))
    weights = torch.tensor([records[row].weight / counts[row] for row in rows], dtype=torch.float64)
    tensors = {"latents": latents, "weights": weights, "captions": torch.from_numpy(choice)}
    running.save(work / "latents.safetensors", tensors, {})


class Cache:
    """What `cache` left, ready to be drawn from."""

    def __init__(self, work: Path) -> None:
        tensors, _ = running.load(work / "latents.safetensors")
        self.latents, self.weights, self.captions = tensors["latents"], tensors["weights"], tensors["captions"]
        self.pool = np.load(work / POOL, mmap_mode="r")
        lens = lenses.of(work)
        if lens is None:
            # Words and the padding behind them, where the sentence is summed up, in equal parts.
            sample = self.pool[:: max(1, len(self.pool) // 2000)]
            places = [*range(1, 9), *range(12, geometry.TOKENS, 8)]
            lens = lenses.fit(torch.from_numpy(sample[:, places]).float().flatten(0, 1))
            lenses.save(lens, work)
        self.centre, self.whiten = lens.centre, torch.linalg.inv(lens.spread)
        records = data.load(work)[1]
        names = [records[row].base for row in plan(records, Random(0))[0]]
        everyday = torch.tensor([EVERYDAY_TIMES if name in EVERYDAY else 1.0 for name in names])
        core = torch.tensor([CORE_TIMES if name in CORE else 1.0 for name in names])
        self.everyday = self.weights * everyday
        self.core = self.weights * torch.maximum(everyday, core)

    def draw(self, count: int, share: float = 0.0) -> tuple[Tensor, Tensor]:
        """Random scaled latents (B, C, 8, 8), each with the whitened states (B, 77, 256) of one of its captions.

        `share` is the spent share of the budget: what is drawn narrows with it.
        """
        weights = self.core if share > CORE_FROM else self.everyday if share > EVERYDAY_FROM else self.weights
        picked = torch.multinomial(weights, count, replacement=True)
        said = self.captions[picked, torch.randint(0, 2, (count,))]
        said[torch.rand(count) < EMPTY] = 0
        states = torch.from_numpy(self.pool[said.numpy()]).float()
        return self.latents[picked].float(), (states - self.centre) @ self.whiten


def loss_of(module: torch.nn.Module, latents: Tensor, states: Tensor, signal: Tensor) -> Tensor:
    """Mean squared error of v. latents (B, C, 8, 8), states (B, 77, 256), signal (1000,): share left per step."""
    count = len(latents)
    # One draw from each of B equal slices: less noise in the loss than independent draws. Three in four fall
    # into the noisier 60 % of the table, where the words decide.
    slices = (torch.arange(count) + torch.rand(count)) / count
    places = torch.where(slices < 0.25, 1.6 * slices, 0.4 + 0.8 * (slices - 0.25))
    steps = (places * len(signal)).long().clamp(max=len(signal) - 1)[torch.randperm(count)]
    keep = signal[steps].view(-1, 1, 1, 1)
    noise = torch.randn_like(latents)
    noisy = keep.sqrt() * latents + (1 - keep).sqrt() * noise
    target = keep.sqrt() * noise - (1 - keep).sqrt() * latents
    with torch.autocast("cpu", torch.bfloat16):
        made = module(noisy, steps, states).sample
    return functional.mse_loss(made.float(), target)


def train(work: Path, *, minutes: float, seed: int, resume: bool) -> None:
    """Trains for `minutes` and leaves `work/denoiser.safetensors`; builds the cache first if there is none."""
    if not (work / "latents.safetensors").exists():
        cache(work, seed=seed)
    torch.manual_seed(seed)
    cached = Cache(work)
    signal = geometry.scheduler().alphas_cumprod.float()
    run = running.begin(geometry.denoiser(), minutes=minutes, peak=PEAK, decay=0.999)
    path = work / "denoiser.safetensors"
    if resume and path.exists():
        run.resume(path)
        torch.manual_seed(seed + run.step)
    began, first = run.budget.seconds(), run.step
    over = False
    while not over:
        shards = [cached.draw(BATCH // SHARDS, run.budget.share()) for _ in range(SHARDS)]
        run.advance(*[partial(loss_of, run.module, *shard, signal) for shard in shards])
        if run.step % 50 == 0:
            speed = (run.step - first) * BATCH / (run.budget.seconds() - began)
            print(f"denoiser: step {run.step} loss {run.loss:.4f} {speed:.0f}/s {run.budget.share():.1%}", flush=True)
        over = run.budget.share() >= 1
        if over or run.due(240):
            run.save(path)
