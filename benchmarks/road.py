"""The whole road against the stock pipeline: from a prompt to a sealed, stored picture in the history.

Ours: service -> engine process -> inspected, watermarked, encoded, signed, verified, fsynced, recorded. Theirs:
`StableDiffusionPipeline(...)` and a plain PIL save. Same weights, float32, sampler, steps, seed; no one is told less.
Gate: the sealed picture verifies as valid, with the mark found and an exact match, and shows what theirs shows (the
mark's own change apart). A missed goal ends with status 1. Run with: python3 launch.py bench road
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import sys
import tempfile
from pathlib import Path

import numpy as np
import torch
from diffusers import EulerDiscreteScheduler
from PIL import Image

from backend.types import Record
from benchmarks import _stock
from benchmarks._pairs import compare
from webui.compose import open_services
from webui.options import STARTER, read_settings

PROMPT, SEED, STEPS, CFG = "a red apple", 7, 20, 4.0
LEAST_PSNR = 30.0


def main() -> int:
    stock = _stock.pipeline(STARTER)
    stock.scheduler = EulerDiscreteScheduler.from_config(stock.scheduler.config)
    with (
        tempfile.TemporaryDirectory() as folder,
        open_services(read_settings(data=Path(folder)), principal_source="cli") as services,
    ):
        service = services.service
        fields = {"prompt": PROMPT, "seed": SEED, "steps": STEPS, "cfg": CFG, "sampler": "Euler"}

        def ours() -> Record:
            job = service.submit(fields, services.principal)
            if service.wait(job.id, 120).state != "done":
                raise SystemExit(f"gate: {service.job(job.id).problem}")
            return service.of_job(job.id)[0]

        def theirs() -> None:
            image = stock(
                PROMPT,
                num_inference_steps=STEPS,
                guidance_scale=CFG,
                generator=torch.Generator().manual_seed(SEED),
            ).images[0]
            image.save(Path(folder) / "theirs.png")

        record = ours()
        theirs()
        data = service.file(record.id, services.principal).read_bytes()
        report = service.verify(data)
        shown = (report.c2pa.state, report.watermark.found, report.history.match)
        if shown != ("valid", True, "exact"):
            raise SystemExit(f"gate: the sealed picture reads {shown}")
        psnr = _psnr(service.file(record.id, services.principal), Path(folder) / "theirs.png")
        if psnr < LEAST_PSNR:
            raise SystemExit(f"gate: {psnr:.1f} dB between the two pictures")
        print(f"gate: valid, mark found (p {report.watermark.p_value:.0e}), exact match; {psnr:.1f} dB to theirs")
        road = compare(ours, theirs, rounds=9, goal=1.25)
        print(road.line("prompt to sealed file / stock pipeline + PIL save"))
    return int(road.missed)


def _psnr(one: Path, other: Path) -> float:
    with Image.open(one) as a, Image.open(other) as b:
        error = np.mean((np.asarray(a.convert("RGB"), float) - np.asarray(b.convert("RGB"), float)) ** 2)
    return float(10 * np.log10(255**2 / max(error, 1e-9)))


if __name__ == "__main__":
    sys.exit(main())
