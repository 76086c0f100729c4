"""Teach a small network to make pictures twice as large: Real-ESRGAN's compact kind, for the art the starter draws.

    python -m training.upscaler data                       renders scenes at 256 px and wears them out
    python -m training.upscaler train --minutes 15 [--resume]
    python -m training.upscaler measure                    held-out concepts, against Lanczos; and a sheet to look at
    python -m training.upscaler export                     models/starter-upscaler, fp16, with its card

It sharpens what was made small and cleans what the starter's autoencoder blurs. Files lie in WORK/upscaler.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from itertools import pairwise, product
from pathlib import Path

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # before torch: spinning threads starve a small machine

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional

from backend.engine.upscale import RIM
from backend.types import Pixels
from training import running
from training.upscaler_pictures import FOLDER, INPUTS, SIZE, Scenes, prepare

SCALE = 2
FEATURES, LAYERS = 32, 8
BATCH, PATCH = 6, 64
PEAK = 5e-4
LIMIT = 2**20
NAME = "starter-upscaler"
TAPS = (0.22, 0.86, -0.08)
"""Catmull-Rom's weights a quarter of a pixel from the middle, cut to three."""
TEMPLATE = Path(__file__).with_name("upscaler_card.md")


class Compact(nn.Module):
    """SRVGGNetCompact of Real-ESRGAN (Wang 2021), by the names of its published files: convolutions at the small size,
    a pixel shuffle, and the picture itself with every pixel doubled. (B, 3, H, W) to (B, 3, 2H, 2W), in [0, 1]."""

    def __init__(self, features: int = FEATURES, layers: int = LAYERS) -> None:
        super().__init__()
        widths = [3, *[features] * (layers + 1), 3 * SCALE**2]
        self.body = nn.ModuleList()
        for number, (into, out) in enumerate(pairwise(widths)):
            self.body.append(nn.Conv2d(into, out, 3, padding=1))
            if number <= layers:
                self.body.append(nn.PReLU(out, init=0.1))
        self._interpolate()

    @torch.no_grad()
    def _interpolate(self) -> None:
        """Start as a sharp interpolation, so that no time is spent on learning one: the first three channels carry the
        picture through unchanged, the last layer weighs each pixel and its neighbours."""
        colours = [0, 1, 2]
        weights = dict(self.body.named_parameters())
        last = weights.pop(f"{len(self.body) - 1}.weight")
        for values in (last, weights.pop(f"{len(self.body) - 1}.bias")):
            values.zero_()
        for values in weights.values():
            if values.ndim == 4:
                values[:3] = 0
                values[colours, colours, 1, 1] = 1
        for layer in self.body:
            if isinstance(layer, nn.PReLU):
                layer.weight[:3] = 1
            elif isinstance(layer, nn.Conv2d) and layer.bias is not None:
                layer.bias[:3] = 0
        towards = torch.tensor(TAPS)
        for colour, down, across in product(range(3), range(2), range(2)):
            kernel = torch.outer(*(towards.flip(0) if side else towards for side in (down, across)))
            kernel[1, 1] -= 1  # the doubled picture is added to it
            last[colour * SCALE**2 + down * SCALE + across, colour] = kernel

    def forward(self, small: Tensor) -> Tensor:
        values = small
        for layer in self.body:
            values = layer(values)
        doubled = functional.interpolate(small, scale_factor=SCALE, mode="nearest")
        return functional.pixel_shuffle(values, SCALE) + doubled


def as_tensor(pixels: Pixels) -> Tensor:
    """(B, H, W, 3) to (B, 3, H, W) in [0, 1]."""
    return torch.from_numpy(np.array(pixels)).permute(0, 3, 1, 2).float() / 255


def loss_of(net: nn.Module, small: Pixels, large: Pixels) -> Tensor:
    """Plain L1, in float32, of what lies RIM pixels or more inside: nearer to a cut a network sees zeros."""
    inside = (..., slice(RIM * SCALE, -RIM * SCALE), slice(RIM * SCALE, -RIM * SCALE))
    return functional.l1_loss(net(as_tensor(small))[inside], as_tensor(large)[inside])


@dataclass(slots=True)
class Worked(running.Budget):
    """Minutes of the processor's work: on a busy machine a run that waits all day must not end untrained."""

    started: float = field(default_factory=time.process_time)

    def seconds(self) -> float:
        return self.spent + time.process_time() - self.started


def train(work: Path, *, minutes: float, seed: int, resume: bool) -> None:
    """Trains for `minutes` of work, resumed parts included, and leaves `work/upscaler/net.safetensors`."""
    torch.manual_seed(seed)
    scenes = Scenes.read(work, held=False)
    run = running.begin(Compact(), minutes=minutes, peak=PEAK, decay=0.998, weight_decay=0.0)
    run.budget = Worked(minutes)
    path = work / FOLDER / "net.safetensors"
    if resume and path.exists():
        run.resume(path)
    dice = np.random.default_rng(seed + run.step)
    over = False
    while not over:
        small, large = scenes.draw(BATCH, PATCH, dice)
        run.advance(lambda small=small, large=large: loss_of(run.module, small, large))  # type: ignore[misc]
        if run.step % 100 == 0:
            speed = run.step / run.budget.seconds()
            spent = run.budget.share()
            print(f"upscaler: step {run.step} loss {run.loss:.4f} {speed:.1f} steps/s {spent:.0%}", flush=True)
        over = run.budget.share() >= 1
        if over or run.due(30):
            run.save(path)


def trained(work: Path) -> Compact:
    """The averaged weights of the last checkpoint."""
    net = Compact()
    net.load_state_dict(running.part(running.load(work / FOLDER / "net.safetensors")[0], "average"))
    return net.eval()


# ---- how good it is


def psnr(made: Pixels, real: Pixels) -> float:
    """Peak signal-to-noise ratio in dB over all three colours; 100 for the same picture."""
    error = float(np.mean((made.astype(np.float64) - real) ** 2))
    return 100.0 if error == 0 else min(100.0, 10 * np.log10(255**2 / error))


def ssim(made: Pixels, real: Pixels) -> float:
    """Structural similarity (Wang 2004: Gaussian window of 11 pixels, deviation 1.5), the mean of three colours."""
    ours, theirs = made.astype(np.float64), real.astype(np.float64)
    first, second = (0.01 * 255) ** 2, (0.03 * 255) ** 2
    mean, other = _window(ours), _window(theirs)
    spread = _window(ours**2) - mean**2 + _window(theirs**2) - other**2
    both = _window(ours * theirs) - mean * other
    map_ = (2 * mean * other + first) * (2 * both + second) / ((mean**2 + other**2 + first) * (spread + second))
    return float(map_[5:-5, 5:-5].mean())


def _window(values: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(cv2.GaussianBlur(values, (11, 11), 1.5), dtype=np.float64)


def by_lanczos(small: Pixels) -> Pixels:
    """(H, W, 3) to (2H, 2W, 3)."""
    height, width = small.shape[:2]
    return np.asarray(Image.fromarray(small).resize((SCALE * width, SCALE * height), Image.Resampling.LANCZOS))


@torch.inference_mode()
def by_network(net: nn.Module, small: Pixels) -> Pixels:
    """(H, W, 3) to (2H, 2W, 3), the picture's rim continued outwards as the studio does."""
    around = np.pad(small, ((RIM, RIM), (RIM, RIM), (0, 0)), mode="edge")
    made: Tensor = net(as_tensor(around[None]))[0].clamp(0, 1) * 255
    cut = made[:, RIM * SCALE : -RIM * SCALE, RIM * SCALE : -RIM * SCALE]
    return np.asarray(cut.round().to(torch.uint8).permute(1, 2, 0).numpy())


def measure(work: Path, *, net: nn.Module | None = None, count: int | None = None) -> dict[str, float]:
    """Means over held-out scenes, `INPUT METHOD psnr|ssim`, and the median seconds for 128 to 256 px; leaves
    `scores.json` and `sheet.png` (as it came, Lanczos, ours, the art)."""
    net = net or trained(work)
    ways: Mapping[str, Callable[[Pixels], Pixels]] = {
        "Lanczos": by_lanczos,
        "ours": lambda small: by_network(net, small),
    }
    held = Scenes.read(work, held=True)
    held = Scenes(held.large[:count], held.decoded[:count])
    scores: dict[str, float] = {"scenes": len(held.large), "threads": torch.get_num_threads()}
    rows: list[Pixels] = []
    for source, inputs in INPUTS.items():
        found: dict[str, list[float]] = {}
        for number, (small, large) in enumerate(zip(inputs(held), held.large, strict=True)):
            made = {}
            for way, enlarge in ways.items():
                began = time.perf_counter()
                made[way] = enlarge(np.ascontiguousarray(small))
                found.setdefault(f"{way} seconds", []).append(time.perf_counter() - began)
                found.setdefault(f"{source} {way} psnr", []).append(psnr(made[way], large))
                found.setdefault(f"{source} {way} ssim", []).append(ssim(made[way], large))
            if number < 6:
                doubled = np.repeat(np.repeat(small, SCALE, 0), SCALE, 1)
                rows.append(np.concatenate([doubled, made["Lanczos"], made["ours"], large], 1))
        scores |= {
            name: float(np.median(values) if name.endswith("seconds") else np.mean(values))
            for name, values in found.items()
        }
    halves = [np.concatenate(rows[start : start + 6]) for start in (0, 6)] if len(rows) == 12 else rows
    Image.fromarray(np.concatenate(halves, 1)).save(work / FOLDER / "sheet.png")
    (work / FOLDER / "scores.json").write_text(json.dumps(scores, indent=1) + "\n", encoding="utf-8")
    print(f"upscaler: {json.dumps(scores, indent=1)}", flush=True)
    return scores


# ---- what is shipped


def export(work: Path, out: Path) -> int:
    """Writes weights (fp16) and card to `out`; gives the size of the weights in bytes."""
    net = trained(work)
    out.mkdir(parents=True, exist_ok=True)
    weights = out / f"{NAME}.safetensors"
    about = {
        "modelspec.title": "Starter upscaler 2x",
        "modelspec.license": "Apache-2.0",
        "modelspec.description": "Makes icon-like pictures twice as large and cleans what the starter blurs.",
    }
    tensors = {name: value.half().contiguous() for name, value in net.state_dict().items()}
    save_file(tensors, weights, metadata=about)
    weights.chmod(0o644)
    size = weights.stat().st_size
    if size > LIMIT:
        raise SystemExit(f"The weights take {size / 2**20:.2f} MiB, the limit is {LIMIT / 2**20:.0f} MiB.")
    (out / "README.md").write_text(card(work, net, size), encoding="utf-8")
    print(f"upscaler: {size / 1024:.0f} KiB in {out}", flush=True)
    return size


def card(work: Path, net: nn.Module, size: int) -> str:
    """The model card, with what `measure` found."""
    path = work / FOLDER / "scores.json"
    measured = "Not measured."
    if path.exists():
        scores = json.loads(path.read_text(encoding="utf-8"))
        lines = ["| enlarged from | | PSNR | SSIM |", "|---|---|---|---|"]
        for source, words in (
            ("small", "exact halves of the art"),
            ("starter", "what the starter's autoencoder leaves"),
        ):
            for way in ("Lanczos", "ours"):
                found = scores[f"{source} {way} psnr"], scores[f"{source} {way} ssim"]
                lines.append(f"| {words} | {way} | {found[0]:.2f} dB | {found[1]:.4f} |")
        milliseconds = 1000 * scores["ours seconds"], 1000 * scores["Lanczos seconds"]
        lines += [
            "",
            f"128 to 256 px takes {milliseconds[0]:.0f} ms (median, {scores['threads']} thread of a CPU), Lanczos "
            f"{milliseconds[1]:.1f} ms. {scores['scenes']} scenes of concepts that were not trained on.",
        ]
        measured = "\n".join(lines)
    facts = running.load(work / FOLDER / "net.safetensors")[1]
    scenes = json.loads((work / FOLDER / "facts.json").read_text(encoding="utf-8"))["count"]
    return TEMPLATE.read_text(encoding="utf-8").format(
        measured=measured, parameters=sum(value.numel() for value in net.parameters()), kib=round(size / 1024),
        features=FEATURES, layers=LAYERS, steps=int(facts["step"]), minutes=round(facts["seconds"] / 60), batch=BATCH,
        patch=PATCH, size=SIZE, scenes=scenes,
    )  # fmt: skip


def main(arguments: list[str] | None = None) -> None:
    """Runs one stage."""
    parser = argparse.ArgumentParser(
        prog="python -m training.upscaler", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("stage", choices=("data", "train", "measure", "export"))
    parser.add_argument("--model", type=Path, default=Path("models/starter"), help="whose autoencoder wears scenes out")
    parser.add_argument("--work", type=Path, default=Path("training/work"), help="files lie in WORK/upscaler")
    parser.add_argument("--tarballs", type=Path, help="folder with the npm packages (default: WORK/upscaler/npm)")
    parser.add_argument("--count", type=int, default=4000, help="scenes to train on")
    parser.add_argument("--held", type=int, default=256, help="scenes to measure with")
    parser.add_argument("--minutes", type=float, default=15.0, help="of one core's work, resumed parts included")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--resume", action="store_true")
    parser.add_argument("--out", type=Path, default=Path("models") / NAME)
    options = parser.parse_args(arguments)
    torch.set_num_threads(options.threads)
    if options.stage == "data":
        tarballs = options.tarballs or options.work / FOLDER / "npm"
        size = {"count": options.count, "held": options.held, "seed": options.seed}
        prepare(options.work, options.model, tarballs, **size)
    elif options.stage == "train":
        train(options.work, minutes=options.minutes, seed=options.seed, resume=options.resume)
    elif options.stage == "measure":
        measure(options.work)
    else:
        export(options.work, options.out)


if __name__ == "__main__":
    main()
