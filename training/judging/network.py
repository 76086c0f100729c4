"""The judge's network and the `Judge` that uses it: what a picture shows, in which style, on which background.

Its own small residual network on 64 x 64 pictures; it shares no layer, no weight and no loss with the towers.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from training.errors import BadInput, TrainingError

SIDE = 64
WIDTHS = (32, 64, 128, 144)
FEATURES = 128
LIMIT = 3 * 2**20  # bytes of an exported judge
Floats = NDArray[np.float32]


class NoJudge(BadInput):
    """The folder holds no judge, or one this code cannot read."""


class Block(nn.Module):
    """Two 3 x 3 convolutions beside a shortcut."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.first = _convolution(width, width, 1)
        self.second = _convolution(width, width, 1)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) to the same shape."""
        changed: Tensor = self.second(self.first(x).relu())
        return (x + changed).relu()


def _convolution(before: int, after: int, stride: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(before, after, 3, stride=stride, padding=1, bias=False),
        nn.BatchNorm2d(after),
    )


class Network(nn.Module):
    """Pictures (B, 3, 64, 64) in [-1, 1] to features and the logits of three questions."""

    def __init__(
        self,
        concepts: int,
        styles: int,
        colours: int,
        *,
        widths: Sequence[int] = WIDTHS,
        features: int = FEATURES,
    ) -> None:
        super().__init__()
        self.widths = tuple(widths)
        self.stem = nn.Sequential(_convolution(3, widths[0], 2), nn.ReLU())
        stages: list[nn.Module] = []
        for before, after in pairwise(widths):
            stages += [_convolution(before, after, 2), nn.ReLU(), Block(after)]
        self.stages = nn.Sequential(*stages)
        # The mean says what fills the picture, the maximum what is there at all: two subjects need the second.
        self.embed = nn.Linear(2 * widths[-1], features)
        self.concept = nn.Linear(features, concepts)
        self.style = nn.Linear(2 * widths[-1], styles)
        self.colour = nn.Linear(2 * widths[-1], colours)

    def forward(self, pixels: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Features (B, F) and logits: concepts (B, N), styles (B, S), background colours (B, K)."""
        maps = self.stages(self.stem(pixels))
        pooled = torch.cat([maps.mean(dim=(2, 3)), maps.amax(dim=(2, 3))], dim=1)
        features = self.embed(pooled)
        return features, self.concept(features), self.style(pooled), self.colour(pooled)


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the judge says about N pictures: probabilities row by row, and its features."""

    concepts: Floats  # (N, labels)
    styles: Floats  # (N, 4)
    colours: Floats  # (N, 12)
    features: Floats  # (N, F)

    def first(self, count: int) -> NDArray[np.int64]:
        """Numbers of the `count` likeliest concepts, likeliest first: (N, count)."""
        order: NDArray[np.int64] = np.argsort(-self.concepts, axis=1, kind="stable")[:, :count]
        return order


@dataclass(frozen=True, slots=True)
class Judge:
    """The trained network with the words for its answers and what it remembers of the real art.

    `memory` holds `real` (R, F): features of the real pictures of the list; `real_concepts`, `real_styles` (R,);
    `looks` (R, D): their look-alike descriptors, `looks_basis` (D, P) and `looks_centre` (P,).
    """

    network: Network
    labels: tuple[str, ...]
    styles: tuple[str, ...]
    colours: tuple[str, ...]
    facts: Mapping[str, Any]
    memory: Mapping[str, Tensor]

    def number(self, label: str) -> int:
        """Where a concept stands among the answers; `KeyError` if the judge does not know it."""
        try:
            return self.labels.index(label)
        except ValueError:
            raise KeyError(f"The judge does not know {label!r}.") from None

    @torch.no_grad()
    def look(self, pictures: Sequence[Image.Image], *, batch: int = 64) -> Verdict:
        """Judges pictures of any size."""
        return self.see(pixels(pictures), batch=batch)

    @torch.no_grad()
    def see(self, seen: Tensor, *, batch: int = 64) -> Verdict:
        """Judges (N, 3, 64, 64) in [-1, 1]."""
        parts = [self.network(seen[start : start + batch]) for start in range(0, max(1, len(seen)), batch)]
        features, concepts, styles, colours = (torch.cat(column) for column in zip(*parts, strict=True))
        answers = [logits.softmax(dim=1).numpy() for logits in (concepts, styles, colours)]
        return Verdict(answers[0], answers[1], answers[2], features.numpy())


def pixels(pictures: Sequence[Image.Image], side: int = SIDE) -> Tensor:
    """Pictures to (N, 3, side, side) in [-1, 1], shrunk by averaging."""
    if not pictures:
        return torch.zeros(0, 3, side, side)
    small = [picture.convert("RGB").resize((side, side), Image.Resampling.BOX) for picture in pictures]
    array = np.stack([np.asarray(picture, dtype=np.float32) for picture in small])
    return torch.from_numpy(array).permute(0, 3, 1, 2).contiguous() / 127.5 - 1


class TooLarge(TrainingError):
    """The judge would exceed the repository's budget."""


def save(judge: Judge, folder: Path) -> int:
    """Writes `judge.safetensors` (fp16) and `config.json`, each whole or not at all; gives the bytes of both.

    Raises:
        TooLarge: more than 3 MiB; nothing is written then.
    """
    tensors = {f"network.{name}": value for name, value in judge.network.state_dict().items()}
    tensors |= {f"memory.{name}": value for name, value in judge.memory.items()}
    small = {
        name: value.half().contiguous() if value.is_floating_point() else value.to(torch.int32).contiguous()
        for name, value in tensors.items()
    }
    config = {
        "labels": judge.labels,
        "styles": judge.styles,
        "colours": judge.colours,
        "widths": judge.network.widths,
        "features": judge.network.concept.in_features,
        "facts": judge.facts,
    }
    text = json.dumps(config, ensure_ascii=False, separators=(",", ":")) + "\n"
    folder.mkdir(parents=True, exist_ok=True)
    drafts = folder / "judge.tmp", folder / "config.tmp"
    save_file(small, drafts[0])
    drafts[1].write_text(text, encoding="utf-8")
    size = sum(draft.stat().st_size for draft in drafts)
    if size > LIMIT:
        for draft in drafts:
            draft.unlink()
        raise TooLarge(f"The judge would take {size / 2**20:.2f} MiB, the limit is {LIMIT / 2**20:.0f} MiB.")
    for draft, name in zip(drafts, ("judge.safetensors", "config.json"), strict=True):
        draft.chmod(0o644)
        draft.replace(folder / name)
    return size


def load(folder: Path) -> Judge:
    """The judge in `folder` (config.json, judge.safetensors), in float32."""
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        tensors = {name: value.float() for name, value in load_file(folder / "judge.safetensors").items()}
        shape = {"widths": config["widths"], "features": config["features"]}
        network = Network(len(config["labels"]), len(config["styles"]), len(config["colours"]), **shape)
        network.load_state_dict({name[8:]: value for name, value in tensors.items() if name.startswith("network.")})
    except FileNotFoundError as missing:
        raise NoJudge(f"{folder} holds no judge: {missing.filename} is missing.") from missing
    except (KeyError, ValueError, RuntimeError) as wrong:
        raise NoJudge(f"The judge in {folder} does not fit this code: {wrong}") from wrong
    memory = {name[7:]: value for name, value in tensors.items() if name.startswith("memory.")}
    words = (tuple(config["labels"]), tuple(config["styles"]), tuple(config["colours"]))
    return Judge(network.eval(), *words, facts=config["facts"], memory=memory)
