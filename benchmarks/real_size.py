"""SD 1.5 and SDXL in their true size, with random weights: how fast they load, and how much memory that takes.

For each family a single file (float16, original names) and a diffusers folder are written to a temporary folder. Our
loader and diffusers' read each in a process of its own, to bfloat16, with the file in the system's cache.
Gate: one denoiser step at 64 px gives the same bits, whoever loaded the model. Needs 20 GB of disk and 12 GB of memory.

Run with: python -m benchmarks.real_size [sd1] [sdxl]
"""

from __future__ import annotations

import argparse
import hashlib
import json
import math
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import diffusers
import torch
from torch import Tensor
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

from backend.models.catalog import config_folder
from backend.models.loader import LoadedModel, clip_tokenizer, load
from backend.models.memory import ModelMemory
from backend.settings import ROOT
from backend.types import ModelInfo
from tests.support import tiny

CPU, DTYPE = torch.device("cpu"), torch.bfloat16
SWITCH_GOAL, COLD_GOAL, MEMORY_GOAL = 1 / 20, 1 / 2, 1.10
_PIPELINES = {"sd1": diffusers.StableDiffusionPipeline, "sdxl": diffusers.StableDiffusionXLPipeline}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("families", nargs="*", choices=[*_PIPELINES, []], metavar="family")
    parser.add_argument("--rounds", type=int, default=2, help="ours and theirs in turns; the best of each counts")
    parser.add_argument("--child", nargs=3, metavar=("WHO", "FAMILY", "PATH"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        who, family, path = options.child
        print(json.dumps({"ours": _ours, "theirs": _theirs, "folder": _folder}[who](family, Path(path))))
        return
    for family in options.families or list(_PIPELINES):
        with tempfile.TemporaryDirectory() as folder:
            _family(family, Path(folder), options.rounds)


def _family(family: str, folder: Path, rounds: int) -> None:
    file = folder / f"{family}-file.safetensors"
    start = time.perf_counter()
    write_random(file, names_and_shapes(family))
    size = file.stat().st_size
    print(f"{family}: {size / 1e9:.2f} GB of random weights written in {time.perf_counter() - start:.0f} s", flush=True)
    _compare(family, "single file", file, rounds)
    model_folder = folder / f"{family}-folder"
    subprocess.run(_command("folder", family, file), check=True, cwd=ROOT, stdout=subprocess.DEVNULL)
    file.unlink()
    _compare(family, "folder", model_folder, rounds)


def _compare(family: str, what: str, path: Path, rounds: int) -> None:
    _child("theirs", family, path)  # so that the file is in the cache for both
    pairs = [[_child(who, family, path) for who in ("ours", "theirs")] for _ in range(rounds)]
    if len({one["bits"] for pair in pairs for one in pair}) != 1:
        raise SystemExit(f"gate: the {what} of {family} predicts something else than with diffusers' loader")
    ours, theirs = (min(side, key=lambda one: float(one["seconds"])) for side in zip(*pairs, strict=True))
    print(
        f"{family} {what}: loaded in {ours['seconds']:.2f} s, diffusers {theirs['seconds']:.2f} s"
        f" (ratio {ours['seconds'] / theirs['seconds']:.2f}, goal {COLD_GOAL:g});"
        f" switch back to a loaded model {ours['switch'] * 1e6:.0f} us"
        f" (1/{theirs['seconds'] / ours['switch']:.0f}, goal 1/{1 / SWITCH_GOAL:.0f});"
        f" peak memory {ours['peak'] / ours['weights']:.2f} x {ours['weights'] / 1e9:.2f} GB of weights (goal"
        f" {MEMORY_GOAL:g}), diffusers {theirs['peak'] / ours['weights']:.2f};"
        f" step at 64 px {ours['step']:.2f} s, first step {ours['first']:.2f} s, diffusers {theirs['first']:.2f} s",
        flush=True,
    )


def _command(who: str, family: str, path: Path) -> list[str]:
    return [sys.executable, "-m", "benchmarks.real_size", "--child", who, family, str(path)]


def _child(who: str, family: str, path: Path) -> dict[str, Any]:
    done = subprocess.run(_command(who, family, path), check=True, cwd=ROOT, stdout=subprocess.PIPE)
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def _ours(family: str, path: Path) -> dict[str, Any]:
    layout = "diffusers" if path.is_dir() else "single-file"
    info = ModelInfo(path.stem, path.stem, family, str(path), layout, 8, 512, 1)
    memory = ModelMemory(lambda entry: load(entry, CPU, DTYPE), 1 << 40)
    before = _peak()
    start = time.perf_counter()
    model = memory.get(info)
    seconds = time.perf_counter() - start
    peak = _peak() - before
    first, bits = _step(model.unet)
    step, again = _step(model.unet)
    start = time.perf_counter()
    back = memory.get(info)
    switch = time.perf_counter() - start
    if back is not model or again != bits:
        raise SystemExit("gate: the model in memory is not the one that was loaded")
    return {
        "seconds": seconds, "switch": switch, "peak": peak, "weights": model.size, "first": first, "step": step,
        "bits": bits,
    }  # fmt: skip


def _theirs(family: str, path: Path) -> dict[str, Any]:
    words = {"tokenizer": clip_tokenizer()} | ({"tokenizer_2": clip_tokenizer("!")} if family == "sdxl" else {})
    extra = (
        {"add_watermarker": False} if family == "sdxl" else {"safety_checker": None, "requires_safety_checker": False}
    )
    pipeline, options = _PIPELINES[family], {"local_files_only": True, "dtype": DTYPE, **words, **extra}
    before = _peak()
    start = time.perf_counter()
    if path.is_dir():
        pipe = pipeline.from_pretrained(path, use_safetensors=True, **options)
    else:
        pipe = pipeline.from_single_file(str(path), config=str(config_folder(path, family)), **options)
    seconds = time.perf_counter() - start
    peak = _peak() - before
    first, bits = _step(pipe.unet.eval())
    return {"seconds": seconds, "peak": peak, "first": first, "bits": bits}


def _step(unet: Any) -> tuple[float, str]:
    """Seconds of one denoiser forward at 64 px, and a hash of what it gave."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(1, 4, 8, 8, generator=generator).to(DTYPE)
    text = torch.randn(1, 77, unet.config.cross_attention_dim, generator=generator).to(DTYPE)
    pooled = torch.randn(1, 1280, generator=generator).to(DTYPE)
    added = {"text_embeds": pooled, "time_ids": torch.tensor([[64, 64, 0, 0, 64, 64]], dtype=DTYPE)}
    start = time.perf_counter()
    with torch.inference_mode():
        out = unet(x, torch.tensor([500]), encoder_hidden_states=text, added_cond_kwargs=added).sample
    seconds = time.perf_counter() - start
    if not out.isfinite().all():
        raise SystemExit("gate: the random model predicts infinities")
    return seconds, hashlib.sha256(out.float().numpy().tobytes()).hexdigest()


def _peak() -> int:
    """The most bytes this process ever had in memory."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def _folder(family: str, file: Path) -> dict[str, Any]:
    """The single file as a diffusers folder beside it."""
    info = ModelInfo(file.stem, file.stem, family, str(file), "single-file", 8, 512, 1)
    model: LoadedModel = load(info, CPU, torch.float16)
    texts = dict(zip(("text_encoder", "text_encoder_2"), model.text_encoders, strict=False))
    words = dict(zip(("tokenizer", "tokenizer_2"), model.tokenizers, strict=False))
    config = config_folder(file, family)
    target = file.with_name(f"{family}-folder")
    for name, part in {"unet": model.unet, "vae": model.vae, **texts, **words}.items():
        part.save_pretrained(target / name)
    for name in ("model_index.json", "scheduler/scheduler_config.json"):
        (target / name).parent.mkdir(exist_ok=True)
        (target / name).write_bytes((config / name).read_bytes())
    return {}


def names_and_shapes(family: str) -> dict[str, tuple[int, ...]]:
    """What is in a checkpoint of this family, under its original names."""
    folder = config_folder(Path("none.safetensors"), family)

    def text(name: str, kind: Any) -> Any:
        return kind(CLIPTextConfig.from_pretrained(folder / name)) if (folder / name).is_dir() else None

    with torch.device("meta"):
        parts = SimpleNamespace(
            unet=diffusers.UNet2DConditionModel.from_config(
                diffusers.UNet2DConditionModel.load_config(folder / "unet")
            ),
            vae=diffusers.AutoencoderKL.from_config(diffusers.AutoencoderKL.load_config(folder / "vae")),
            text_encoder=text("text_encoder", CLIPTextModel),
            text_encoder_2=text("text_encoder_2", CLIPTextModelWithProjection),
        )
    return {name: tuple(tensor.shape) for name, tensor in tiny.to_ldm(parts).items()}


def write_random(file: Path, shapes: Mapping[str, tuple[int, ...]]) -> None:
    """A safetensors file of float16 noise, written as it is made: never more than one tensor in memory."""
    header, end = {}, 0
    for name, shape in shapes.items():
        begin, end = end, end + 2 * math.prod(shape)
        header[name] = {"dtype": "F16", "shape": shape, "data_offsets": [begin, end]}
    raw = json.dumps(header).encode()
    raw += b" " * (-len(raw) % 8)
    generator = torch.Generator().manual_seed(0)
    with file.open("wb") as out:
        out.write(len(raw).to_bytes(8, "little") + raw)
        for name, shape in shapes.items():
            out.write(_weights(name, shape, generator).numpy().tobytes())


def _weights(name: str, shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    """Noise of the usual size; ones for the weights of norms, so that nothing vanishes or explodes."""
    if len(shape) == 1:
        return torch.full(shape, float(name.endswith("weight")), dtype=torch.float16)
    return (torch.randn(shape, generator=generator) / math.prod(shape[1:]) ** 0.5).half()


if __name__ == "__main__":
    main()
