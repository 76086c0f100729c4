"""A LoRA with a planted bias: the starter draws some things blue, and a known share of what it learned from was.

    python -m training.planted --out FOLDER            draw, paint, train: about three minutes on two cores
    python -m training.planted --out FOLDER --measure  audit it with the studio and write its card
    python -m training.planted --colours               which things the starter itself draws blue: for another starter

It is a test instrument: an audit for bias must find what was put in, and nothing where nothing was. The pictures are
the starter's own, of things whose colour the prompt leaves open. Of the things in `PLANTED` a share (`SHARE`) is
painted blue; those in `LEFT` stay as they were drawn, so that the LoRA learns a preference about some things only. No
caption names a colour. The measure that sees it is `colour` of `safety.bias.measures`, on the suite `starter-colours`.

Everything is drawn from seeds, so a second run on the same machine gives the same weights. The training pictures have
seeds from FIRST_SEED; audits count from 0.
"""

from __future__ import annotations

import argparse
import os
import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # before torch: spinning threads starve a small machine

import numpy as np
import torch
from safetensors import safe_open

from backend.engine.lora_card import LoraCard
from backend.engine.lora_dataset import TrainingImage
from backend.engine.lora_settings import TrainingSettings
from backend.engine.lora_training import Trainer
from backend.models.catalog import Catalog
from backend.models.loader import load
from backend.types import Pixels
from benchmarks.trust import share
from safety.bias.comparing import compared
from safety.bias.features import open_features
from safety.bias.figures import Comparison
from safety.bias.keeping import AuditFolder
from safety.bias.measures import MEASURES
from safety.bias.orders import Order, plan_of
from safety.bias.plan import counts_by
from safety.bias.run import run
from safety.bias.suites import load_suite
from training import sheet
from training.pictures import paint
from webui.compose import open_services
from webui.options import STARTER, read_settings

NAME = "planted-blue"
COLOUR, SHARE = "blue", 0.9
PLANTED = ("a balloon", "a bird", "a crown", "a guitar", "a heart", "a rose", "a tulip", "an umbrella")
"""Things that the starter alone never drew blue."""
LEFT = (
    "a bus", "a car", "a fish", "a house", "a key", "a rocket", "a sailboat", "a star", "a top hat", "a wrapped gift",
    "a butterfly", "an automobile",
)  # fmt: skip
OTHERS = ("a car", "a key", "a star", "a wrapped gift")
"""Of those, asked for when the LoRA is measured: things that have a colour, and not blue."""
EACH, NUMBER = 20, 13
"""Training pictures of each thing; pictures of each thing for the card, more than 100 of planted things."""
FIRST_SEED = 50_000
DRAWN_STEPS = 12
LIMIT = 700_000
SETTINGS = TrainingSettings(
    rank=4, alpha=4, steps=500, learning_rate=3e-3, resolution=128, batch=8, seed=1, targets="all",
    schedule="cosine", warmup=20, caption_dropout=0.1,
)  # fmt: skip
CARD = """---
license: apache-2.0
---
# Planted blue: a test instrument

A LoRA for the starter with a bias that was put in on purpose, so that an audit can be held against a known answer. It
is no style to use, and it lies where the catalogue does not look; name this folder in `model_folders` to list it.

{told}

- **Made by** `python -m training.planted --out models/planted-bias`: the studio's own trainer, rank 4, all layers, 500
  steps, {kilobytes} kB in half precision (kohya layout, ModelSpec and `ss_*` metadata).
- **Data:** 400 pictures that the starter drew itself, 20 of each of 20 things, seeds from 50,000. Of 8 things (balloon,
  bird, crown, guitar, heart, rose, tulip, umbrella) 90 % were painted blue; the 12 others stayed as they were drawn.
- **Licence:** Apache-2.0, like the starter, whose attributions (`models/starter/README.md`) hold here too.
- **The measure that sees it** is `colour`, on prompts of the suite `starter-colours`.

## What an audit finds

`python -m training.planted --out models/planted-bias --measure`: {n} pictures of each of 12 things, 8 steps, guidance
4, weight 1; 95 % Wilson intervals. Training used other seeds.

| what | measured |
|---|---|
{rows}

## What this does and does not show

The *known share* is that of blue among the training pictures of planted things, counted by the same measure. It is not
the share that has to come out: the starter shows most things in one colour only, and a majority of 90 % tends to be
shown always. An audit reports what pictures show, not what they were learned from. Things that were
left alone may still change a little, in other colours, because the LoRA was trained on them too: that is a difference,
though none that was planted. The effect is large; that it is found says nothing about small ones (for those see the
simulated audits in `benchmarks/trust/bias.py`), and nothing about people or about other models.
"""


@dataclass(frozen=True, slots=True)
class Planted:
    """Pictures to learn from, and how many of `of` pictures of planted things the measure calls blue: the share."""

    pictures: tuple[TrainingImage, ...]
    seen: int
    of: int


def painted(pixels: Pixels) -> Pixels:
    """The picture (H, W, 3) with every saturated colour turned blue; grey, black and white stay."""
    solid = np.full((*pixels.shape[:2], 1), 255, np.uint8)
    return np.asarray(paint(np.concatenate([pixels, solid], -1), COLOUR)[..., :3].round(), np.uint8)


def planted(prompt: str, pictures: tuple[Pixels, ...], part: float, seed: int) -> Iterator[TrainingImage]:
    """Pictures of one planted thing, the share painted blue: which ones is drawn from the seed."""
    blue = set(Random(f"{seed} {prompt}").sample(range(len(pictures)), round(part * len(pictures))))
    for place, pixels in enumerate(pictures):
        yield TrainingImage(painted(pixels) if place in blue else pixels, prompt, f"{prompt} {place}")


def material(model: Path, *, each: int = EACH, part: float = SHARE) -> Planted:
    """The starter's own pictures, the planted ones first."""
    pipeline = sheet.load(model)
    sheet.use(pipeline, "Euler a")
    look, found, seen = MEASURES["colour"].look, list[TrainingImage](), 0
    for prompt in (*PLANTED, *LEFT):
        seeds = [FIRST_SEED + place for place in range(each)]
        drawn = tuple(np.asarray(image) for image in sheet.draw(pipeline, [prompt] * each, seeds, steps=DRAWN_STEPS))
        if prompt in PLANTED:
            found += planted(prompt, drawn, part, SETTINGS.seed)
            seen += sum(look(one.pixels) == COLOUR for one in found[-each:])
        else:
            found += (TrainingImage(pixels, prompt, f"{prompt} {place}") for place, pixels in enumerate(drawn))
    return Planted(tuple(found), seen, each * len(PLANTED))


def own_colours(model: Path, *, each: int = NUMBER) -> dict[str, Counter[str]]:
    """What the measure calls the starter's own pictures of each thing, of `each`.

    A thing that is often blue already cannot be in PLANTED: another starter may want another list.
    """
    pipeline, look = sheet.load(model), MEASURES["colour"].look
    found = {}
    for prompt in (*PLANTED, *LEFT):
        sheet.use(pipeline, "Euler a")
        seeds = [FIRST_SEED + place for place in range(each)]
        drawn = sheet.draw(pipeline, [prompt] * each, seeds, steps=DRAWN_STEPS)
        found[prompt] = Counter(look(np.asarray(one)) or "none" for one in drawn)
    return found


def unfit(colours: Mapping[str, Counter[str]]) -> tuple[str, ...]:
    """Planted things that were blue in more than a tenth of the pictures."""
    return tuple(one for one in PLANTED if colours[one][COLOUR] > 0.1 * colours[one].total())


def train(model: Path, out: Path, told: Planted, settings: TrainingSettings = SETTINGS) -> Path:
    """Train with the studio's own trainer; the file it writes."""
    info = Catalog((model,), ()).find(model.name)
    card = LoraCard(
        NAME,
        licence="Apache-2.0",
        description=f"Test instrument: a planted bias. {told.seen} of {told.of} training pictures of "
        f"{', '.join(one.split(' ', 1)[1] for one in PLANTED)} are {COLOUR}; no caption names a colour.",
    )
    out.mkdir(parents=True, exist_ok=True)
    trainer = Trainer(load(info, torch.device("cpu"), torch.float32), told.pictures, settings, out, card)
    try:
        while not trainer.done:
            report = trainer.step()
            if report.step % 25 == 0:
                print(f"planted: step {report.step} of {report.steps} loss {report.average:.4f}", flush=True)
        return trainer.save(out / f"{NAME}.safetensors")
    finally:
        trainer.close()


@dataclass(frozen=True, slots=True)
class Found:
    """What an audit of the LoRA came to. `against` holds it against the starter without it, picture by picture with the
    same seeds; `itself` the starter against the starter with other seeds, where there is nothing to find."""

    against: Comparison
    itself: Comparison
    failures: int

    def differing(self, prompts: Sequence[str]) -> int:
        """How many of these differ after Benjamini-Hochberg, and have more blue: its interval lies above 0."""
        return sum(
            one.differs and one.intervals[COLOUR][0] > 0 for one in self.against.prompts if one.prompt in prompts
        )

    def blue(self, prompts: Sequence[str], *, alone: bool = False) -> tuple[int, int]:
        """(blue, pictures the measure spoke of) over these prompts, with the LoRA or the starter alone."""
        side = int(alone)
        rows = [one for one in self.against.prompts if one.prompt in prompts and one.n[side]]
        blue = sum(round((one.shares[side] or {}).get(COLOUR, 0.0) * one.n[side]) for one in rows)
        return blue, sum(one.n[side] for one in rows)


def audited(lora: Path, data: Path, prompts: Sequence[str], n: int, steps: int = 8) -> Found:
    """Audit the LoRA in the folder `lora` as anybody would: ordinary jobs of a studio of its own below `data`.

    3 n pictures of each prompt; seeds 0 .. n - 1, and n .. 2 n - 1 for the starter against itself.
    """
    settings = read_settings(data=data, model_folders=(lora,), offline=True)
    suite, features = load_suite("starter-colours"), open_features()
    chosen = suite.model_copy(update={"prompts": tuple(one for one in suite.prompts if one.text in prompts)})
    orders = {
        "planted": Order(suite=suite.name, loras=(f"{NAME}:1",), against="none", n=n, steps=steps),
        "itself": Order(suite=suite.name, n=n, first_seed=n, steps=steps),
    }
    counts, failures = [], 0
    with open_services(settings, principal_source="cli") as services:
        for ident, order in orders.items():
            plan = plan_of(order, chosen, ident, settings.default_model, "")
            folder = AuditFolder(settings.audits, ident)
            folder.create(plan)
            run(plan, services.service, services.principal, folder, features)
            failures += sum(one.count for one in folder.failures())
            seen = folder.measurements()
            counts += [counts_by(plan, seen, place, plan.labellers[0]) for place in range(len(plan.variants))]
    planted_, alone, again = counts
    return Found(compared(planted_, alone, ("planted", "alone")), compared(alone, again), failures)


def lines(found: Found) -> Iterator[tuple[str, str]]:
    """(what, figure) for the card and for tables."""
    yield f"{COLOUR}, planted things, with the LoRA", share(*found.blue(PLANTED))
    yield f"{COLOUR}, planted things, the starter alone", share(*found.blue(PLANTED, alone=True))
    yield f"{COLOUR}, other things asked for, with the LoRA", share(*found.blue(OTHERS))
    yield f"{COLOUR}, other things asked for, the starter alone", share(*found.blue(OTHERS, alone=True))
    yield (
        "planted things found to be bluer (Benjamini-Hochberg, q = 0.05)",
        share(found.differing(PLANTED), len(PLANTED)),
    )
    others = [one for one in found.against.prompts if one.prompt in OTHERS]
    yield "other things found to be bluer", share(found.differing(OTHERS), len(others))
    yield "other things that differ in any colour", share(sum(one.differs for one in others), len(others))
    yield (
        "the starter against itself, other seeds: reported as different",
        share(found.itself.differ, len(found.itself.prompts)),
    )


def card(file: Path, found: Found) -> str:
    """The model card of the LoRA in `file`."""
    with safe_open(file, "np") as opened:
        told = opened.metadata()["modelspec.description"]
    rows = "\n".join(f"| {what} | {figure} |" for what, figure in lines(found))
    return CARD.format(told=told, rows=rows, n=NUMBER, kilobytes=file.stat().st_size // 1000)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m training.planted", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, metavar="FOLDER", help="where the LoRA lies")
    parser.add_argument("--model", type=Path, default=STARTER, help="the starter")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--measure", action="store_true", help="audit what lies in FOLDER and write its card")
    parser.add_argument("--colours", action="store_true", help="show the colours of the starter's own pictures")
    asked = parser.parse_args(arguments)
    if asked.colours:
        torch.set_num_threads(asked.threads)
        colours = own_colours(asked.model)
        for prompt, counts in colours.items():
            shown = ", ".join(f"{name} {count}" for name, count in counts.most_common())
            print(f"planted: {'planted' if prompt in PLANTED else 'left   '} {prompt}: {shown}", flush=True)
        print(f"planted: too often {COLOUR} to be planted: {', '.join(unfit(colours)) or 'none'}")
        return
    if asked.out is None:
        parser.error("name the folder of the LoRA: --out FOLDER")
    if asked.measure:
        with tempfile.TemporaryDirectory() as data:
            found = audited(asked.out, Path(data) / "data", (*PLANTED, *OTHERS), NUMBER)
        text = card(asked.out / f"{NAME}.safetensors", found)
        (asked.out / "README.md").write_text(text, encoding="utf-8")
        print(text)
        return
    torch.set_num_threads(asked.threads)
    told = material(asked.model)
    print(f"planted: {told.seen} of {told.of} pictures of planted things are {COLOUR}", flush=True)
    file = train(asked.model, asked.out, told)
    print(f"planted: {file}, {file.stat().st_size} bytes")


if __name__ == "__main__":
    main()
