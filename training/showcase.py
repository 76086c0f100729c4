"""The sheets under docs/pictures: every mode on the starter model, made and sealed by the studio itself.

    python -m training.showcase [--out docs/pictures] [--only control]

Each sheet is a picture of mode "grid": its Content Credentials name the pictures on it.
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from backend import images
from backend.preprocessors import preprocess
from backend.settings import ROOT
from backend.training import TrainingPicture
from backend.types import Job, Pixels
from backend.types.training import TrainingRequest
from webui.compose import Services, open_services
from webui.options import read_settings

SIDE = 128
_BASE: Mapping[str, Any] = {"steps": 20, "cfg": 4.0, "sampler": "Euler a", "width": SIDE, "height": SIDE}


@dataclass(frozen=True, slots=True)
class Studio:
    """The running studio, and short ways to ask it for things."""

    services: Services
    out: Path

    def make(self, prompt: str, **fields: Any) -> Job:
        """One picture, waited for."""
        service = self.services.service
        size = {} if fields.get("mode", "txt2img") in ("inpaint", "upscale", "grid") else _BASE
        plain = {"steps": 20, "cfg": 4.0, "sampler": "Euler a"}
        job = service.submit({"prompt": prompt, **plain, **size, **fields}, self.services.principal)
        return service.wait(job.id, 600)

    def bring(self, pixels: Pixels) -> str:
        return self.services.service.library.put(images.encode_png(pixels)).id

    def shown(self, pixels: Pixels) -> Job:
        """A picture of ours that was drawn rather than generated, as a cell."""
        return self.make("", mode="upscale", init_image=self.bring(pixels), upscale={"scale": 1})

    def result(self, job: Job) -> str:
        """The picture of a job as something to start from."""
        return self.services.service.library.put(self._file(job).read_bytes()).id

    def sheet(
        self, name: str, rows: Sequence[Sequence[Job]], columns: Sequence[str], labels: Sequence[str] = ()
    ) -> None:
        cells = [job.id for row in rows for job in row]
        grid = {"cells": cells, "columns": len(columns), "column_labels": list(columns), "row_labels": list(labels)}
        job = self.make("", mode="grid", grid={**grid, "margin": 6})
        shutil.copyfile(self._file(job), self.out / f"{name}.png")

    def _file(self, job: Job) -> Path:
        service = self.services.service
        records = service.of_job(job.id)
        if not records:
            raise SystemExit(f"no picture: {service.job(job.id).problem}")
        return service.file(records[0].id, self.services.principal)


def img2img(studio: Studio) -> None:
    apple = studio.make("a red apple", seed=7)
    start = {"mode": "img2img", "init_image": studio.result(apple), "seed": 3}
    changed = [studio.make("a green apple", **start, denoise=strength) for strength in (0.3, 0.5, 0.65, 0.8)]
    studio.sheet("img2img", [[apple, *changed]], ["a red apple", "green 0.3", "0.5", "0.65", "0.8"])


def inpaint(studio: Studio) -> None:
    apple = studio.make("a red apple", seed=7)
    mask = np.zeros((SIDE, SIDE, 3), np.uint8)
    mask[64:, :] = 255
    source, named = studio.result(apple), studio.bring(mask)
    made = [
        studio.make(prompt, mode="inpaint", init_image=source, denoise=0.95, seed=4, inpaint={"mask": named, "blur": 3})
        for prompt in ("a green apple", "a yellow lemon")
    ]
    grown = studio.make(
        "a red apple", mode="inpaint", init_image=source, denoise=1.0, seed=11, outpaint={"up": 64, "left": 64}
    )
    columns = ["the picture", "the mask", "a green apple", "a yellow lemon", "grown up and left"]
    studio.sheet("inpaint", [[apple, studio.shown(mask), *made, grown]], columns)


def upscale(studio: Studio) -> None:
    said = "a panda, flat style"
    panda = studio.make(said, seed=5)
    start = {"mode": "upscale", "init_image": studio.result(panda), "seed": 5}
    large = studio.make(said, **start, upscale={"scale": 2})
    sharper = studio.make(said, **start, upscale={"scale": 2, "upscaler": "starter-upscaler"})
    tiled = {"scale": 2, "diffusion": True, "tile": SIDE, "overlap": 32}
    painted = studio.make(said, **start, denoise=0.3, upscale=tiled)
    hires = studio.make(said, seed=5, hires={"scale": 2, "denoise": 0.45, "upscaler": "Lanczos"})
    columns = ["128 px", "Lanczos x2", "starter-upscaler x2", "tiled diffusion x2", "hires fix"]
    studio.sheet("upscale", [[panda, large, sharper, painted, hires]], columns)


def control(studio: Studio) -> None:
    from tests.support.drawings import shapes

    prompts = ("a red apple", "a green tree", "a yellow star", "a blue book")
    rows = []
    for drawn in shapes(SIDE).values():
        unit = {"image": studio.bring(drawn), "model": "starter-edges", "preprocessor": "canny", "weight": 1.2}
        hint = preprocess("canny", drawn, width=SIDE, height=SIDE)
        rows.append([studio.shown(hint), *(studio.make(prompt, seed=5, control=[unit]) for prompt in prompts)])
    studio.sheet("control", rows, ["edges", *prompts])


def lora(studio: Studio) -> None:
    from tests.support.drawings import STYLE, blueprints

    service = studio.services.service
    pictures = [TrainingPicture(studio.bring(pixels), text) for text, pixels in blueprints(SIDE).items()]
    asked = TrainingRequest(
        name="blueprint", model="starter", steps=400, rank=8, learning_rate=2e-3, resolution=SIDE, batch=4, seed=1,
        targets="all", schedule="cosine", flip=True, trigger=STYLE, licence="CC0-1.0",
    )  # fmt: skip
    trainings = service.trainings
    known = trainings.create(asked, studio.services.principal, pictures)
    while trainings.training(known.id).state in ("waiting", "running"):
        time.sleep(1)
    things = ("a house", "a tree", "a heart", "an umbrella", "a star")
    plain = [studio.make(f"{thing}, {STYLE}", seed=7, cfg=2.0) for thing in things]
    styled = [studio.make(f"{thing}, {STYLE} <lora:blueprint:1>", seed=7, cfg=2.0) for thing in things]
    studio.sheet("lora", [plain, styled], things, ["without", "with <lora:blueprint:1>"])


def plot(studio: Studio) -> None:
    service = studio.services.service
    arguments = {
        "x": {"axis": "Sampler", "values": "Euler a,Euler,DPM++ 2M,UniPC"},
        "y": {"axis": "Steps", "values": "4,8,20"},
    }
    fields = {**_BASE, "prompt": "a red apple", "seed": 7}
    ticket = service.plans.submit("xyz", fields, arguments, studio.services.principal)
    job = service.wait(ticket.grids[0].id, 600)
    shutil.copyfile(service.file(service.of_job(job.id)[0].id, studio.services.principal), studio.out / "plot.png")


SHEETS: Mapping[str, Callable[[Studio], None]] = {
    "img2img": img2img,
    "inpaint": inpaint,
    "upscale": upscale,
    "control": control,
    "plot": plot,
    "lora": lora,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=ROOT / "docs" / "pictures")
    parser.add_argument("--only", choices=SHEETS)
    asked = parser.parse_args()
    asked.out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as data:
        settings = read_settings(data=Path(data), offline=True, max_waiting_jobs=500)
        with open_services(settings, principal_source="cli") as services:
            for name in [asked.only] if asked.only else SHEETS:
                SHEETS[name](Studio(services, asked.out))
                print(f"showcase: {asked.out / name}.png", flush=True)


if __name__ == "__main__":
    main()
