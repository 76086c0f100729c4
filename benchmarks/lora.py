"""LoRAs as additions on rows against LoRAs merged into the weights, on the CPU in float32, for one and the same UNet.

1. changing the set of LoRAs: what it costs before the next step can run, against fusing and unfusing the same factors
   (as peft does it: their product is added to the weights, later made again and taken off; reading the files is left
   out on both sides, peft itself is not needed), and as a share of one step;
2. a step with one LoRA for all rows, and with another LoRA for each picture, against a step without any. Merged weights
   cannot do the second: they would need a forward for each picture, which is the third comparison.

Gate: every LoRA of the set gives what its merged weights give, and the model is bit by bit what it was afterwards.
The UNet has the shape of SD 1.5's with a quarter of its width (54 M parameters) and random weights; the ranks are a
quarter of 4 to 128, because what an addition costs depends on rank / width.
A missed goal ends with status 1. Run with: python3 launch.py bench lora
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from diffusers import UNet2DConditionModel
from torch import Tensor, nn

from backend.engine.lora import Assignment, Bound, RowAdditions, bind, read_adapter
from benchmarks._goals import Verdict, at_least, at_most, stated
from benchmarks._lora import write_lora
from benchmarks._pairs import compare

RANKS = (1, 2, 4, 8, 12, 16, 24, 32)
PICTURES = 4
CLOSE = 1e-3


def main() -> int:
    found = verdicts()
    for verdict in found:
        print(verdict.line())
    return int(any(verdict.missed for verdict in found))


def verdicts(short: bool = False) -> list[Verdict]:
    torch.manual_seed(0)
    torch.set_grad_enabled(False)
    unet = UNet2DConditionModel(
        block_out_channels=(80, 160, 320, 320), cross_attention_dim=192, attention_head_dim=8, norm_num_groups=16
    ).eval()
    nowhere = nn.Identity()
    model: Any = SimpleNamespace(unet=unet, text_encoders=(nowhere,), device=torch.device("cpu"), dtype=torch.float32)
    with tempfile.TemporaryDirectory() as folder:
        bounds = [_made(Path(folder) / f"{rank}.safetensors", model, rank) for rank in RANKS]
    x, text = torch.randn(2 * PICTURES, 4, 24, 24), torch.randn(2 * PICTURES, 77, 192)
    times = torch.linspace(900, 100, 2 * PICTURES)
    additions = RowAdditions()

    def step(assignments: Sequence[Assignment] = (), rows: slice = slice(None)) -> Tensor:
        with additions.applied(unet, assignments):
            out: Tensor = unet(x[rows], times[rows], encoder_hidden_states=text[rows], return_dict=False)[0]
        return out

    def whole(bound: Bound) -> list[Assignment]:
        return [Assignment(slice(0, 2 * PICTURES), ((bound, 0.8, ()),))]

    _gate(unet, step, bounds, whole)

    turn = iter(range(10**9))

    def change() -> None:
        """The next set of two, up to the moment the forward could begin."""
        first = next(turn)
        uses = tuple((bounds[(first + n) % len(bounds)], 0.7, ()) for n in range(2))
        with additions.applied(unet, [Assignment(slice(0, 2 * PICTURES), uses)]):
            pass

    def fuse_and_unfuse() -> None:
        first = next(turn)
        for sign in (1.0, -1.0):
            for n in range(2):
                _merge(unet, bounds[(first + n) % len(bounds)], 0.7 * sign)

    each = [
        Assignment(slice(2 * n, 2 * n + 2), ((bounds[2 * n + 1], 0.8, ()),)) for n in range(PICTURES)
    ]  # ranks 2, 8, 16, 32

    def one_by_one() -> None:
        """Merged weights serve one set of LoRAs at a time."""
        for n in range(PICTURES):
            _merge(unet, bounds[2 * n + 1], 0.8)
            step((), slice(2 * n, 2 * n + 2))
            _merge(unet, bounds[2 * n + 1], -0.8)

    rounds = 5
    found = [
        at_least("C13", "fuse and unfuse / change of the set", compare(change, fuse_and_unfuse, rounds), 20),
        at_most("C13", "change of the set / one step", compare(change, step, rounds), 0.05, "nothing is compiled"),
        at_most("C13", "step, 4 pictures with 4 LoRAs / none", compare(lambda: step(each), step, rounds), 1.15),
    ]
    if short:
        return found
    return [
        *found,
        stated("-", "step, one LoRA of rank 4 for all / none", compare(lambda: step(whole(bounds[2])), step, rounds)),
        stated("-", "4 pictures with 4 LoRAs / merged, one by one", compare(lambda: step(each), one_by_one, rounds)),
    ]


def _made(file: Path, model: Any, rank: int) -> Bound:
    write_lora(file, model.unet, rank, seed=rank)
    return bind(read_adapter(file, f"rank {rank}"), model)


def _merge(unet: nn.Module, bound: Bound, weight: float) -> None:
    for site in bound.on(unet):
        patch: Any = site.patch
        delta = (patch.up.flatten(1) @ patch.down.flatten(1)).reshape(site.module.weight.shape)
        site.module.weight.add_(delta, alpha=weight * patch.scale)


def _gate(unet: nn.Module, step: Any, bounds: Sequence[Bound], whole: Any) -> None:
    weights = {name: tensor.clone() for name, tensor in unet.state_dict().items()}
    plain, worst, least = step(), 0.0, 1e9
    for bound in bounds:
        made = step(whole(bound))
        _merge(unet, bound, 0.8)
        worst = max(worst, float((made - step()).abs().max()))
        least = min(least, float((made - plain).abs().max()))
        for name, tensor in unet.state_dict().items():
            tensor.copy_(weights[name])
    if worst > CLOSE or least < 10 * CLOSE or not torch.equal(step(), plain):
        raise SystemExit(f"gate: additions and merged weights differ by {worst:.1e}, a LoRA changes {least:.1e}")
    print(f"gate: {len(bounds)} LoRAs within {worst:.1e} of merged weights (each changes {least:.1e} or more)")


if __name__ == "__main__":
    sys.exit(main())
