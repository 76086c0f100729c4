"""What every training stage shares: a time budget, a moving average of weights, checkpoints without pickle."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn


@dataclass(slots=True)
class Budget:
    """Minutes a stage may take, counted over all its resumed parts."""

    minutes: float
    spent: float = 0.0  # seconds before this process
    started: float = field(default_factory=time.monotonic)

    def seconds(self) -> float:
        """Seconds spent so far."""
        return self.spent + time.monotonic() - self.started

    def share(self) -> float:
        """Spent share of the budget, 0 to 1."""
        return min(1.0, self.seconds() / max(1e-9, 60 * self.minutes))


def rate(share: float, step: int, peak: float, *, warm: int = 100) -> float:
    """Learning rate: linear warm-up over `warm` steps, then a half cosine over the budget down to 1 %."""
    return peak * min(1.0, (step + 1) / warm) * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * share)))


class Average:
    """Exponential moving average of a module's weights, short-sighted at first."""

    def __init__(self, module: nn.Module, decay: float = 0.999) -> None:
        self.decay = decay
        self.weights = {name: value.detach().clone().float() for name, value in module.state_dict().items()}

    @torch.no_grad()
    def update(self, module: nn.Module, step: int) -> None:
        """Moves towards the module's present weights."""
        keep = min(self.decay, (1 + step) / (10 + step))
        present = [value.float() for value in module.state_dict().values()]
        torch._foreach_lerp_(list(self.weights.values()), present, 1 - keep)

    def into(self, module: nn.Module) -> nn.Module:
        """Copies the average into `module` and returns it, ready for use."""
        module.load_state_dict(self.weights)
        return module.eval()


def save(path: Path, tensors: Mapping[str, Tensor], facts: Mapping[str, object]) -> None:
    """Writes tensors and a JSON note as one safetensors file, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    whole = {name: value.detach().contiguous() for name, value in tensors.items()}
    draft = path.with_suffix(".tmp")
    save_file(whole, draft, metadata={"facts": json.dumps(dict(facts))})
    draft.replace(path)


def load(path: Path) -> tuple[dict[str, Tensor], dict[str, float]]:
    """Tensors and note of a checkpoint."""
    with safe_open(path, "pt") as file:
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  (not a dict)
        return tensors, json.loads((file.metadata() or {}).get("facts", "{}"))


def part(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """The entries below `prefix.`, without it."""
    return {name.removeprefix(prefix + "."): value for name, value in tensors.items() if name.startswith(prefix + ".")}


_POOL = ThreadPoolExecutor(initializer=lambda: torch.set_num_threads(1))


def _gradients(shard: Callable[[], Tensor], wanted: list[nn.Parameter]) -> tuple[float, list[Tensor]]:
    """Loss and gradients of one shard; parameters it does not touch get zeros."""
    loss = shard()
    found = torch.autograd.grad(loss, wanted, allow_unused=True, materialize_grads=True)
    return loss.item(), [gradient.clone() if not gradient.is_contiguous() else gradient for gradient in found]


@dataclass(slots=True)
class Run:
    """A module in training with its optimiser, average and clock; saved and resumed as one file."""

    module: nn.Module
    optimiser: torch.optim.Optimizer
    average: Average
    budget: Budget
    peak: float
    step: int = 0
    loss: float = math.nan  # smoothed
    saved: float = 0.0  # seconds at the last checkpoint

    def advance(self, *shards: Callable[[], Tensor], clip: float = 1.0) -> None:
        """One optimiser step on the mean of the shards' losses, each worked out in a thread of its own.

        Threads that meet once a step cope with a busy machine; OpenMP's, which meet after every operation,
        do not. So run with `torch.set_num_threads(1)` and as many shards as there are cores.
        """
        lr = rate(self.budget.share(), self.step, self.peak)
        for group in self.optimiser.param_groups:
            group["lr"] = lr
        wanted = [parameter for parameter in self.module.parameters() if parameter.requires_grad]
        parts = list(_POOL.map(lambda shard: _gradients(shard, wanted), shards)) if len(shards) > 1 else []
        parts = parts or [_gradients(shards[0], wanted)]
        total = parts[0][1]
        for _, more in parts[1:]:
            torch._foreach_add_(total, more)
        torch._foreach_div_(total, len(parts))
        for parameter, gradient in zip(wanted, total, strict=True):
            parameter.grad = gradient
        nn.utils.clip_grad_norm_(wanted, clip)
        self.optimiser.step()
        self.step += 1
        self.average.update(self.module, self.step)
        value = sum(loss for loss, _ in parts) / len(parts)
        self.loss = value if math.isnan(self.loss) else 0.98 * self.loss + 0.02 * value

    def save(self, path: Path) -> None:
        """Everything needed to go on, to `path`."""
        tensors = {f"module.{name}": value for name, value in self.module.state_dict().items()}
        tensors |= {f"average.{name}": value for name, value in self.average.weights.items()}
        for number, state in self.optimiser.state_dict()["state"].items():
            tensors |= {f"optimiser.{number}.{name}": torch.as_tensor(value) for name, value in state.items()}
        self.saved = self.budget.seconds()
        save(path, tensors, {"step": self.step, "seconds": self.saved, "loss": self.loss})

    def resume(self, path: Path) -> None:
        """Goes on from `path`."""
        tensors, facts = load(path)
        self.module.load_state_dict(part(tensors, "module"))
        saved = part(tensors, "average")
        self.average.weights = {name: saved[name] for name in self.module.state_dict()}
        state: dict[int, dict[str, Tensor]] = {}
        for name, value in part(tensors, "optimiser").items():
            number, entry = name.split(".", 1)
            state.setdefault(int(number), {})[entry] = value
        groups = self.optimiser.state_dict()["param_groups"]
        self.optimiser.load_state_dict({"state": state, "param_groups": groups})
        self.step, self.loss = int(facts["step"]), facts["loss"]
        self.budget.spent = self.saved = facts["seconds"]

    def due(self, seconds: float) -> bool:
        """Whether the last checkpoint is older than `seconds`."""
        return self.budget.seconds() - self.saved > seconds


def begin(module: nn.Module, *, minutes: float, peak: float, decay: float = 0.999, weight_decay: float = 0.01) -> Run:
    """A fresh run with AdamW on the parameters that ask for gradients."""
    wanted = [parameter for parameter in module.parameters() if parameter.requires_grad]
    optimiser = torch.optim.AdamW(wanted, lr=peak, betas=(0.9, 0.99), weight_decay=weight_decay, fused=True)
    return Run(module, optimiser, Average(module, decay), Budget(minutes), peak)
