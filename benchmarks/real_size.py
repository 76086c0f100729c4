"""SD 1.5 and SDXL in their true size, with random weights: how fast they load, and how much memory that takes.

For each family a diffusers folder and a single file (float16, original names) are written to a temporary folder. Our
loader and diffusers' read them to bfloat16 in turns, with the files in the system's cache; the peaks of memory are
those of processes that loaded once. A switch goes to the starter model and back to one that is still in memory.
Gate: one denoiser step at 64 px gives the same bits, whoever loaded the model, and after the switch and back.
SDXL needs 14 GB of disk and 14 GB of memory. A missed goal ends with status 1.

Run with: python -m benchmarks.real_size [sd1] [sdxl]
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import argparse
import gc
import hashlib
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import diffusers
import torch

from backend.models.catalog import Catalog, config_folder
from backend.models.loader import clip_tokenizer, load
from backend.models.memory import ModelMemory
from backend.settings import ROOT
from backend.types import ModelInfo
from benchmarks._goals import Verdict, at_most
from benchmarks._pairs import of_pairs
from benchmarks._real import names_and_shapes, write_folder, write_random

CPU, DTYPE = torch.device("cpu"), torch.bfloat16
SWITCH_GOAL, COLD_GOAL, MEMORY_GOAL = 1 / 20, 1 / 2, 1.10
ROUNDS, WARM_UP = 5, 1
_PIPELINES = {"sd1": diffusers.StableDiffusionPipeline, "sdxl": diffusers.StableDiffusionXLPipeline}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("families", nargs="*", choices=[*_PIPELINES, []], metavar="family")
    parser.add_argument("--child", nargs=3, metavar=("WHAT", "FAMILY", "PATH"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        what, family, path = options.child
        print(json.dumps(_CHILDREN[what](family, Path(path))))
        return 0
    missed = False
    for family in options.families or list(_PIPELINES):
        for layout in ("folder", "single file"):
            for verdict in _family(family, layout):
                print(verdict.line(), flush=True)
                missed |= verdict.missed
    return int(missed)


def verdicts(short: bool = False) -> list[Verdict]:
    """The folder of SD 1.5, or everything."""
    if short:
        return _family("sd1", "folder")
    return [one for family in _PIPELINES for layout in ("folder", "single file") for one in _family(family, layout)]


def _family(family: str, layout: str) -> list[Verdict]:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / (family if layout == "folder" else f"{family}.safetensors")
        # Written by a child too: processes begin with the peak of the one that starts them.
        _, found, ours, theirs = (_child(what, family, path) for what in ("write", "pairs", "ours", "theirs"))
    ours_peak, theirs_peak = (one["peak"] / found["weights"] for one in (ours, theirs))
    cold, switch = of_pairs(found["cold"][WARM_UP:]), of_pairs(found["switch"][WARM_UP:])
    title, size = f"{family} {layout}", f"{found['weights'] / 1e9:.1f} GB"
    return [
        at_most("C12", f"{title}: switch to a model in memory / diffusers' loading", switch, SWITCH_GOAL),
        at_most("C12", f"{title}: cold load / diffusers' loading", cold, COLD_GOAL),
        Verdict(
            "C12", f"{title}: peak of memory / weights", f"<= {MEMORY_GOAL:g}", f"{ours_peak:.2f}",
            ours_peak <= MEMORY_GOAL, f"of {size}, once; diffusers {theirs_peak:.2f}",
        ),
    ]  # fmt: skip


def _child(what: str, family: str, path: Path) -> dict[str, Any]:
    command = [sys.executable, "-m", "benchmarks.real_size", "--child", what, family, str(path)]
    done = subprocess.run(command, check=False, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    if done.returncode:
        raise SystemExit(f"gate: {family}, {what}: the process ended with status {done.returncode}")
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def _write(family: str, path: Path) -> dict[str, Any]:
    if path.suffix:
        write_random(path, names_and_shapes(family))
    else:
        write_folder(family, path)
    return {}


def _pairs(family: str, path: Path) -> dict[str, Any]:
    """Ours and theirs in turns; (ours, theirs) in seconds."""
    starter = Catalog((ROOT / "models" / "starter",), ()).find("starter")
    info, cold, switch, weights, bits = _info(family, path), [], [], 0, set()
    for _ in range(ROUNDS + WARM_UP):
        memory = ModelMemory(partial(load, device=CPU, dtype=DTYPE), 1 << 40)
        ours, model = _timed(partial(memory.get, info))
        bits.add(_step(model.unet))
        _step(memory.get(starter).unet)
        back, again = _timed(partial(memory.get, info))
        bits.add(_step(again.unet))
        weights = model.size
        del model, again, memory
        gc.collect()
        theirs, pipe = _timed(partial(_stock, family, path))
        bits.add(_step(pipe.unet))
        del pipe
        gc.collect()
        cold.append((ours, theirs))
        switch.append((back, theirs))
    if len(bits) != 1:
        raise SystemExit("gate: the model predicts something else, depending on who loaded it and when")
    return {"cold": cold, "switch": switch, "weights": weights}


def _timed(action: Callable[[], Any]) -> tuple[float, Any]:
    start = time.perf_counter()
    found = action()
    return time.perf_counter() - start, found


def _info(family: str, path: Path) -> ModelInfo:
    return ModelInfo(
        path.stem, path.stem, family, str(path), "diffusers" if path.is_dir() else "single-file", 8, 512, 1
    )


def _stock(family: str, path: Path) -> Any:
    words = {"tokenizer": clip_tokenizer()} | ({"tokenizer_2": clip_tokenizer("!")} if family == "sdxl" else {})
    extra = (
        {"add_watermarker": False} if family == "sdxl" else {"safety_checker": None, "requires_safety_checker": False}
    )
    pipeline, options = _PIPELINES[family], {"local_files_only": True, "dtype": DTYPE, **words, **extra}
    if path.is_dir():
        return pipeline.from_pretrained(path, use_safetensors=True, **options)
    return pipeline.from_single_file(str(path), config=str(config_folder(path, family)), **options)


def _growth(load_one: Callable[[str, Path], Any], family: str, path: Path) -> dict[str, Any]:
    """How much the most bytes this process ever had in memory grow by one loading."""
    before = _peak()
    kept = load_one(family, path)
    return {"peak": _peak() - before, "kept": str(type(kept))}


def _peak() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


_CHILDREN: Mapping[str, Callable[[str, Path], dict[str, Any]]] = {
    "write": _write,
    "pairs": _pairs,
    "ours": partial(_growth, lambda family, path: load(_info(family, path), CPU, DTYPE)),
    "theirs": partial(_growth, _stock),
}


def _step(unet: Any) -> str:
    """A hash of what one denoiser forward at 64 px gives."""
    dice, config = torch.Generator().manual_seed(0), unet.config
    x = torch.randn(1, config.in_channels, 8, 8, generator=dice).to(DTYPE)
    text = torch.randn(1, 77, config.cross_attention_dim, generator=dice).to(DTYPE)
    pooled = torch.randn(1, 1280, generator=dice).to(DTYPE)
    added = {"text_embeds": pooled, "time_ids": torch.tensor([[64, 64, 0, 0, 64, 64]], dtype=DTYPE)}
    with torch.inference_mode():
        out = unet.eval()(x, torch.tensor([500]), encoder_hidden_states=text, added_cond_kwargs=added).sample
    if not out.isfinite().all():
        raise SystemExit("gate: the random model predicts infinities")
    return hashlib.sha256(out.float().numpy().tobytes()).hexdigest()


if __name__ == "__main__":
    sys.exit(main())
