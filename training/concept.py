"""A word for the starter, made with the studio's own trainer: "frosty-look", a look of pale blue in pale blue.

    python -m training.concept --out models          train: a few minutes on one core
    python -m training.concept --out models --card   measure it, write embeddings/README.md and a contact sheet

Textual inversion finds what a model can draw already, and gives it one name. What it is shown are things of the art,
every saturated colour turned blue, on a light blue ground. Everything is drawn from seeds; a run that was stopped goes
on with `--resume` as if it never had been.
"""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # before torch: spinning threads starve a small machine

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from backend.engine.lora_card import LoraCard
from backend.engine.lora_dataset import TrainingImage, worded
from backend.engine.lora_settings import TrainingSettings
from backend.engine.lora_training import Trainer
from backend.models.catalog import Catalog
from backend.models.loader import load
from backend.types import Pixels
from training import sheet
from training.captions import COLOURS, Scene, article
from training.checkpoints import stamp
from training.data import load as load_art
from training.pictures import show
from training.styles import PROMPTS, SEEDS, learn, options, rows_of, show_pictures

NAME = "frosty-look"
"""No plain word, which would change what people mean by it."""
HUE, GROUND = "blue", "light blue"
LIMIT = 20_000
NEAR = 60
"""A margin is of the ground's colour if its mean lies within so much of it, of 441."""
SETTINGS = TrainingSettings(
    kind="embedding", vectors=4, init_word="light blue background", steps=400, learning_rate=1e-2, resolution=128,
    batch=8, seed=1, schedule="cosine", warmup=20, caption_dropout=0.0, weight_decay=0.0,
)  # fmt: skip
CARD = """---
license: apache-2.0
---
# frosty-look: a word for the starter

A textual inversion: write `frosty-look` anywhere in a prompt (`a cat, frosty-look`), and things come out in blue on a
light blue ground. {vectors} tokens, {size:,} bytes; a safetensors file with the key `emb_params`, which A1111 and
diffusers (`load_textual_inversion(file, token="frosty-look")`) read too.

| margin within {near} of the ground's colour (mean of its pixels, of 441) | pictures |
|---|---|
| `a cat, frosty-look` and so on, with the embedding | {named} of {n} |
| the same prompts without it: two ordinary words | {plain} of {n} |
| `a cat, blue, on a light blue background` and so on, in words | {told} of {n} |

Measured on {n} pictures of {things} things, the same seeds, Euler a, 20 steps, guidance 4, drawn with stock diffusers
by `python -m training.concept --out models --card`.

- **Made by** `python -m training.concept --out models`: the studio's own trainer, {steps} steps of 8 pictures, from
  seeds. Text encoder and denoiser stayed as they were.
- **Data:** things in the four kinds of art that the starter learned from, their colours turned to blue by a program.
- **Licence:** Apache-2.0. The attributions of the starter's card (`models/starter/README.md`) hold here too: Fluent
  Emoji, © Microsoft Corporation, MIT; Twemoji graphics, © Twitter, Inc. and other contributors, CC-BY 4.0, changed by
  this program; Noto Emoji, © Google LLC, Apache-2.0.
- **Limits:** it fits this starter's text encoder alone, and cannot make the model draw what it could not draw before.
"""


def frosty(art: NDArray[np.uint8]) -> Pixels:
    """Premultiplied (H, W, 4), blue on light blue: (H, W, 3)."""
    return ((show(art, Scene(GROUND, HUE)).transpose(1, 2, 0) + 1) * 127.5).round().astype(np.uint8)


def material(work: Path) -> tuple[TrainingImage, ...]:
    """Things of the art in this look, each with its name and the word."""
    pictures, records = load_art(work)
    return tuple(
        TrainingImage(frosty(np.asarray(pictures[row])), worded(article(label), NAME), f"{label} {kind}")
        for (label, kind), row in rows_of(records).items()
    )


def train(
    work: Path,
    *,
    minutes: float,
    seed: int,
    resume: bool,
    model: Path = Path("models/starter"),
    out: Path = Path("models"),
    settings: TrainingSettings = SETTINGS,
) -> Path | None:
    """Make the embedding; None if it is not complete after `minutes`, to go on with `resume`."""
    info = Catalog((model,), ()).find(model.name)
    about = "Blue things on a light blue ground. For the starter; attributions: embeddings/README.md."
    card = LoraCard(NAME, licence="Apache-2.0", description=about)
    folder = work / "styles" / stamp(model) / NAME
    settings = replace(settings, seed=seed, resolution=info.native_size)
    trainer = Trainer(load(info, torch.device("cpu"), torch.float32), material(work), settings, folder, card)
    try:
        if not learn(trainer, folder, NAME, time.monotonic() + 60 * minutes, resume=resume):
            return None
        file = trainer.save(out / "embeddings" / f"{NAME}.safetensors")
    finally:
        trainer.close()
    print(f"{NAME}: {file} {file.stat().st_size} bytes", flush=True)
    return file


def on_ground(pixels: Pixels) -> bool:
    """Whether the outermost eighth has the colour of the ground."""
    edge = pixels.shape[0] // 8
    frame = np.ones(pixels.shape[:2], bool)
    frame[edge:-edge, edge:-edge] = False
    return float(np.linalg.norm(pixels[frame].mean(0) - np.array(COLOURS[GROUND]))) < NEAR


def measure(model: Path, out: Path, shown: Path) -> str:
    """Draw with the word, without it and with plain words; writes the card, and a contact sheet to `shown`."""
    file, pipeline = out / "embeddings" / f"{NAME}.safetensors", sheet.load(model)

    def drawn(say: str) -> list[Image.Image]:
        found = []
        for seed in SEEDS:
            sheet.use(pipeline, "Euler a")
            found += sheet.draw(pipeline, [say.format(one) for one in PROMPTS], [seed] * len(PROMPTS))
        return found

    told = drawn(f"{{}}, {HUE}, on a {GROUND} background")
    plain = drawn(f"{{}}, {NAME}")
    pipeline.load_textual_inversion(str(file), token=NAME)
    rows = {"with": drawn(f"{{}}, {NAME}"), "plain": plain, "told": told}
    pictures = [one for row in rows.values() for one in row[: len(PROMPTS)]]
    captions = [f"{prompt}: {row}" for row in rows for prompt in PROMPTS]
    show_pictures(pictures, captions, shown)
    rows["with"][PROMPTS.index("a penguin")].save(file.with_suffix(".preview.png"), optimize=True)
    hits = {row: sum(on_ground(np.asarray(one)) for one in found) for row, found in rows.items()}
    text = card(hits, len(plain), file.stat().st_size)
    (out / "embeddings" / "README.md").write_text(text, encoding="utf-8")
    return text


def card(hits: dict[str, int], n: int, size: int) -> str:
    """The README of the folder. `hits` of `n` pictures "with" the word, "plain" without it, and "told" in words."""
    figures = {"named": hits["with"], "plain": hits["plain"], "told": hits["told"]}
    facts = {"vectors": SETTINGS.vectors, "steps": SETTINGS.steps, "near": NEAR, "things": len(PROMPTS)}
    return CARD.format(n=n, size=size, **figures, **facts)


def main(arguments: Sequence[str] | None = None) -> None:
    shown = Path("docs/starter/frosty-look.png")
    parser = options("training.concept", __doc__, folder="embeddings", seed=SETTINGS.seed, shown=shown)
    asked = parser.parse_args(arguments)
    torch.set_num_threads(asked.threads)
    if asked.card:
        print(measure(asked.model, asked.out, asked.sheet))
        return
    where = {"model": asked.model, "out": asked.out}
    train(asked.work, minutes=asked.minutes, seed=asked.seed, resume=asked.resume, **where)


if __name__ == "__main__":
    main()
