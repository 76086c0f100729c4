"""Cache latents and caption embeddings once, then train the denoiser on nothing but those two arrays.

Noise follows the shipped scheduler's table; the network predicts v = sqrt(a) noise - sqrt(1 - a) latent,
where a is the share of signal left at a step.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from random import Random

import numpy as np
import torch
from diffusers import UNet2DConditionModel
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional
from transformers import CLIPTokenizer

from training import autoencoder, data, geometry, running, towers
from training import lens as lenses
from training.autoencoder import Codec
from training.captions import EMPTY, Scene, both, caption, draw_scene
from training.data import Record
from training.everyday import EVERYDAY
from training.geometry import SMALL, Geometry
from training.pairs import side_by_side
from training.pictures import show

BATCH = 48
SHARDS = 2  # one per core
GPU_BATCH = 512  # in one shard
PEAK = 1e-3
SCENES = 14  # in which an everyday picture is shown; the others in one or a few
VARIANTS = 1.5  # shown pictures per unit of weight of the others
PAIRS = 30_000
"""Too many to learn by heart: from 4,000 the denoiser learned those pairs rather than how to draw two things."""
EVERYDAY_SHARE, PAIR_SHARE = 0.34, 0.55
"""Of the pictures drawn in training. So little time is enough to learn a few hundred shapes or the colours of many; two
things at half their size are as much to learn again."""
KEPT_TOKENS = 33
"""States kept of each caption; from there on all is padding, which says the same at every place."""
POOL = "captions.npy"


@dataclass(frozen=True, slots=True)
class Shown:
    """A cached picture: the row of its sign, how it is shown, and the row of a second sign or -1."""

    row: int
    scene: Scene
    beside: int = -1


def plan(records: list[Record], rng: Random) -> tuple[list[Shown], list[float]]:
    """What is cached, and how often each of it is drawn: every sign at least once, everyday ones in many scenes."""
    everyday = [row for row, record in enumerate(records) if record.base in EVERYDAY]
    alike = Counter((records[row].base, records[row].style) for row in everyday)
    known = set(everyday)
    shown: list[Shown] = []
    weights: list[float] = []

    def add(row: int, times: int, weight: float) -> None:
        shown.extend(Shown(row, draw_scene(records[row], rng)) for _ in range(times))
        weights.extend([weight / times] * times)

    of_others = sum(record.weight for row, record in enumerate(records) if row not in known) or 1.0
    share = EVERYDAY_SHARE / max(1, len(alike))
    for row, record in enumerate(records):
        if row in known:
            same = alike[record.base, record.style]
            add(row, max(1, SCENES // same), share / same)
        else:
            others = (1 - EVERYDAY_SHARE - PAIR_SHARE) * record.weight / of_others
            add(row, max(1, round(VARIANTS * record.weight)), others)
    signs: dict[str, dict[str, list[int]]] = {}
    for row in everyday:
        signs.setdefault(records[row].style, {}).setdefault(records[row].base, []).append(row)
    for _ in range(PAIRS if everyday else 0):
        # By sign, not by picture: people come in six tones.
        same_style = list(signs[rng.choice(list(signs))].values())
        left, beside = (rng.choice(rng.choice(same_style)) for _ in range(2))
        scene = draw_scene(records[left], rng)
        shown.append(Shown(left, Scene(scene.background, "", records[beside].flips and scene.mirrored), beside))
        weights.append(PAIR_SHARE / PAIRS)
    return shown, weights


def said_of(shown: Shown, records: list[Record], rng: Random) -> str:
    """A true caption. A mirrored pair is told in the order in which it is seen."""
    record = records[shown.row]
    if shown.beside >= 0:
        other = records[shown.beside]
        record = both(other, record) if shown.scene.mirrored else both(record, other)
    return caption(record, shown.scene, rng, empty=0)


def seen(pictures: NDArray[np.uint8], shown: Shown) -> NDArray[np.float32]:
    """The picture, float (3, H, W) in [-1, 1]."""
    picture = pictures[shown.row]
    if shown.beside >= 0:
        picture = side_by_side(picture, pictures[shown.beside])
    return show(picture, shown.scene)


def encode(codec: Codec, pictures: NDArray[np.uint8], planned: list[Shown]) -> Tensor:
    """Scaled latents of the planned pictures, (N, C, h, w), fp16."""
    parts: list[Tensor] = []
    for start in range(0, len(planned), 256):
        real = torch.from_numpy(np.stack([seen(pictures, shown) for shown in planned[start : start + 256]]))
        parts.append((codec.latents(real) * codec.scale).half())
    return torch.cat(parts)


def padded(tokenizer: CLIPTokenizer, texts: Sequence[str]) -> Tensor:
    """Ids (B, KEPT_TOKENS)."""
    return torch.as_tensor(
        tokenizer(
            list(texts), padding="max_length", max_length=KEPT_TOKENS, truncation=True, return_tensors="pt"
        ).input_ids
    )


@torch.no_grad()
def embed(work: Path, said: list[str], *, shape: Geometry = SMALL, device: torch.device | str = "cpu") -> None:
    """Writes the text tower's states of every caption, fp16 (len(said), KEPT_TOKENS, 256), to `work/captions.npy`."""
    tower, tokenizer = towers.load_text(work, shape).to(torch.device(device)), towers.learn_tokenizer(work)
    extent = (len(said), KEPT_TOKENS, geometry.TEXT_WIDTH)
    pool = np.lib.format.open_memmap(work / POOL, mode="w+", dtype=np.float16, shape=extent)
    for start in range(0, len(said), 128):
        ids = padded(tokenizer, said[start : start + 128])
        with running.half(device):
            states = tower(input_ids=ids.to(device)).last_hidden_state
        pool[start : start + 128] = states.float().cpu().numpy()
        if start % 12800 == 0:
            print(f"denoiser: embedded {start} of {len(said)} captions", flush=True)
    pool.flush()


def cache(work: Path, *, seed: int, shape: Geometry = SMALL, device: torch.device | str = "cpu") -> None:
    """Leaves `work/latents.safetensors` (scaled latents, draw weights, caption numbers) and the caption pool.

    Caption number 0 is the empty caption; each cached picture has two, the same one twice if it is rare or of a pair.
    """
    rng = Random(seed)
    pictures, records = data.load(work, size=shape.size)
    planned, weights = plan(records, rng)
    numbers: dict[str, int] = {"": 0}
    choice = np.zeros((len(planned), 2), dtype=np.int64)
    for place, shown in enumerate(planned):
        for column in range(2 if records[shown.row].weight >= 0.3 and shown.beside < 0 else 1):
            choice[place, column:] = numbers.setdefault(said_of(shown, records, rng), len(numbers))
    print(f"denoiser: {len(planned)} shown pictures, {len(numbers)} different captions", flush=True)
    embed(work, list(numbers), shape=shape, device=device)
    latents = encode(autoencoder.codec(work, shape, device), pictures, planned)
    drawn = torch.tensor(weights, dtype=torch.float64)
    tensors = {"latents": latents, "weights": drawn, "captions": torch.from_numpy(choice)}
    running.save(work / "latents.safetensors", tensors, {})


def whole(states: Tensor) -> Tensor:
    """Kept states (B, KEPT_TOKENS, D) with the padding behind them again, (B, 77, D)."""
    return torch.cat([states, states[:, -1:].expand(-1, geometry.TOKENS - KEPT_TOKENS, -1)], dim=1)


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
            places = [*range(1, 9), *range(12, KEPT_TOKENS, 3)]
            lens = lenses.fit(torch.from_numpy(sample[:, places]).float().flatten(0, 1))
            lenses.save(lens, work)
        self.centre, self.whiten = lens.centre, torch.linalg.inv(lens.spread)

    def draw(self, count: int) -> tuple[Tensor, Tensor]:
        """Random scaled latents (B, C, 8, 8), each with the whitened states (B, 77, 256) of one of its captions."""
        picked = torch.multinomial(self.weights, count, replacement=True)
        said = self.captions[picked, torch.randint(0, 2, (count,))]
        said[torch.rand(count) < EMPTY] = 0
        states = (torch.from_numpy(self.pool[said.numpy()]).float() - self.centre) @ self.whiten
        return self.latents[picked].float(), whole(states)


def loss_of(module: torch.nn.Module, latents: Tensor, states: Tensor, signal: Tensor) -> Tensor:
    """Mean squared error of v. latents (B, C, 8, 8), states (B, 77, 256), signal (1000,): share left per step."""
    count = len(latents)
    # One draw from each of B equal slices: less noise in the loss than independent draws. Three in four fall
    # into the noisier 60 % of the table, where the words decide.
    slices = (torch.arange(count) + torch.rand(count)) / count
    places = torch.where(slices < 0.25, 1.6 * slices, 0.4 + 0.8 * (slices - 0.25))
    steps = (places * len(signal)).long().clamp(max=len(signal) - 1)[torch.randperm(count)]
    device = running.device_of(module)
    latents, states, steps, keep = running.moved(device, latents, states, steps, signal[steps].view(-1, 1, 1, 1))
    noise = torch.randn_like(latents)
    noisy = keep.sqrt() * latents + (1 - keep).sqrt() * noise
    target = keep.sqrt() * noise - (1 - keep).sqrt() * latents
    with running.half(device):
        made = module(noisy, steps, states).sample
    return functional.mse_loss(made.float(), target)


def begun_from(start: Path | None, shape: Geometry = SMALL) -> UNet2DConditionModel:
    """An untrained denoiser, or the averaged weights of another's checkpoint but for what it made of another tower's
    states."""
    module = geometry.denoiser(shape=shape)
    if start is not None:
        known = running.part(running.load(start)[0], "average")
        of_words = (".attn2.to_k.", ".attn2.to_v.")
        kept = {name: value for name, value in known.items() if not any(part in name for part in of_words)}
        module.load_state_dict(kept, strict=False)
    return module


def train(
    work: Path,
    *,
    minutes: float,
    seed: int,
    resume: bool,
    start: Path | None = None,
    shape: Geometry = SMALL,
    device: torch.device | str = "cpu",
) -> None:
    """Trains for `minutes` and leaves `work/denoiser.safetensors`; builds the cache first if there is none."""
    if not (work / "latents.safetensors").exists():
        cache(work, seed=seed, shape=shape, device=device)
    torch.manual_seed(seed)
    cached = Cache(work)
    signal = geometry.scheduler(shape).alphas_cumprod.float()
    run = running.begin(begun_from(start, shape), minutes=minutes, peak=PEAK, decay=0.999, device=device)
    batch, parts = (GPU_BATCH, 1) if run.device.type == "cuda" else (BATCH, SHARDS)
    path = work / "denoiser.safetensors"
    if resume and path.exists():
        run.resume(path)
    began, first = run.budget.seconds(), run.step
    over = run.step > 0 and run.budget.share() >= 1
    while not over:
        shards = [cached.draw(batch // parts) for _ in range(parts)]
        run.advance(*[partial(loss_of, run.module, *shard, signal) for shard in shards])
        if run.step % 50 == 0:
            speed = (run.step - first) * batch / (run.budget.seconds() - began)
            print(f"denoiser: step {run.step} loss {run.loss:.4f} {speed:.0f}/s {run.budget.share():.1%}", flush=True)
        over = run.budget.share() >= 1
        if over or run.due(240):
            run.save(path)
