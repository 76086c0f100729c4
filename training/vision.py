"""Train a vision tower, and a projection of the text, against the frozen text tower: together they are a CLIPModel.

    python -m training.vision train --minutes 20      work/vision.safetensors
    python -m training.vision export                  models/starter-vision, without the text tower
    python -m training.vision measure                 zero-shot labels and search, counted; put into the card

Captions and 64 x 64 pictures are pulled together by CLIP's symmetric contrastive loss (Radford et al. 2021). A caption
of the grammar may be true of several pictures in the batch ("health worker" of all five skin tones), and half of each
batch are close relatives, so every caption is compared with the truth about every picture, and what is equally right
shares its target. Some signs of people are held out, in every style, so that what is measured on them is not memory.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import shutil
from collections.abc import Iterable, Sequence
from pathlib import Path
from random import Random

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import numpy as np
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn import functional
from transformers import (
    CLIPConfig,
    CLIPImageProcessorPil,
    CLIPModel,
    CLIPProcessor,
    CLIPTextConfig,
    CLIPTextModelWithProjection,
    CLIPTokenizer,
    CLIPVisionConfig,
    CLIPVisionModelWithProjection,
)

from training import data, geometry, running, towers
from training.captions import caption, draw_scene
from training.claims import Shown, claims_of, facts_of, true_of
from training.pairs import halved
from training.pictures import batch

SIZE = 64
WIDTH = geometry.TEXT_WIDTH
BATCH = 128
PEAK = 1.5e-3
LIMIT = 3 * 2**20  # bytes
KEPT = ("README.md",)


class Mismatch(Exception):
    """The vision tower was trained against another text tower."""


def contrastive(logits: Tensor, true: Tensor) -> Tensor:
    """Symmetric cross-entropy of captions (rows) by pictures (columns); what is equally right shares its target."""
    right = true.float()
    rows = (right / right.sum(dim=1, keepdim=True) * logits.log_softmax(dim=1)).sum() / len(logits)
    columns = (right / right.sum(dim=0, keepdim=True) * logits.log_softmax(dim=0)).sum() / len(logits)
    return -(rows + columns) / 2


def vision_config(size: int = SIZE, layers: int = 3) -> CLIPVisionConfig:
    """Patches of 8, one million weights."""
    return CLIPVisionConfig(
        hidden_size=192,
        intermediate_size=384,
        projection_dim=WIDTH,
        num_hidden_layers=layers,
        num_attention_heads=4,
        image_size=size,
        patch_size=8,
    )


class Sight(nn.Module):
    """What is learned: the vision tower, the projection of the text tower's state, and the temperature."""

    begun: Tensor
    trunk: Tensor

    def __init__(self, config: CLIPVisionConfig | None = None) -> None:
        super().__init__()
        self.vision = CLIPVisionModelWithProjection(config or vision_config())
        self.words = nn.Linear(WIDTH, WIDTH, bias=False)
        self.scale = nn.Parameter(torch.tensor(2.6))  # log of the inverse temperature
        self.register_buffer("begun", torch.zeros(1, dtype=torch.uint8))  # 1 after a start that had seen all signs
        self.register_buffer("trunk", torch.zeros(32, dtype=torch.uint8))  # hash of the text tower it goes with

    def forward(self, states: Tensor, pixels: Tensor) -> Tensor:
        """States at the end tokens (B, 256) and pixels (B, 3, 64, 64) in [-1, 1] to logits, captions by pictures."""
        words = functional.normalize(self.words(states).float(), dim=-1)
        sights = functional.normalize(self.vision(pixel_values=pixels).image_embeds.float(), dim=-1)
        return words @ sights.T * self.scale.clamp(max=4.6).exp()


@torch.no_grad()
def states_of(trunk: CLIPTextModelWithProjection, tokenizer: CLIPTokenizer, texts: Sequence[str]) -> Tensor:
    """The text tower's states at the end tokens (B, 256); short texts are not padded to the length of long ones."""
    order = sorted(range(len(texts)), key=lambda place: len(texts[place]))
    out = torch.empty(len(texts), WIDTH)
    for start in range(0, len(order), 32):
        places = order[start : start + 32]
        ids = towers.tokens(tokenizer, [texts[place] for place in places])
        out[places] = trunk.text_model(input_ids=ids).pooler_output.float()
    return out


def seen_from(pixels: Tensor, generator: torch.Generator) -> Tensor:
    """Pictures (B, 3, H, W) a little nearer or farther and off the middle, edges continued, so that outlines count
    wherever they lie."""
    scale = 0.85 + 0.3 * torch.rand(len(pixels), generator=generator)
    shift = 0.2 * torch.rand(len(pixels), 2, generator=generator) - 0.1
    turn = torch.zeros(len(pixels), 2, 3)
    turn[:, 0, 0] = turn[:, 1, 1] = scale
    turn[:, :, 2] = shift
    grid = functional.affine_grid(turn, list(pixels.shape), align_corners=False)
    return functional.grid_sample(pixels, grid, padding_mode="border", align_corners=False)


def begin_from(sight: Sight, checkpoint: Path) -> None:
    """Takes over the vision tower of an earlier training; layers that it lacks begin as ones that change nothing.

    That tower may have been shown the signs that are held out here, so nothing counts as held out any more.
    """
    known = running.part(running.part(running.load(checkpoint)[0], "average"), "vision")
    lacking = sight.vision.load_state_dict(known, strict=False).missing_keys
    with torch.no_grad():
        sight.begun.fill_(1)
        for name in lacking:
            if ".out_proj." in name or ".fc2." in name:
                sight.vision.get_parameter(name).zero_()


@torch.no_grad()
def fit_words(sight: Sight, states: Tensor, pixels: Tensor, *, ridge: float = 1.0) -> None:
    """The projection of the text by ridge regression onto what the vision tower sees already."""
    seen = torch.cat([sight.vision(pixel_values=part).image_embeds for part in torch.split(pixels, BATCH)])
    seen = functional.normalize(seen, dim=-1)
    gram = states.T @ states + ridge * torch.eye(WIDTH)
    sight.words.weight.copy_(torch.linalg.solve(gram, states.T @ (seen - seen.mean(dim=0))).T)


def train(work: Path, *, minutes: float, seed: int, resume: bool, start: Path | None = None) -> None:
    """Trains for `minutes` against the text tower in `work` and leaves `work/vision.safetensors`.

    A run may go on after the text tower was trained further: then the projection is fitted to it first. `start` is a
    checkpoint whose vision tower to begin with.
    """
    torch.manual_seed(seed)
    rng, generator = Random(seed), torch.Generator().manual_seed(seed)
    tokenizer, trunk = towers.learn_tokenizer(work), towers.load_text(work)
    pictures, records = data.load(work)
    small = np.stack([halved(pictures[row]) for row in range(len(pictures))])
    shown = Shown(records)
    sight = Sight()
    if start:
        begin_from(sight, start)
    run = running.begin(sight, minutes=minutes, peak=PEAK, decay=0.995, weight_decay=0.05)
    path = work / "vision.safetensors"
    if resume and path.exists():
        run.resume(path)
        rng.seed(seed + run.step)

    def drawn() -> tuple[Tensor, Tensor, Tensor]:
        """States of captions, pixels of pictures, and what is true of what."""
        rows = shown.draw(rng, BATCH)
        scenes = [draw_scene(records[row], rng) for row in rows]
        texts = [caption(records[row], scene, rng, empty=0) for row, scene in zip(rows, scenes, strict=True)]
        facts = [facts_of(records[row], scene, shown.kin[row]) for row, scene in zip(rows, scenes, strict=True)]
        true = true_of([claims_of(text, so) for text, so in zip(texts, facts, strict=True)], facts)
        return states_of(trunk, tokenizer, texts), seen_from(batch(small, rows, scenes), generator), true

    present = torch.tensor([*bytes.fromhex(trunk_sha256(trunk.state_dict().items()))], dtype=torch.uint8)
    if not torch.equal(sight.trunk, present):
        if start or run.step:
            met = [drawn() for _ in range(16)]
            fit_words(sight, torch.cat([states for states, _, _ in met]), torch.cat([pixels for _, pixels, _ in met]))
        sight.trunk.copy_(present)
        run.average.weights |= {"trunk": present.float(), "words.weight": sight.words.weight.detach().clone()}
    over, hits = False, 0.0
    while not over:
        states, pixels, true = drawn()
        logits = torch.empty(0)

        def loss(states: Tensor = states, pixels: Tensor = pixels, true: Tensor = true) -> Tensor:
            nonlocal logits
            with torch.autocast("cpu", torch.bfloat16):
                logits = run.module(states, pixels)
            return contrastive(logits.float(), true)

        run.advance(loss)
        hits = 0.95 * hits + 0.05 * float(true.gather(1, logits.argmax(dim=1, keepdim=True)).float().mean())
        if run.step % 25 == 0:
            note = f"step {run.step} loss {run.loss:.3f} top-1 {hits:.0%} of {BATCH} {run.budget.share():.0%}"
            print(f"vision: {note}", flush=True)
        over = run.budget.share() >= 1
        if over or run.due(60):
            run.save(path)


def trained(work: Path) -> Sight:
    """The averaged weights in `work`."""
    sight = Sight()
    sight.load_state_dict(running.part(running.load(work / "vision.safetensors")[0], "average"))
    return sight.eval()


def trunk_sha256(tensors: Iterable[tuple[str, Tensor]]) -> str:
    """Of a text tower without its projection, by names and fp16 values: the same however its file is laid out."""
    digest = hashlib.sha256()
    plain = {name.removeprefix("text_model."): value for name, value in tensors}
    for name in sorted(plain.keys() - {"text_projection.weight"}):
        digest.update(name.encode() + plain[name].detach().half().contiguous().numpy().tobytes())
    return digest.hexdigest()


def image_processor(size: int = SIZE) -> CLIPImageProcessorPil:
    """Pictures to pixel values in [-1, 1], smoothed by boxes as the art was."""
    return CLIPImageProcessorPil(
        size={"shortest_edge": size},
        crop_size={"height": size, "width": size},
        resample=4,
        image_mean=[0.5, 0.5, 0.5],
        image_std=[0.5, 0.5, 0.5],
    )


def save_pair(sight: Sight, trunk: CLIPTextModelWithProjection, target: Path) -> int:
    """Writes a vision folder, replacing it in one rename; gives its size in bytes."""
    draft = target.with_name(target.name + ".new")
    old = target.with_name(target.name + ".old")
    for leftover in (draft, old):
        shutil.rmtree(leftover, ignore_errors=True)
    draft.mkdir(parents=True)
    tensors = dict(sight.vision.state_dict())
    tensors |= {"text_projection.weight": sight.words.weight, "logit_scale": sight.scale.clamp(max=4.6)}
    halves = {name: value.detach().half().contiguous() for name, value in tensors.items() if value.is_floating_point()}
    fits = trunk_sha256(trunk.state_dict().items())
    facts = {"format": "pt", "text_encoder_sha256": fits, "held_out": str(int(not sight.begun.item()))}
    save_file(halves, draft / "model.safetensors", metadata=facts)
    (draft / "model.safetensors").chmod(0o644)
    config = {**sight.vision.config.to_dict(), "architectures": ["CLIPVisionModelWithProjection"], "dtype": "float32"}
    (draft / "config.json").write_text(json.dumps(config, indent=2, sort_keys=True) + "\n", encoding="utf-8")
    image_processor(sight.vision.config.image_size).save_pretrained(draft)
    for name in KEPT:
        if (target / name).exists():
            shutil.copy2(target / name, draft / name)
    size = sum(file.stat().st_size for file in draft.rglob("*") if file.is_file())
    if target.exists():
        target.replace(old)
    draft.replace(target)
    shutil.rmtree(old, ignore_errors=True)
    return size


def export(work: Path, out: Path) -> int:
    """Exports what is trained in `work` to `out`; gives the size in bytes."""
    sight = trained(work)
    count = sum(value.numel() for value in sight.parameters())
    if 2 * count > LIMIT:
        raise ValueError(f"{count} weights take {2 * count / 2**20:.2f} MiB, the limit is {LIMIT / 2**20:.0f} MiB.")
    trunk = towers.load_text(work)
    if bytes(sight.trunk.tolist()).hex() != trunk_sha256(trunk.state_dict().items()):
        raise Mismatch("The text tower was trained further: go on with train --resume first.")
    size = save_pair(sight, trunk, out)
    print(f"export: {count} weights, {size / 2**20:.2f} MiB in {out}", flush=True)
    return size


def load_clip(starter: Path, vision: Path) -> tuple[CLIPModel, CLIPProcessor]:
    """A stock CLIPModel of the starter's text encoder and a vision folder, float32, and its processor.

    Raises Mismatch if they were not trained together.
    """
    words, sights = load_file(starter / "text_encoder" / "model.safetensors"), load_file(vision / "model.safetensors")
    with safe_open(vision / "model.safetensors", "pt") as file:
        wanted = (file.metadata() or {}).get("text_encoder_sha256")
    if trunk_sha256(words.items()) != wanted:
        raise Mismatch(f"{vision} was trained with another text encoder than {starter}'s: train and export it again.")
    text = CLIPTextConfig.from_pretrained(starter / "text_encoder")
    sight = CLIPVisionConfig.from_pretrained(vision)
    model = CLIPModel(CLIPConfig(text_config=text, vision_config=sight, projection_dim=sight.projection_dim)).float()
    words = {f"text_model.{name.removeprefix('text_model.')}": value for name, value in words.items()}
    model.load_state_dict({name: value.float() for name, value in (words | sights).items()})
    images = CLIPImageProcessorPil.from_pretrained(vision)
    return model.eval(), CLIPProcessor(images, CLIPTokenizer.from_pretrained(starter / "tokenizer"))


def main(arguments: Sequence[str] | None = None) -> None:
    """Trains, exports or measures."""
    parser = argparse.ArgumentParser(
        prog="python -m training.vision", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("stage", choices=("train", "export", "measure"))
    parser.add_argument("--work", type=Path, default=Path("training/work"), help="arrays and checkpoints")
    parser.add_argument("--minutes", type=float, default=20.0, help="time budget, resumed parts included")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--resume", action="store_true", help="go on from the last checkpoint")
    parser.add_argument("--start", type=Path, help="a vision tower to begin with; nothing is held out then")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--model", type=Path, default=Path("models/starter"), help="whose text encoder it goes with")
    parser.add_argument("--out", type=Path, default=Path("models/starter-vision"))
    options = parser.parse_args(arguments)
    torch.set_num_threads(options.threads)
    if options.stage == "train":
        timing = {"minutes": options.minutes, "seed": options.seed, "resume": options.resume}
        train(options.work, **timing, start=options.start)
    elif options.stage == "export":
        export(options.work, options.out)
    else:
        from training import zero_shot

        zero_shot.write(options.work, options.model, options.out)


if __name__ == "__main__":
    main()
