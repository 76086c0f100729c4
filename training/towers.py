"""Train the text tower against a small vision tower, then freeze it for the denoiser.

Captions and 64 x 64 pictures are pulled together by CLIP's symmetric contrastive loss. Captions are cut to
the longest of the batch: attention is causal, so padding behind the end token changes nothing before it.
"""

from __future__ import annotations

from pathlib import Path
from random import Random

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional
from transformers import CLIPTextModelWithProjection, CLIPTokenizer

from training import data, geometry, running
from training.captions import caption, draw_scene, vocabulary_texts
from training.pictures import batch

BATCH = 128
PEAK = 1e-3


class Towers(nn.Module):
    """Text tower, vision tower and the contrastive temperature."""

    def __init__(self) -> None:
        super().__init__()
        self.text = geometry.text_tower()
        self.vision = geometry.vision_tower()
        self.scale = nn.Parameter(torch.tensor(2.6))  # log of the inverse temperature

    def forward(self, ids: Tensor, pixels: Tensor) -> Tensor:
        """Token ids (B, T) and pixels (B, 3, 64, 64) in [-1, 1] to logits (B, B), captions by pictures."""
        words = functional.normalize(self.text(input_ids=ids).text_embeds.float(), dim=-1)
        sights = functional.normalize(self.vision(pixel_values=pixels).image_embeds.float(), dim=-1)
        return words @ sights.T * self.scale.clamp(max=4.6).exp()


def contrastive(logits: Tensor, same: Tensor) -> Tensor:
    """Symmetric cross-entropy; `same` (B, B) marks pairs that are equally right, which are shared out evenly."""
    target = same.float() / same.float().sum(dim=1, keepdim=True)
    rows = -(target * logits.log_softmax(dim=1)).sum(dim=1).mean()
    columns = -(target * logits.log_softmax(dim=0).T).sum(dim=1).mean()
    return (rows + columns) / 2


def tokens(tokenizer: CLIPTokenizer, captions: list[str]) -> Tensor:
    """Ids (B, T), cut to the longest caption of the batch."""
    ids = tokenizer(captions, padding="longest", truncation=True, return_tensors="pt").input_ids
    return torch.as_tensor(ids)


def learn_tokenizer(work: Path) -> CLIPTokenizer:
    """Trains the tokenizer on all captions, or reads it if it is there."""
    folder = work / "tokenizer"
    if not (folder / "vocab.json").exists():
        folder.mkdir(parents=True, exist_ok=True)
        tokenizer = geometry.train_tokenizer(vocabulary_texts(data.load(work)[1]))
        geometry.save_tokenizer(tokenizer, folder)
    return CLIPTokenizer.from_pretrained(folder)


def train(work: Path, *, minutes: float, seed: int, resume: bool) -> None:
    """Trains for `minutes` and leaves `work/tokenizer/` and `work/towers.safetensors`."""
    torch.manual_seed(seed)
    rng = Random(seed)
    tokenizer = learn_tokenizer(work)
    pictures, records = data.load(work)
    # 64 pixels are enough to name a sign: average premultiplied 2 x 2 blocks once.
    small = np.stack([_half(pictures[row]) for row in range(len(pictures))])
    weights = [record.weight**0.5 for record in records]
    run = running.begin(Towers(), minutes=minutes, peak=PEAK, decay=0.995, weight_decay=0.05)
    path = work / "towers.safetensors"
    if resume and path.exists():
        run.resume(path)
        rng.seed(seed + run.step)
    hits = 0.0
    over = False
    while not over:
        rows = rng.choices(range(len(records)), weights, k=BATCH)
        scenes = [draw_scene(records[row], rng) for row in rows]
        said = [caption(records[row], scene, rng) for row, scene in zip(rows, scenes, strict=True)]
        ids, pixels = tokens(tokenizer, said), batch(small, rows, scenes)
        names = torch.tensor([said.index(text) for text in said])
        same = names[:, None] == names[None, :]
        logits = torch.empty(0)

        def loss(ids: Tensor = ids, pixels: Tensor = pixels, same: Tensor = same) -> Tensor:
            nonlocal logits
            with torch.autocast("cpu", torch.bfloat16):
                logits = run.module(ids, pixels)
            return contrastive(logits.float(), same)

        run.advance(loss)
        hits = 0.95 * hits + 0.05 * float(same.gather(1, logits.argmax(dim=1, keepdim=True)).float().mean())
        if run.step % 50 == 0:
            note = f"step {run.step} loss {run.loss:.3f} top-1 {hits:.0%} of {BATCH} {run.budget.share():.0%}"
            print(f"towers: {note}", flush=True)
        over = run.budget.share() >= 1
        if over or run.due(120):
            run.save(path)


def _half(picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Uint8 (H, W, 4) to (H / 2, W / 2, 4) by averaging."""
    height, width, layers = picture.shape
    blocks = picture.reshape(height // 2, 2, width // 2, 2, layers).astype(np.uint16)
    mean: NDArray[np.uint8] = ((blocks.sum(axis=(1, 3)) + 2) // 4).astype(np.uint8)
    return mean


def load_text(work: Path) -> CLIPTextModelWithProjection:
    """The trained text tower (averaged weights)."""
    towers = Towers()
    towers.load_state_dict(running.part(running.load(work / "towers.safetensors")[0], "average"))
    return towers.text.eval()
