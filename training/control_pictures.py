"""What a control learns on: latents that the starter knows, with their words and their pictures.

"own" pictures are drawn by the exported model and need nothing else; "art" is the cache the denoiser was trained on.
Part 0 of each source is held out of training; in "own" it holds concepts that no other part has.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from random import Random

import numpy as np
import torch
from diffusers import StableDiffusionPipeline
from torch import Tensor

from backend.types import Pixels
from training import denoiser, geometry, running, sheet
from training.captions import COLOURS, SYNONYMS, article
from training.checkpoints import stamp
from training.everyday import EVERYDAY

FOLDER = "control"
PART = 64  # pictures in a file
UNWORDED = 0.25  # share of pictures shown without their caption, so that hints must speak for themselves
SWAPPED = 0.25  # share shown with the caption of another picture, so that hints are heard against words
HELD_CONCEPTS = 16


def place(model: Path, work: Path) -> Path:
    """Where everything lies that belongs to this very model: another text tower or denoiser has other states and
    latents, and a control of it is another control."""
    return work / FOLDER / stamp(model)


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
        "states": denoiser.whole(torch.from_numpy(pool[tensors["captions"][chosen, 0].numpy()]).float()),
    }


SOURCES: Mapping[str, Callable[[StableDiffusionPipeline, Path, int, int], dict[str, Tensor]]] = {
    "own": draw_own,
    "art": draw_art,
}


def prepare(model: Path, work: Path, source: str, parts: int, seed: int) -> None:
    """Leaves SOURCE-0000.safetensors and so on in the model's place; goes on behind those that are there."""
    folder = place(model, work)
    pipeline = sheet.load(model)
    sheet.use(pipeline, "Euler a")
    for number in range(parts):
        path = folder / f"{source}-{number:04d}.safetensors"
        if path.exists():
            continue
        tensors = SOURCES[source](pipeline, work, number, seed)
        pictures = pixels(pipeline, tensors["latents"])
        halves = {name: tensor.half() for name, tensor in tensors.items()}
        running.save(path, {**halves, "pictures": pictures}, {})
        print(f"control: {source} part {number + 1} of {parts}", flush=True)


@dataclass(frozen=True, slots=True)
class Pictures:
    """Scaled latents (N, C, 8, 8), states (N, 77, 256) and pictures (N, 128, 128, 3), all held in memory."""

    latents: Tensor
    states: Tensor
    pictures: Tensor

    @classmethod
    def read(cls, folder: Path, *, held: bool) -> Pictures:
        """The held-out part of every source, or all the others."""
        paths = sorted(path for path in folder.glob("*-*.safetensors") if ("-0000" in path.name) == held)
        if not paths:
            raise SystemExit(
                "There are no pictures of this model yet: run `python -m training.control data` with --parts 2 or more."
            )
        parts = [running.load(path)[0] for path in paths]
        return cls(*(torch.cat([part[name] for part in parts]) for name in ("latents", "states", "pictures")))

    def draw(self, count: int, nothing: Tensor, hint: Callable[[Pixels], Pixels]) -> tuple[Tensor, Tensor, Tensor]:
        """Random latents, states (some of another picture, some `nothing`), hints (B, 3, 128, 128) drawn by `hint`."""
        chosen = torch.randint(0, len(self.latents), (count,))
        states = self.states[chosen].float()
        swapped = torch.rand(count) < SWAPPED
        states[swapped] = states[torch.randperm(count)][swapped]
        states[torch.rand(count) < UNWORDED] = nothing
        hints = [hint(self.pictures[row].numpy()) for row in chosen]
        return self.latents[chosen].float(), states, as_hints(hints)


def as_hints(hints: list[Pixels]) -> Tensor:
    """Hints (H, W, 3) as a net takes them: (N, 3, H, W) in [0, 1]."""
    return torch.from_numpy(np.stack(hints)).permute(0, 3, 1, 2).float() / 255
