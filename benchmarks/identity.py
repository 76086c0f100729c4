"""How soon a model is known: from its header, with its hash computed where nobody waits for it.

1. a checkpoint of SDXL's size (6.9 GB) and real list of tensors in a fresh catalogue: time until it is recognised;
2. the same for SD 1.5's size (2.1 GB) against the SHA-256 of the file, which others compute before the first picture;
3. the engine's first picture with that file as its model, whose hash is computed meanwhile, against one with a file
   that has nothing to hash: what the hashing takes from the same cores.

The weights are a hole in the file; the networks of the third are the starter model's.
Gate: family, size and kind are right, and the first picture was made before the hash was known.
A missed goal ends with status 1. Run with: python3 launch.py bench identity
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import sys
import tempfile
import threading
import time
from dataclasses import replace
from pathlib import Path
from statistics import median

import torch

from backend.models.catalog import Catalog
from backend.models.hashes import file_sha256
from backend.models.loader import load
from backend.settings import ROOT
from backend.types import GenerationRequest, ModelInfo, RawImage
from benchmarks._engine import CPU, Studio, work
from benchmarks._goals import Verdict, at_least, stated
from benchmarks._pairs import compare, of_pairs, seconds
from benchmarks._real import names_and_shapes, write_hollow

IDENTITY_GOAL_MS, HASH_GOAL = 10.0, 100.0
LOOKS, ROUNDS = 30, 5
NAMES = {"sd1": "photographs", "sdxl": "landscapes"}


def main() -> int:
    found = verdicts()
    for verdict in found:
        print(verdict.line())
    return int(any(verdict.missed for verdict in found))


def verdicts(short: bool = False) -> list[Verdict]:
    with tempfile.TemporaryDirectory() as folder:
        for family, name in NAMES.items():
            write_hollow(Path(folder) / f"{name}.safetensors", names_and_shapes(family))
        return [*_known(Path(folder)), _first_pictures(Path(folder))]


def _look(folder: Path, family: str) -> ModelInfo:
    return Catalog((), (folder,)).find(NAMES[family])


def _known(folder: Path) -> list[Verdict]:
    files = {family: folder / f"{name}.safetensors" for family, name in NAMES.items()}
    for family, file in files.items():
        info = _look(folder, family)
        if (info.family, info.kind, info.size, info.sha256) != (family, "checkpoint", file.stat().st_size, None):
            raise SystemExit(f"gate: {file.name} was taken for {info}")
    busy = time.process_time()
    times = [1000 * seconds(lambda: _look(folder, "sdxl")) for _ in range(LOOKS)]
    busy = (time.process_time() - busy) / LOOKS
    middle, tensors = median(times), len(names_and_shapes("sdxl"))
    sizes = {family: f"{file.stat().st_size / 1e9:.1f} GB" for family, file in files.items()}
    hashing = compare(lambda: _look(folder, "sd1"), lambda: file_sha256(files["sd1"]), ROUNDS)
    return [
        Verdict(
            "C17", f"identity of a file of {sizes['sdxl']} is known", f"<= {IDENTITY_GOAL_MS:g} ms",
            f"{middle:.1f} ms [{min(times):.1f} .. {max(times):.1f}]", middle <= IDENTITY_GOAL_MS,
            f"{tensors} tensors, {LOOKS} fresh catalogues; {1000 * busy:.1f} ms of processor time",
        ),
        at_least("C17", f"SHA-256 of a file of {sizes['sd1']} / its identity", hashing, HASH_GOAL),
    ]  # fmt: skip


def _first_pictures(folder: Path) -> Verdict:
    starter = Catalog((ROOT / "models" / "starter",), ()).find("starter")
    model = load(starter, CPU, torch.float32)
    request = GenerationRequest(
        prompt="a cat", steps=4, sampler="Euler", schedule="Automatic", cfg=4.0, seed=1, model="starter",
        width=starter.native_size, height=starter.native_size,
    )  # fmt: skip
    file = folder / f"{NAMES['sd1']}.safetensors"

    def first(path: Path, size: int) -> float:
        info = replace(starter, path=str(path), size=size)
        studio = Studio(lambda entry: replace(model, info=entry))
        made: list[RawImage] = []
        taken = seconds(lambda: made.extend(studio.make(work("first", info, request)).values()))
        studio.close()
        _settled()
        if size and made[0].model.sha256 is not None:
            raise SystemExit("gate: the first picture waited for the hash of its model")
        return taken

    def pair() -> tuple[float, float]:
        return first(file, file.stat().st_size), first(folder / "nothing", 0)

    pairs = [pair() for _ in range(ROUNDS + 1)][1:]
    return stated("C17", "first picture while its model is hashed / nothing to hash", of_pairs(pairs))


def _settled() -> None:
    """Wait for hashes that are still being computed."""
    for thread in threading.enumerate():
        if thread.name.startswith("seal"):
            thread.join()


if __name__ == "__main__":
    sys.exit(main())
