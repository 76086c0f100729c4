"""Style LoRAs for the starter, made with the studio's own trainer: pixel art, poster prints, neon signs.

    python -m training.styles --out models                   all three, about ten minutes each on one core
    python -m training.styles --out models --only neon-sign  one of them
    python -m training.styles --out models --card            measure them, write loras/README.md and a contact sheet

The pictures to learn from are the art itself, drawn anew by the functions in `STYLES`; captions are what the art is
called, and the trigger. A style is fit for the starter if it survives the autoencoder (`--card` states how well).

Everything is drawn from seeds: a second run on the same machine gives the same weights, and a run that was stopped
goes on with `--resume` as if it never had been. Checkpoints lie in the work folder, one set for every denoiser.
"""

from __future__ import annotations

import argparse
import math
import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # before torch: spinning threads starve a small machine

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from backend.engine.encoding import encode
from backend.engine.lora import Assignment, RowAdditions, bind, read_adapter
from backend.engine.lora_card import LoraCard
from backend.engine.lora_dataset import TrainingImage
from backend.engine.lora_settings import TrainingSettings
from backend.engine.lora_state import FILE
from backend.engine.lora_training import Trainer
from backend.models.catalog import Catalog
from backend.models.loader import load
from backend.types import Pixels
from training import sheet
from training.captions import Scene, article
from training.checkpoints import stamp
from training.data import Record
from training.data import load as load_art
from training.pictures import show

THINGS = (
    "red apple", "banana", "strawberry", "lemon", "watermelon", "cherries", "carrot", "hamburger", "pizza", "ice cream",
    "birthday cake", "doughnut", "cat", "cat face", "dog face", "rabbit face", "pig face", "panda", "lion", "frog",
    "penguin", "owl", "bird", "fish", "butterfly", "sunflower", "rose", "tulip", "cactus", "mushroom",
    "evergreen tree", "deciduous tree", "house", "automobile", "bus", "airplane", "rocket", "sailboat", "sun", "star",
    "crescent moon", "cloud", "umbrella", "balloon", "red heart", "top hat", "crown", "key", "guitar", "light bulb",
    "smiling face", "robot", "ghost", "soccer ball",
)  # fmt: skip
"""What the pictures show, in all four kinds of art: things that the starter knows, so that only the style is new."""
PROMPTS = (
    "a cat", "a red apple", "an owl", "a house", "a rocket", "an umbrella", "a mushroom", "a sunflower", "a penguin",
    "a guitar", "a red heart", "a butterfly",
)  # fmt: skip
SEEDS = (7, 8)
SHOWN = PROMPTS.index("a house")
"""Which of them is the picture beside a LoRA in the catalogue."""
INKS = np.array([(24, 32, 84), (214, 56, 74), (250, 178, 92), (255, 240, 205)], np.uint8)
"""Of a poster, from dark to bright; the last one is the paper."""
SHADES = (75, 140, 225)
"""Brightness of 255 from which on the next ink is taken."""
LIMIT = 600_000
SAVE_EVERY = 50
CARD = """---
license: apache-2.0
---
# Styles for the starter

LoRAs made with the studio's own trainer: rank 4, all layers of the denoiser, {steps} steps of 8 pictures, at most
{kilobytes} kB each in half precision (kohya layout, ModelSpec and `ss_*` metadata). Write the tag and the trigger, for
example `a cat, pixel art <lora:pixel-art:1>`; with a weight of 0.5 a style comes half-way.

| LoRA | trigger | what it does | measured | without | with | what it learned from | survives the autoencoder |
|---|---|---|---|---|---|---|---|
{rows}

Measured on {n} pictures with and without, the trigger said both times, the same seeds, Euler a, 20 steps, guidance 4,
by `python -m training.styles --out models --card`, which also draws `docs/starter/styles.png`.

- **Made by** `python -m training.styles --out models`, from seeds.
- **Data:** {things} things in the four kinds of art that the starter learned from, drawn anew by a program
  (`training/styles.py`): blocks of few colours, three inks on paper, outlines as lit tubes. Nobody else drew for it,
  and none is the style of a living artist.
- **Licence:** Apache-2.0. The attributions of the starter's card (`models/starter/README.md`) hold here too: Fluent
  Emoji, © Microsoft Corporation, MIT; Twemoji graphics, © Twitter, Inc. and other contributors, CC-BY 4.0, changed by
  this program; Noto Emoji, © Google LLC, Apache-2.0.
- **Limits:** they fit this starter alone. What it cannot draw they cannot draw either, and fine lines break up, because
  its autoencoder keeps 24 numbers of 16 x 16 pixels.
"""
SETTINGS = TrainingSettings(
    rank=4, alpha=4, steps=600, learning_rate=2e-3, resolution=128, batch=8, seed=1, targets="all",
    schedule="cosine", warmup=20, caption_dropout=0.1,
)  # fmt: skip


def pixel_art(art: NDArray[np.uint8]) -> Pixels:
    """16 x 16 blocks, six steps of each colour: two blocks a side for every latent pixel, so that edges stay sharp."""
    small = np.asarray(Image.fromarray(plain(art)).resize((16, 16), Image.Resampling.BOX), np.float32)
    few = np.clip((small / 51).round() * 51, 0, 255).astype(np.uint8)
    return np.asarray(Image.fromarray(few).resize(art.shape[1::-1], Image.Resampling.NEAREST), np.uint8)


def poster(art: NDArray[np.uint8]) -> Pixels:
    """Printed in three inks on cream paper: dark things navy, bright things amber, and what lies between crimson."""
    shades = _soft(plain(art), 1.2) @ np.array((0.299, 0.587, 0.114), np.float32)
    print_ = _soft(INKS[np.digitize(shades, SHADES)], 0.7)
    return _over(art[..., 3:].astype(np.float32) / np.float32(255), print_, INKS[-1].astype(np.float32))


def neon_sign(art: NDArray[np.uint8]) -> Pixels:
    """Outlines as tubes in the most saturated colour of what they bound, with a glow on a dark wall."""
    seen = plain(art).astype(np.float32)
    low, high = seen.min(-1, keepdims=True), seen.max(-1, keepdims=True)
    vivid = np.where(
        high - low < 25, np.array((90, 220, 255), np.float32), (seen - low) / np.maximum(high - low, 1) * 255
    )
    tubes = (outlines(art) * vivid).astype(np.uint8)
    return np.clip(np.array((14, 10, 30), np.float32) + tubes + _soft(tubes, 4) * 0.9, 0, 255).astype(np.uint8)


def plain(art: NDArray[np.uint8]) -> Pixels:
    """Premultiplied (H, W, 4) on white: (H, W, 3)."""
    return ((show(art, Scene()).transpose(1, 2, 0) + 1) * 127.5).round().astype(np.uint8)


def outlines(art: NDArray[np.uint8]) -> NDArray[np.float32]:
    """(H, W, 1) in 0..1: where colour or cover changes within four pixels, a stroke of about five."""
    layers = np.concatenate([_soft(plain(art), 1.5), _soft(np.ascontiguousarray(art[..., 3]), 1.5)[..., None]], -1)
    layers = np.pad(layers, ((2, 2), (2, 2), (0, 0)), mode="edge")
    across = np.abs(layers[2:-2, 4:] - layers[2:-2, :-4])
    down = np.abs(layers[4:, 2:-2] - layers[:-4, 2:-2])
    found: NDArray[np.float32] = np.clip(np.hypot(across, down).max(-1, keepdims=True) / 60, 0, 1) ** 1.5
    return found


def _soft(pixels: NDArray[np.uint8], radius: float) -> NDArray[np.float32]:
    return np.asarray(Image.fromarray(pixels).filter(ImageFilter.GaussianBlur(radius)), np.float32)


def _over(cover: NDArray[np.float32], ink: NDArray[np.float32], paper: NDArray[np.float32]) -> Pixels:
    return (ink * cover + paper * (1 - cover)).round().astype(np.uint8)


def blockiness(pixels: Pixels) -> float:
    """Share of the picture's variance that blocks of 8 x 8 explain: 1 for pixel art."""
    picture = pixels.astype(np.float64)
    high, wide = picture.shape[0] // 8, picture.shape[1] // 8
    blocks = picture[: high * 8, : wide * 8].reshape(high, 8, wide, 8, 3)
    within = ((blocks - blocks.mean((1, 3), keepdims=True)) ** 2).mean()
    return float(1 - within / max(1e-9, picture.var((0, 1)).mean()))


def inked(pixels: Pixels) -> float:
    """Share of the pixels that are within 30 (of 441) of one of the poster's inks or its paper."""
    far = np.linalg.norm(pixels[..., None, :].astype(np.float64) - INKS, axis=-1).min(-1)
    return float((far < 30).mean())


def darkness(pixels: Pixels) -> float:
    """1 less the mean brightness of the outermost eighth, of 255: near 1 for a dark wall."""
    inner = np.zeros(pixels.shape[:2], bool)
    edge = pixels.shape[0] // 8
    inner[edge:-edge, edge:-edge] = True
    return float(1 - pixels[~inner].mean() / 255)


@dataclass(frozen=True, slots=True)
class Style:
    """`measure` is a number that is high for pictures in this style; `measured` says what it is."""

    trigger: str
    about: str
    draw: Callable[[NDArray[np.uint8]], Pixels]
    measure: Callable[[Pixels], float]
    measured: str


STYLES: Mapping[str, Style] = {
    "pixel-art": Style(
        "pixel art", "Sixteen blocks a side and few colours.", pixel_art, blockiness,
        "variance explained by blocks of 8 x 8 pixels",
    ),
    "poster": Style(
        "poster print", "Three inks on cream paper.", poster, inked, "pixels in one of the inks or the paper",
    ),
    "neon-sign": Style(
        "neon sign", "Glowing tubes along the outlines, on a dark wall.", neon_sign, darkness,
        "darkness of the picture's margin",
    ),
}  # fmt: skip


def material(work: Path, style: Style) -> tuple[TrainingImage, ...]:
    """The art of THINGS in this style, each with its name and the trigger."""
    pictures, records = load_art(work)
    return tuple(
        TrainingImage(style.draw(np.asarray(pictures[row])), f"{article(label)}, {style.trigger}", f"{label} {kind}")
        for (label, kind), row in rows_of(records).items()
    )


def rows_of(records: Sequence[Record]) -> dict[tuple[str, str], int]:
    """Row of each of THINGS in each kind of art; in order, so that the seed decides everything."""
    found = {(one.label, one.style): row for row, one in enumerate(records) if one.label in THINGS and not one.tone}
    return dict(sorted(found.items()))


def learn(trainer: Trainer, folder: Path, name: str, until: float, *, resume: bool) -> bool:
    """Train until it is done, True, or `until` (a monotonic time) has come, False; checkpoints go to `folder`."""
    if resume and (folder / FILE).is_file():
        trainer.resume(folder)
    while not trainer.done and time.monotonic() < until:
        report = trainer.step()
        if report.step % SAVE_EVERY == 0 or trainer.done:
            trainer.checkpoint(folder)
            print(f"{name}: step {report.step} of {report.steps} loss {report.average:.4f}", flush=True)
    trainer.checkpoint(folder)
    return trainer.done


def train(
    work: Path,
    *,
    minutes: float,
    seed: int,
    resume: bool,
    model: Path = Path("models/starter"),
    out: Path = Path("models"),
    only: Sequence[str] = (),
    settings: TrainingSettings = SETTINGS,
) -> tuple[Path, ...]:
    """Make the styles, or those named, one after the other; the files that are complete after `minutes`.

    With `resume` each goes on from its checkpoint, and one that is complete is only written again.
    """
    until, made = time.monotonic() + 60 * minutes, []
    info = Catalog((model,), ()).find(model.name)
    loaded = load(info, torch.device("cpu"), torch.float32)
    settings = replace(settings, seed=seed, resolution=info.native_size)
    for name in only or STYLES:
        style, folder = STYLES[name], work / "styles" / stamp(model) / name
        card = LoraCard(name, licence="Apache-2.0", description=_about(style), trigger=style.trigger)
        trainer = Trainer(loaded, material(work, style), settings, folder, card)
        try:
            if learn(trainer, folder, name, until, resume=resume):
                made.append(trainer.save(out / "loras" / f"{name}.safetensors"))
                print(f"{name}: {made[-1]} {made[-1].stat().st_size} bytes", flush=True)
        finally:
            trainer.close()
    return tuple(made)


def show_pictures(pictures: Sequence[Image.Image], captions: Sequence[str], shown: Path) -> None:
    """A contact sheet, one row for each way in which PROMPTS were drawn, to `shown`."""
    shown.parent.mkdir(parents=True, exist_ok=True)
    sheet.arrange(pictures, captions, columns=len(PROMPTS)).save(shown, optimize=True)


def options(module: str, doc: str | None, *, folder: str, seed: int, shown: Path) -> argparse.ArgumentParser:
    """What the commands that train with the studio's own trainer have in common; results go to OUT/`folder`."""
    parser = argparse.ArgumentParser(
        prog=f"python -m {module}", description=doc, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, required=True, metavar="FOLDER", help=f"it goes to FOLDER/{folder}")
    parser.add_argument("--work", type=Path, default=Path("training/work"), help="the art, and checkpoints")
    parser.add_argument("--model", type=Path, default=Path("models/starter"), help="the starter")
    parser.add_argument("--minutes", type=float, default=120.0, help="stop then, with a checkpoint")
    parser.add_argument("--seed", type=int, default=seed)
    parser.add_argument("--resume", action="store_true", help="go on from the checkpoint")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--card", action="store_true", help="measure what lies in FOLDER and write its card")
    parser.add_argument("--sheet", type=Path, default=shown, help="where --card draws")
    return parser


def _about(style: Style) -> str:
    return f"{style.about} For the starter; from pictograms drawn anew by a program. Attributions: loras/README.md."


@dataclass(frozen=True, slots=True)
class Drawn:
    """Pictures of PROMPTS x SEEDS by the starter, and by the starter with a LoRA; the same seeds."""

    without: tuple[Pixels, ...]
    styled: tuple[Pixels, ...]


def drawn(file: Path, model: Path, trigger: str) -> Drawn:
    """As stock diffusers samples, with the LoRA on as in the studio. The trigger is said both times."""
    loaded = load(Catalog((model,), ()).find(model.name), torch.device("cpu"), torch.float32)
    pipeline, additions = sheet.load(model), RowAdditions()
    pipeline.unet = loaded.unet
    bound = bind(read_adapter(file, file.stem), loaded)

    def pictures() -> tuple[Pixels, ...]:
        found = []
        for seed in SEEDS:
            sheet.use(pipeline, "Euler a")
            said = [f"{prompt}, {trigger}" for prompt in PROMPTS]
            found += [np.asarray(one) for one in sheet.draw(pipeline, said, [seed] * len(said))]
        return tuple(found)

    without = pictures()
    with additions.applied(pipeline.unet, [Assignment(slice(None), ((bound, 1.0, ()),))]):
        styled = pictures()
    additions.forget()
    return Drawn(without, styled)


def survival(model: Path, pictures: Sequence[TrainingImage]) -> float:
    """PSNR in dB of pictures through the autoencoder and back: what of a style it can hold."""
    loaded = load(Catalog((model,), ()).find(model.name), torch.device("cpu"), torch.float32)
    errors = []
    with torch.inference_mode():
        for one in pictures:
            latent = encode(loaded, one.pixels) / loaded.vae.config.scaling_factor
            back = loaded.vae.decode(latent.to(loaded.vae.dtype)).sample[0].float().permute(1, 2, 0)
            errors.append(float(np.square((back.clamp(-1, 1) * 127.5 + 127.5).numpy() - one.pixels).mean()))
    return 10 * math.log10(255**2 / (sum(errors) / len(errors)))


def card(rows: Sequence[str], steps: int, sizes: Sequence[int]) -> str:
    """The README of the folder."""
    kilobytes = max(sizes, default=0) // 1000
    return CARD.format(
        rows="\n".join(rows), steps=steps, kilobytes=kilobytes, things=len(THINGS), n=len(PROMPTS) * len(SEEDS)
    )


def measure(work: Path, model: Path, out: Path, shown: Path) -> str:
    """Draw with and without every style that is there; writes the card, and a contact sheet to `shown`."""
    rows, sizes, pictures, captions = list[str](), list[int](), list[Image.Image](), list[str]()
    for name, style in STYLES.items():
        file = out / "loras" / f"{name}.safetensors"
        learned = material(work, style)
        made = drawn(file, model, style.trigger)
        values = [
            float(np.mean([style.measure(pixels) for pixels in found]))
            for found in (made.without, made.styled, [one.pixels for one in learned])
        ]
        survives = survival(model, learned[:: max(1, len(learned) // 16)])
        figures = " | ".join(f"{value:.2f}" for value in values)
        rows.append(
            f"| `{name}` | {style.trigger} | {style.about} | {style.measured} | {figures} | {survives:.1f} dB |"
        )
        sizes.append(file.stat().st_size)
        Image.fromarray(made.styled[SHOWN]).save(file.with_suffix(".preview.png"), optimize=True)
        # What the starter draws without any of them is shown once.
        bare = [] if pictures else [(made.without, "without")]
        for found, what in (*bare, (made.styled, name)):
            pictures += [Image.fromarray(pixels) for pixels in found[: len(PROMPTS)]]
            captions += [f"{prompt}: {what}" for prompt in PROMPTS]
    show_pictures(pictures, captions, shown)
    text = card(rows, SETTINGS.steps, sizes)
    (out / "loras" / "README.md").write_text(text, encoding="utf-8")
    return text


def main(arguments: Sequence[str] | None = None) -> None:
    shown = Path("docs/starter/styles.png")
    parser = options("training.styles", __doc__, folder="loras", seed=SETTINGS.seed, shown=shown)
    parser.add_argument(
        "--only", action="append", choices=tuple(STYLES), default=[], help="this style; may be repeated"
    )
    asked = parser.parse_args(arguments)
    torch.set_num_threads(asked.threads)
    if asked.card:
        print(measure(asked.work, asked.model, asked.out, asked.sheet))
        return
    where = {"model": asked.model, "out": asked.out, "only": asked.only}
    train(asked.work, minutes=asked.minutes, seed=asked.seed, resume=asked.resume, **where)


if __name__ == "__main__":
    main()
