"""The promise of merging, on the starter model: what a picture looks like depends on its request and bucket alone.

1. random companies of requests (samplers, guidance, LoRAs, ControlNets, img2img, arrivals at any time): the share of
   pictures whose finished latent has the very bits of the same request alone in the same bucket;
2. the same picture in buckets of different size, where kernels round differently: the least signal-to-noise ratio.

Gate: pictures did share batches, and none failed. A missed goal ends with status 1.
Run with: python3 launch.py bench compositions
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import hashlib
import io
import random
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import ControlNetModel
from PIL import Image

from backend.models.catalog import Catalog
from backend.models.loader import LoadedModel, load
from backend.samplers import SAMPLERS
from backend.settings import ROOT
from backend.types import ControlUnit, GenerationRequest, LoraUse, ModelInfo, Pixels, SourceImage, Words
from backend.wire import Work
from benchmarks._engine import CPU, Studio, pinned, work
from benchmarks._goals import Verdict
from benchmarks._lora import write_lora

COMPOSITIONS, SHORT = 200, 40
SIDE, REPERTOIRE = 64, 24
LEAST_PSNR, NO_DIFFERENCE = 60.0, 99.0
ALL = [(name, schedule) for name, sampler in SAMPLERS.items() for schedule in sampler.schedules]


def main() -> int:
    found = verdicts()
    for verdict in found:
        print(verdict.line())
    return int(any(verdict.missed for verdict in found))


def verdicts(short: bool = False) -> list[Verdict]:
    with tempfile.TemporaryDirectory() as folder:
        return _measured(_Shelf(Path(folder)), SHORT if short else COMPOSITIONS)


class _Shelf:
    """The starter model with two LoRAs, a ControlNet and a picture, all random but always the same."""

    def __init__(self, folder: Path) -> None:
        self.info = Catalog((ROOT / "models" / "starter",), ()).find("starter")
        self.model: LoadedModel = load(self.info, CPU, torch.float32)
        self.loras = [self._lora(folder / f"lora{rank}.safetensors", rank) for rank in (4, 8)]
        self.control = self._control(folder / "edges")
        self.picture = self._picture(folder)

    def _lora(self, file: Path, rank: int) -> ModelInfo:
        write_lora(file, self.model.unet, rank, seed=rank)
        return replace(self.info, id=file.stem, title=file.stem, path=str(file), layout="single-file", kind="lora")

    def _control(self, folder: Path) -> ModelInfo:
        torch.manual_seed(3)
        factor = self.model.latent_factor
        hint = (16, 32, 64, 96, 256)[: factor.bit_length()]
        net = ControlNetModel.from_unet(self.model.unet, conditioning_embedding_out_channels=hint)
        for module in (*net.controlnet_down_blocks, net.controlnet_mid_block, net.controlnet_cond_embedding.conv_out):
            torch.nn.init.normal_(module.weight, std=0.02)  # zero in a fresh one, which would change nothing
        net.save_pretrained(folder)
        return replace(self.info, id="edges", title="edges", path=str(folder), kind="controlnet")

    def _picture(self, folder: Path) -> SourceImage:
        colours = np.random.default_rng(1).integers(0, 256, (8, 8, 3), np.uint8)
        out = io.BytesIO()
        Image.fromarray(colours).resize((SIDE, SIDE)).save(out, "PNG")
        name = hashlib.sha256(out.getvalue()).hexdigest()
        path = folder / f"{name}.png"
        path.write_bytes(out.getvalue())
        return SourceImage(name, str(path), "image/png", "parent")

    def works(self) -> list[Work]:
        """Every sampler, with and without guidance and a negative prompt; plain, LoRA, ControlNet, img2img in turns."""
        dice = random.Random(5)
        return [self._work(number, dice) for number in range(REPERTOIRE)]

    def _work(self, number: int, dice: random.Random) -> Work:
        sampler, schedule = ALL[number * 7 % len(ALL)]
        prompt, negative = dice.choice(["a red apple", "a cat", "a house"]), dice.choice(["", "a dog"])
        fields: dict[str, Any] = {
            "prompt": prompt, "negative": negative, "steps": dice.randint(2, 4), "cfg": dice.choice([1.0, 3.5, 7.0]),
            "seed": dice.randrange(1000), "sampler": sampler, "schedule": schedule, "width": SIDE, "height": SIDE,
            "model": self.info.id,
        }  # fmt: skip
        resources: tuple[ModelInfo, ...] = ()
        inputs: dict[str, SourceImage] = {}
        match number % 4:
            case 1:
                lora = dice.choice(self.loras)
                words = Words(prompt=prompt, negative=negative, loras=(LoraUse(id=lora.id, text=0.0, unet=0.8),))
                fields["words"], resources = (words,), (lora,)
            case 2:
                fields["control"] = (ControlUnit(image=self.picture.sha256, model=self.control.id),)
                resources, inputs = (self.control,), {self.picture.sha256: self.picture}
            case 3:
                fields |= {"mode": "img2img", "init_image": self.picture.sha256, "denoise": 0.7}
                inputs = {self.picture.sha256: self.picture}
        return work(f"{number}", self.info, GenerationRequest(**fields), resources=resources, inputs=inputs)


class _Alone:
    """Each picture by itself in a bucket: made once, and remembered."""

    def __init__(self, studio: Studio) -> None:
        self._studio = studio
        self._known: dict[tuple[str, int], tuple[torch.Tensor, Pixels]] = {}

    def __call__(self, one: Work, bucket: int) -> tuple[torch.Tensor, Pixels]:
        key = one.job_id, bucket
        if key not in self._known:
            name = f"{one.job_id} alone in {bucket}"
            (raw,) = self._studio.make(pinned(one, name, bucket)).values()
            self._known[key] = self._studio.engine.latents.pop(name), raw.pixels
        return self._known[key]


def _measured(shelf: _Shelf, compositions: int) -> list[Verdict]:
    repertoire, dice = shelf.works(), random.Random(2026)
    studio = Studio(lambda info: shelf.model, previews=0.1)
    alone = _Alone(Studio(lambda info: shelf.model, previews=0.1))
    equal = compared = shared = 0
    for number in range(compositions):
        company = {f"{number}-{place}": one for place, one in enumerate(dice.sample(repertoire, dice.randint(2, 5)))}
        for name, one in company.items():
            studio.give(replace(one, job_id=name))
            time.sleep(dice.choice([0.0, 0.0, 0.02, 0.05]))  # some arrive when others are under way
        for name, raw in studio.take(len(company)).items():
            bucket = raw.engine.bucket
            latent, pixels = alone(company[name], bucket)
            compared += 1
            shared += bucket > (1 if company[name].request.cfg <= 1 else 2)
            equal += torch.equal(studio.engine.latents.pop(name), latent) and np.array_equal(raw.pixels, pixels)
    if shared <= compared / 4:
        raise SystemExit(f"gate: only {shared} of {compared} pictures had company")
    across = [_psnr(alone(one, 2)[1], alone(one, bucket)[1]) for one in repertoire[::3] for bucket in (4, 8)]
    studio.close()
    share = f"{equal} of {compared}"
    note = f"{compositions} companies, {shared} pictures in shared buckets"
    low = f"{min(across):.1f} dB" if min(across) < NO_DIFFERENCE else "no difference"
    return [
        Verdict("C3", "pictures with the bits they have alone, same bucket", "100 %", share, equal == compared, note),
        Verdict(
            "C3", "signal to noise across buckets 2, 4, 8, float32", f">= {LEAST_PSNR:g} dB", low,
            min(across) >= LEAST_PSNR, f"the least of {len(across)}",
        ),
    ]  # fmt: skip


def _psnr(one: Pixels, other: Pixels) -> float:
    error = float(np.mean((one.astype(float) - other) ** 2))
    return float(10 * np.log10(255**2 / error)) if error else NO_DIFFERENCE


if __name__ == "__main__":
    sys.exit(main())
