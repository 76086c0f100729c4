"""Teach the starter model to follow lines: a small ControlNet for edges, or for scribbles.

    python -m training.control data --source art --parts 64    the real art behind the latent cache
    python -m training.control data --source own --parts 16    pictures the starter drew itself
    python -m training.control train --kind edges --minutes 30 [--resume] [--start FILE]
    python -m training.control measure --kind edges            do controlled pictures follow the hint?
    python -m training.control export --kind edges             the diffusers folder, fp16

The denoiser stays as it is; the loss is its own, over noisy latents of pictures whose hints are known. "own" needs
nothing but the exported model, "art" the files of the earlier stages. Everything lies in WORK/control, in a folder of
the model's own: for a new denoiser the stages begin anew, `--start` with the weights of an older control.
"""

from __future__ import annotations

import argparse
import json
import os
from functools import partial
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # before torch: spinning threads starve a small machine

import cv2
import numpy as np
import torch
from diffusers import ControlNetModel, StableDiffusionControlNetPipeline, UNet2DConditionModel
from PIL import Image
from torch import Tensor, nn

from backend.types import Pixels
from training import denoiser, geometry, running, sheet
from training.control_hints import KINDS, Kind
from training.control_pictures import PART, SOURCES, Pictures, as_hints, place, prepare, words

BATCH = 32
PEAK = 1e-3
NEAR = 0.5  # share of the learning rate when an older control's weights are the start
REACH = 2  # pixels by which a line may miss and still count
LIMIT = 6 * 2**20
HINT_CHANNELS = (16, 32, 64, 96, 128)
CARD = """---
license: apache-2.0
---
# Starter {kind}

A small ControlNet for the starter model, at 128 x 128 pixels: pictures follow {shown}.
It is a copy of the denoiser's encoder without attention to words, 2.9 million weights, made by
`python -m training.control train --kind {kind}` and loaded by diffusers as any other `ControlNetModel`.

{measured}

It knows the icon-like pictures the starter knows; {limits}.
"""


def build(unet: UNet2DConditionModel) -> ControlNetModel:
    """A copy of the denoiser's encoder without its attention to words, which the denoiser itself still has."""
    shape = unet.config
    net = ControlNetModel(
        in_channels=shape.in_channels,
        block_out_channels=shape.block_out_channels,
        layers_per_block=shape.layers_per_block,
        down_block_types=("DownBlock2D",) * len(shape.block_out_channels),
        mid_block_type="UNetMidBlock2D",
        cross_attention_dim=shape.cross_attention_dim,
        attention_head_dim=shape.attention_head_dim,
        norm_num_groups=shape.norm_num_groups,
        conditioning_embedding_out_channels=HINT_CHANNELS,
    )
    known, wanted = unet.state_dict(), net.state_dict()
    shared = {name: known[name] for name, value in wanted.items() if name in known and known[name].shape == value.shape}
    net.load_state_dict(shared, strict=False)
    return net


class Guided(nn.Module):
    """The denoiser with hints: callable like the denoiser alone, so that its loss can be used."""

    def __init__(self, unet: UNet2DConditionModel, net: ControlNetModel, hints: Tensor) -> None:
        super().__init__()
        self.unet, self.net, self.hints = unet, net, hints

    def forward(self, noisy: Tensor, steps: Tensor, states: Tensor) -> Any:
        down, mid = self.net(
            noisy, steps, encoder_hidden_states=states, controlnet_cond=self.hints, return_dict=False
        )  # fmt: skip
        return self.unet(
            noisy,
            steps,
            encoder_hidden_states=states,
            down_block_additional_residuals=down,
            mid_block_additional_residual=mid,
        )


def begin(net: ControlNetModel, start: Path | None) -> None:
    """Copies the weights of an older control into `net`: a checkpoint of this stage, or an exported file."""
    if start is None:
        return
    if not start.is_file():
        raise SystemExit(f"There is no file {start} to start from.")
    tensors = running.load(start)[0]
    known, wanted = running.part(tensors, "average") or tensors, net.state_dict()
    strange = [name for name, value in wanted.items() if name not in known or known[name].shape != value.shape]
    if strange:
        raise SystemExit(f"{start} is a control of another geometry: {strange[0]} does not fit. Start without it.")
    net.load_state_dict({name: known[name] for name in wanted})


def train(
    model: Path,
    work: Path,
    kind: Kind,
    *,
    minutes: float,
    seed: int,
    resume: bool,
    shards: int,
    start: Path | None = None,
) -> None:
    """Trains for `minutes`, resumed parts included, and leaves KIND.safetensors in the model's place."""
    torch.manual_seed(seed)
    folder = place(model, work)
    pipeline = sheet.load(model)
    unet = pipeline.unet.requires_grad_(False)
    nothing = words(pipeline, [""])[0]
    known = Pictures.read(folder, held=False)
    signal = geometry.scheduler().alphas_cumprod.float()
    net = build(unet)
    begin(net, start)
    run = running.begin(net, minutes=minutes, peak=PEAK * (NEAR if start else 1), decay=0.998)
    path = folder / f"{kind.name}.safetensors"
    if resume and path.exists():
        run.resume(path)
        torch.manual_seed(seed + run.step)
    began, first, over = run.budget.seconds(), run.step, False
    while not over:
        losses = []
        for _ in range(shards):
            latents, states, hints = known.draw(BATCH // shards, nothing, kind.some_hint)
            losses.append(partial(denoiser.loss_of, Guided(unet, net, hints), latents, states, signal))
        run.advance(*losses)
        if run.step % 25 == 0:
            speed = (run.budget.seconds() - began) / (run.step - first) * 100
            spent = run.budget.share()
            print(
                f"{kind.name}: step {run.step} loss {run.loss:.4f} {speed:.0f} s per 100 steps {spent:.1%}", flush=True
            )
        over = run.budget.share() >= 1
        if over or run.due(120):
            run.save(path)


def trained(model: Path, work: Path, kind: Kind) -> ControlNetModel:
    """The averaged weights of the last checkpoint."""
    net = build(sheet.load(model).unet)
    begin(net, place(model, work) / f"{kind.name}.safetensors")
    return net.eval()


def agreement(found: Pixels, hint: Pixels) -> float:
    """F1 of the lines of a picture against a hint, where a line may miss by REACH pixels. 1 if neither has any."""
    ours, theirs = found[..., 0] > 0, hint[..., 0] > 0
    if not ours.any() and not theirs.any():
        return 1.0
    kernel = np.ones((2 * REACH + 1, 2 * REACH + 1), np.uint8)
    near_ours, near_theirs = (cv2.dilate(lines.astype(np.uint8), kernel) > 0 for lines in (ours, theirs))
    precision = float((ours & near_theirs).sum() / max(1, ours.sum()))
    recall = float((theirs & near_ours).sum() / max(1, theirs.sum()))
    return 2 * precision * recall / max(1e-9, precision + recall)


@torch.no_grad()
def measure(model: Path, work: Path, kind: Kind, *, count: int, seed: int) -> dict[str, float]:
    """Mean agreement over held-out pictures, with control and without, all else equal; and a sheet to look at."""
    folder = place(model, work)
    pipeline = sheet.load(model)
    sheet.use(pipeline, "Euler a")
    parts = {**pipeline.components, "controlnet": trained(model, work, kind)}
    guided = StableDiffusionControlNetPipeline(**parts, requires_safety_checker=False)
    guided.set_progress_bar_config(disable=True)
    held = Pictures.read(folder, held=True)
    chosen = torch.randperm(len(held.latents), generator=torch.Generator().manual_seed(seed))[:count]
    hints = [kind.hint(held.pictures[row].numpy()) for row in chosen]
    states = held.states[chosen].float()
    nothing = words(pipeline, [""]).expand_as(states)
    drawn: dict[str, list[Pixels]] = {}
    for name, scale in (("with", 1.0), ("without", 0.0)):
        noise = [torch.Generator().manual_seed(seed + number) for number in range(len(chosen))]
        made = guided(
            prompt_embeds=states, negative_prompt_embeds=nothing, image=as_hints(hints), generator=noise,
            num_inference_steps=sheet.STEPS, guidance_scale=sheet.GUIDANCE, controlnet_conditioning_scale=scale,
            output_type="np",
        ).images  # fmt: skip
        drawn[name] = list((made * 255).round().astype(np.uint8))
    scores = {
        name: float(np.mean([agreement(kind.hint(one), hint) for one, hint in zip(made, hints, strict=True)]))
        for name, made in drawn.items()
    }
    rows = [[held.pictures[row].numpy() for row in chosen[:12]], hints[:12], drawn["with"][:12], drawn["without"][:12]]
    Image.fromarray(np.concatenate([np.concatenate(row, 1) for row in rows])).save(folder / f"{kind.name}.png")
    scores["pictures"] = len(chosen)
    (folder / f"{kind.name}.json").write_text(json.dumps(scores) + "\n", encoding="utf-8")
    print(f"{kind.name}: F1 {json.dumps(scores)}", flush=True)
    return scores


def export(model: Path, work: Path, kind: Kind, target: Path) -> int:
    """Writes the diffusers folder with its model card; gives the size of the weights in bytes."""
    net = trained(model, work, kind).half()
    net.save_pretrained(target, safe_serialization=True)
    about = {
        "title": f"Starter {kind.name}",
        "family": "sd1",
        "licence": "Apache-2.0",
        "preprocessor": kind.preprocessor,
    }
    (target / "signet.json").write_text(json.dumps(about, indent=2) + "\n", encoding="utf-8")
    (target / "README.md").write_text(card(place(model, work), kind), encoding="utf-8")
    weights = target / "diffusion_pytorch_model.safetensors"
    weights.chmod(0o644)
    size = weights.stat().st_size
    if size > LIMIT:
        raise SystemExit(f"The weights take {size / 2**20:.2f} MiB, the limit is {LIMIT / 2**20:.0f} MiB.")
    print(f"{kind.name}: {size / 2**20:.2f} MiB in {target}", flush=True)
    return size


def card(folder: Path, kind: Kind) -> str:
    """The model card, with what `measure` left in `folder`."""
    path = folder / f"{kind.name}.json"
    measured = "Not measured."
    if path.exists():
        scores = json.loads(path.read_text(encoding="utf-8"))
        measured = (
            f"On {scores['pictures']} held-out pictures the lines of what was drawn agree with the hint to F1 = "
            f"{scores['with']:.2f} (within {REACH} pixels at 128 x 128), against {scores['without']:.2f} without the "
            "control, all else equal."
        )
    return CARD.format(measured=measured, kind=kind.name, shown=kind.shown, limits=kind.limits)


def main(arguments: list[str] | None = None) -> None:
    """Runs one stage."""
    parser = argparse.ArgumentParser(
        prog="python -m training.control", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("stage", choices=("data", "train", "measure", "export"))
    parser.add_argument("--kind", choices=tuple(KINDS), default="edges")
    parser.add_argument("--model", type=Path, default=Path("models/starter"))
    parser.add_argument("--work", type=Path, default=Path("training/work"), help="files lie below WORK/control")
    parser.add_argument("--source", choices=tuple(SOURCES), default="own")
    parser.add_argument("--parts", type=int, default=32, help=f"files of {PART} pictures")
    parser.add_argument("--minutes", type=float, default=30.0, help="of training, resumed parts included")
    parser.add_argument("--count", type=int, default=32, help="held-out pictures to measure")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--resume", action="store_true")
    parser.add_argument("--start", type=Path, help="weights of an older control, a checkpoint or an exported file")
    parser.add_argument("--out", type=Path, help="default: models/starter-KIND")
    options = parser.parse_args(arguments)
    kind = KINDS[options.kind]
    # Threads that meet once a step cope with a busy machine: one shard of the batch for each.
    torch.set_num_threads(1 if options.stage == "train" else options.threads)
    if options.stage == "data":
        prepare(options.model, options.work, options.source, options.parts, options.seed)
    elif options.stage == "train":
        timing = {"minutes": options.minutes, "seed": options.seed, "resume": options.resume}
        train(options.model, options.work, kind, **timing, shards=options.threads, start=options.start)
    elif options.stage == "measure":
        measure(options.model, options.work, kind, count=options.count, seed=options.seed)
    else:
        export(options.model, options.work, kind, options.out or Path(f"models/starter-{kind.name}"))


if __name__ == "__main__":
    main()
