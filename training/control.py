"""Teach the starter model to follow edges: a small ControlNet for hints drawn by the studio's own Canny.

    python -m training.control data --source art --parts 64    the real art behind the latent cache
    python -m training.control data --source own --parts 16    pictures the starter drew itself
    python -m training.control train --minutes 30 [--resume]
    python -m training.control measure                         do controlled pictures have the hint's edges?
    python -m training.control export                          the diffusers folder, fp16

The denoiser stays as it is; the loss is its own, over noisy latents of pictures whose edges are known. "own" needs
nothing but the exported model, "art" the files of the earlier stages. Part 0 of each source is held out of training;
in "own" it holds concepts that no other part has.
"""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from random import Random
from typing import Any

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # before torch: spinning threads starve a small machine

import cv2
import numpy as np
import torch
from diffusers import ControlNetModel, StableDiffusionControlNetPipeline, StableDiffusionPipeline, UNet2DConditionModel
from PIL import Image
from torch import Tensor, nn

from backend.preprocessors import preprocess
from backend.types import Pixels
from training import denoiser, geometry, running, sheet
from training.captions import COLOURS, SYNONYMS, article
from training.everyday import EVERYDAY

PART = 64  # pictures in a file
BATCH = 32
PEAK = 1e-3
UNWORDED = 0.3  # share of pictures shown without their caption, so that edges must speak for themselves
HELD_CONCEPTS = 16
REACH = 2  # pixels by which an edge may miss and still count
LIMIT = 6 * 2**20
HINT_CHANNELS = (16, 32, 64, 96, 128)


def build(unet: UNet2DConditionModel) -> ControlNetModel:
    """A copy of the denoiser's encoder without its attention to words, which the denoiser itself still has."""
    shape = unet.config
    net = ControlNetModel(
        in_channels=shape.in_channels,
        block_out_channels=shape.block_out_channels,
        layers_per_block=shape.layers_per_block,
        down_block_types=("DownBlock2D",) * len(shape.block_out_channels),
        mid_block_type="UNetMidBlock2D",
        cross_attention_dim=shape.cross_attention_dim,
        attention_head_dim=shape.attention_head_dim,
        norm_num_groups=shape.norm_num_groups,
        conditioning_embedding_out_channels=HINT_CHANNELS,
    )
    known, wanted = unet.state_dict(), net.state_dict()
    shared = {name: known[name] for name, value in wanted.items() if name in known and known[name].shape == value.shape}
    net.load_state_dict(shared, strict=False)
    return net


class Guided(nn.Module):
    """The denoiser with edges: callable like the denoiser alone, so that its loss can be used."""

    def __init__(self, unet: UNet2DConditionModel, net: ControlNetModel, hints: Tensor) -> None:
        super().__init__()
        self.unet, self.net, self.hints = unet, net, hints

    def forward(self, noisy: Tensor, steps: Tensor, states: Tensor) -> Any:
        down, mid = self.net(
            noisy, steps, encoder_hidden_states=states, controlnet_cond=self.hints, return_dict=False
        )  # fmt: skip
        return self.unet(
            noisy,
            steps,
            encoder_hidden_states=states,
            down_block_additional_residuals=down,
            mid_block_additional_residual=mid,
        )


# ---- pictures with known latents and words


def prompts(part: int, rng: Random) -> list[str]:
    """PART captions in the grammar of the training; part 0 keeps its concepts to itself."""
    concepts = sorted(EVERYDAY)
    held = concepts[:: len(concepts) // HELD_CONCEPTS][:HELD_CONCEPTS]
    pool = held if part == 0 else [concept for concept in concepts if concept not in held]
    return [_caption(rng.choice(pool), rng) for _ in range(PART)]


def _caption(concept: str, rng: Random) -> str:
    text = article(concept)
    if rng.random() < 0.4:
        text += f" on {article(rng.choice(list(COLOURS)))} background"
    return f"{text}, {rng.choice(SYNONYMS[rng.choice(list(SYNONYMS))])}"


@torch.no_grad()
def words(pipeline: StableDiffusionPipeline, said: list[str]) -> Tensor:
    """States of captions, (N, 77, 256)."""
    ids = pipeline.tokenizer(said, padding="max_length", truncation=True, return_tensors="pt").input_ids
    states: Tensor = pipeline.text_encoder(ids).last_hidden_state
    return states


@torch.no_grad()
def pixels(pipeline: StableDiffusionPipeline, latents: Tensor) -> Tensor:
    """Scaled latents (N, C, 8, 8) to pictures, uint8 (N, 128, 128, 3)."""
    parts = [
        pipeline.vae.decode(some.float() / pipeline.vae.config.scaling_factor, return_dict=False)[0]
        for some in torch.split(latents, 16)
    ]
    return ((torch.cat(parts) / 2 + 0.5).clamp(0, 1) * 255).round().to(torch.uint8).permute(0, 2, 3, 1)


def draw_own(pipeline: StableDiffusionPipeline, _: Path, part: int, seed: int) -> dict[str, Tensor]:
    """A part of pictures the model draws itself, twenty steps each."""
    states = words(pipeline, prompts(part, Random(seed * 1000 + part)))
    nothing = words(pipeline, [""])
    noise = torch.Generator().manual_seed(seed * 1000 + part)
    drawn: list[Tensor] = []
    for some in torch.split(states, 16):
        with torch.autocast("cpu", torch.bfloat16):
            drawn.append(
                pipeline(
                    prompt_embeds=some, negative_prompt_embeds=nothing.expand_as(some), output_type="latent",
                    height=geometry.SIZE, width=geometry.SIZE, num_inference_steps=sheet.STEPS,
                    guidance_scale=sheet.GUIDANCE, generator=noise,
                ).images.float()
            )  # fmt: skip
    return {"latents": torch.cat(drawn), "states": states}


def draw_art(_: StableDiffusionPipeline, work: Path, part: int, seed: int) -> dict[str, Tensor]:
    """A part of the cache the denoiser was trained on: real art in the scenes it was shown in."""
    tensors, _facts = running.load(work / "latents.safetensors")
    chosen = torch.multinomial(
        tensors["weights"], len(tensors["weights"]), generator=torch.Generator().manual_seed(seed)
    )[part * PART : (part + 1) * PART]  # fmt: skip
    pool = np.load(work / denoiser.POOL, mmap_mode="r")
    return {
        "latents": tensors["latents"][chosen].float(),
        "states": torch.from_numpy(pool[tensors["captions"][chosen, 0].numpy()]).float(),
    }


SOURCES: Mapping[str, Callable[[StableDiffusionPipeline, Path, int, int], dict[str, Tensor]]] = {
    "own": draw_own,
    "art": draw_art,
}


def prepare(model: Path, work: Path, source: str, parts: int, seed: int) -> None:
    """Leaves `work/control/SOURCE-0000.safetensors` and so on; goes on behind those that are there."""
    pipeline = sheet.load(model)
    sheet.use(pipeline, "Euler a")
    for number in range(parts):
        path = work / "control" / f"{source}-{number:04d}.safetensors"
        if path.exists():
            continue
        tensors = SOURCES[source](pipeline, work, number, seed)
        pictures = pixels(pipeline, tensors["latents"])
        halves = {name: tensor.half() for name, tensor in tensors.items()}
        running.save(path, {**halves, "pictures": pictures}, {})
        print(f"control: {source} part {number + 1} of {parts}", flush=True)


def edges(picture: Pixels, low: float = 100, high: float = 200) -> Pixels:
    """The hint of a picture, (128, 128, 3)."""
    size = picture.shape[0]
    return preprocess("canny", picture, width=size, height=size, low=low, high=high)


@dataclass(frozen=True, slots=True)
class Pictures:
    """Scaled latents (N, C, 8, 8), states (N, 77, 256) and pictures (N, 128, 128, 3), all held in memory."""

    latents: Tensor
    states: Tensor
    pictures: Tensor

    @classmethod
    def read(cls, work: Path, *, held: bool) -> Pictures:
        """The held-out part of every source, or all the others."""
        paths = sorted(path for path in (work / "control").glob("*-*.safetensors") if ("-0000" in path.name) == held)
        if not paths:
            raise SystemExit("There are no pictures yet: run `python -m training.control data` with --parts 2 or more.")
        parts = [running.load(path)[0] for path in paths]
        return cls(*(torch.cat([part[name] for part in parts]) for name in ("latents", "states", "pictures")))

    def draw(self, count: int, nothing: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Random latents, states (some of them `nothing`) and hints (B, 3, 128, 128), each with its own thresholds."""
        chosen = torch.randint(0, len(self.latents), (count,))
        states = self.states[chosen].float()
        states[torch.rand(count) < UNWORDED] = nothing
        low = torch.randint(30, 120, (count,)).tolist()
        hints = [edges(self.pictures[row].numpy(), first, 2 * first) for row, first in zip(chosen, low, strict=True)]
        return self.latents[chosen].float(), states, as_hints(hints)


def as_hints(hints: list[Pixels]) -> Tensor:
    """Hints (H, W, 3) as a net takes them: (N, 3, H, W) in [0, 1]."""
    return torch.from_numpy(np.stack(hints)).permute(0, 3, 1, 2).float() / 255


# ---- stages


def train(model: Path, work: Path, *, minutes: float, seed: int, resume: bool, shards: int) -> None:
    """Trains for `minutes`, resumed parts included, and leaves `work/control/net.safetensors`."""
    torch.manual_seed(seed)
    pipeline = sheet.load(model)
    unet = pipeline.unet.requires_grad_(False)
    nothing = words(pipeline, [""])[0]
    known = Pictures.read(work, held=False)
    signal = geometry.scheduler().alphas_cumprod.float()
    net = build(unet)
    run = running.begin(net, minutes=minutes, peak=PEAK, decay=0.998)
    path = work / "control" / "net.safetensors"
    if resume and path.exists():
        run.resume(path)
        torch.manual_seed(seed + run.step)
    began, first, over = run.budget.seconds(), run.step, False
    while not over:
        losses = []
        for _ in range(shards):
            latents, states, hints = known.draw(BATCH // shards, nothing)
            losses.append(partial(denoiser.loss_of, Guided(unet, net, hints), latents, states, signal))
        run.advance(*losses)
        if run.step % 25 == 0:
            speed = (run.budget.seconds() - began) / (run.step - first) * 100
            spent = run.budget.share()
            print(f"control: step {run.step} loss {run.loss:.4f} {speed:.0f} s per 100 steps {spent:.1%}", flush=True)
        over = run.budget.share() >= 1
        if over or run.due(120):
            run.save(path)


def trained(model: Path, work: Path) -> ControlNetModel:
    """The averaged weights of the last checkpoint."""
    net = build(sheet.load(model).unet)
    net.load_state_dict(running.part(running.load(work / "control" / "net.safetensors")[0], "average"))
    return net.eval()


def agreement(made: Pixels, hint: Pixels) -> float:
    """F1 of the edges of a picture against a hint, where an edge may miss by REACH pixels. 1 if neither has any."""
    ours, theirs = edges(made)[..., 0] > 0, hint[..., 0] > 0
    if not ours.any() and not theirs.any():
        return 1.0
    kernel = np.ones((2 * REACH + 1, 2 * REACH + 1), np.uint8)
    near_ours, near_theirs = (cv2.dilate(lines.astype(np.uint8), kernel) > 0 for lines in (ours, theirs))
    precision = float((ours & near_theirs).sum() / max(1, ours.sum()))
    recall = float((theirs & near_ours).sum() / max(1, theirs.sum()))
    return 2 * precision * recall / max(1e-9, precision + recall)


@torch.no_grad()
def measure(model: Path, work: Path, *, count: int, seed: int) -> dict[str, float]:
    """Mean edge agreement over held-out pictures, with control and without, all else equal; and a sheet to look at."""
    pipeline = sheet.load(model)
    sheet.use(pipeline, "Euler a")
    parts = {**pipeline.components, "controlnet": trained(model, work)}
    guided = StableDiffusionControlNetPipeline(**parts, requires_safety_checker=False)
    guided.set_progress_bar_config(disable=True)
    held = Pictures.read(work, held=True)
    chosen = torch.randperm(len(held.latents), generator=torch.Generator().manual_seed(seed))[:count]
    hints = [edges(held.pictures[row].numpy()) for row in chosen]
    states = held.states[chosen].float()
    nothing = words(pipeline, [""]).expand_as(states)
    drawn: dict[str, list[Pixels]] = {}
    for name, scale in (("with", 1.0), ("without", 0.0)):
        noise = [torch.Generator().manual_seed(seed + number) for number in range(len(chosen))]
        made = guided(
            prompt_embeds=states, negative_prompt_embeds=nothing, image=as_hints(hints), generator=noise,
            num_inference_steps=sheet.STEPS, guidance_scale=sheet.GUIDANCE, controlnet_conditioning_scale=scale,
            output_type="np",
        ).images  # fmt: skip
        drawn[name] = list((made * 255).round().astype(np.uint8))
    scores = {
        name: float(np.mean([agreement(one, hint) for one, hint in zip(made, hints, strict=True)]))
        for name, made in drawn.items()
    }
    rows = [[held.pictures[row].numpy() for row in chosen[:12]], hints[:12], drawn["with"][:12], drawn["without"][:12]]
    Image.fromarray(np.concatenate([np.concatenate(row, 1) for row in rows])).save(work / "control" / "sheet.png")
    print(f"control: edge F1 {json.dumps(scores)} over {len(chosen)} held-out pictures", flush=True)
    return scores


def export(model: Path, work: Path, target: Path) -> int:
    """Writes the diffusers folder; gives the size of the weights in bytes."""
    net = trained(model, work).half()
    net.save_pretrained(target, safe_serialization=True)
    about = {"title": "Starter edges", "family": "sd1", "licence": "Apache-2.0", "preprocessor": "canny"}
    (target / "signet.json").write_text(json.dumps(about, indent=2) + "\n", encoding="utf-8")
    weights = target / "diffusion_pytorch_model.safetensors"
    weights.chmod(0o644)
    size = weights.stat().st_size
    if size > LIMIT:
        raise SystemExit(f"The weights take {size / 2**20:.2f} MiB, the limit is {LIMIT / 2**20:.0f} MiB.")
    print(f"control: {size / 2**20:.2f} MiB in {target}", flush=True)
    return size


def main(arguments: list[str] | None = None) -> None:
    """Runs one stage."""
    parser = argparse.ArgumentParser(
        prog="python -m training.control", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("stage", choices=("data", "train", "measure", "export"))
    parser.add_argument("--model", type=Path, default=Path("models/starter"))
    parser.add_argument("--work", type=Path, default=Path("training/work"), help="files lie in WORK/control")
    parser.add_argument("--source", choices=tuple(SOURCES), default="own")
    parser.add_argument("--parts", type=int, default=32, help=f"files of {PART} pictures")
    parser.add_argument("--minutes", type=float, default=30.0, help="of training, resumed parts included")
    parser.add_argument("--count", type=int, default=32, help="held-out pictures to measure")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--resume", action="store_true")
    parser.add_argument("--out", type=Path, default=Path("models/starter-edges"))
    options = parser.parse_args(arguments)
    # Threads that meet once a step cope with a busy machine: one shard of the batch for each.
    torch.set_num_threads(1 if options.stage == "train" else options.threads)
    if options.stage == "data":
        prepare(options.model, options.work, options.source, options.parts, options.seed)
    elif options.stage == "train":
        timing = {"minutes": options.minutes, "seed": options.seed, "resume": options.resume}
        train(options.model, options.work, **timing, shards=options.threads)
    elif options.stage == "measure":
        measure(options.model, options.work, count=options.count, seed=options.seed)
    else:
        export(options.model, options.work, options.out)


if __name__ == "__main__":
    main()
