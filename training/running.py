"""What every training stage shares: a device, a time budget, a moving average of weights, runs that can go on."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

import torch
from torch import Tensor, nn

from training import progress
from training.checkpoints import check_fits as check_fits
from training.checkpoints import load as load
from training.checkpoints import part as part
from training.checkpoints import save as save
from training.errors import BadInput, Diverged


def pick(device: str) -> torch.device:
    """The device meant by "auto", "cpu" or "cuda"; BadInput for cuda where there is none."""
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if device == "cuda" and not torch.cuda.is_available():
        raise BadInput("There is no GPU that this build of torch can use. Give --device cpu, or install a CUDA build.")
    return torch.device(device)


def half(device: torch.device | str) -> torch.autocast:
    """bfloat16 autocast on a device (a string or a torch device)."""
    return torch.autocast(torch.device(device).type, torch.bfloat16)


def device_of(module: nn.Module) -> torch.device:
    """Where a module's weights are."""
    return next(module.parameters()).device


def moved(device: torch.device, *tensors: Tensor) -> tuple[Tensor, ...]:
    """The tensors on `device`; those that are there already are not copied."""
    return tuple(tensor.to(device, non_blocking=True) for tensor in tensors)


@dataclass(slots=True)
class Budget:
    """Minutes a stage may take, counted over all its resumed parts."""

    minutes: float
    spent: float = 0.0  # seconds before this process
    started: float = field(default_factory=time.monotonic)
    watch: progress.Watch | None = field(default_factory=progress.current)

    def seconds(self) -> float:
        """Seconds spent so far."""
        return self.spent + time.monotonic() - self.started

    def used(self) -> float:
        """Spent share of the budget, 0 to 1."""
        return min(1.0, self.seconds() / max(1e-9, 60 * self.minutes))

    def share(self) -> float:
        """Spent share, or 1 once somebody asked the stage to stop: then it saves and ends as if its time were up."""
        return 1.0 if self.watch is not None and self.watch.stopped else self.used()


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


_POOL = ThreadPoolExecutor(initializer=lambda: torch.set_num_threads(1))


def _gradients(shard: Callable[[], Tensor], wanted: list[nn.Parameter]) -> tuple[float, list[Tensor]]:
    """Loss and gradients of one shard; parameters it does not touch get zeros."""
    loss = shard()
    found = torch.autograd.grad(loss, wanted, allow_unused=True, materialize_grads=True)
    return loss.item(), [gradient.contiguous() for gradient in found]


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
    rng: Random | None = None  # draws of the stage's own, besides torch's
    log: progress.Log | None = None

    @property
    def device(self) -> torch.device:
        """Where the module's weights are."""
        return device_of(self.module)

    def advance(self, *shards: Callable[[], Tensor], clip: float = 1.0) -> None:
        """One optimiser step on the mean of the shards' losses, on a CPU each worked out in a thread of its own.

        Threads that meet once a step cope with a busy machine; OpenMP's, which meet after every operation,
        do not. So run with `torch.set_num_threads(1)` and as many shards as there are cores. On a GPU the shards
        come one after the other, so one large one is best there. Diverged if the loss is no number; then the weights
        are those of the step before.
        """
        lr = rate(self.budget.used(), self.step, self.peak)
        for group in self.optimiser.param_groups:
            group["lr"] = lr
        wanted = [parameter for parameter in self.module.parameters() if parameter.requires_grad]
        each = _POOL.map if len(shards) > 1 and self.device.type == "cpu" else map
        parts = list(each(lambda shard: _gradients(shard, wanted), shards))
        value = sum(loss for loss, _ in parts) / len(parts)
        if not math.isfinite(value):
            raise Diverged(f"The loss is {value} at step {self.step}. Go on from the last checkpoint with --resume.")
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
        self.loss = value if math.isnan(self.loss) else 0.98 * self.loss + 0.02 * value
        if self.log is not None:
            self.log.tell(self.step, self.budget.seconds(), self.budget.used(), value, self.loss, lr)

    def save(self, path: Path, **more: object) -> None:
        """Everything needed to go on, to `path`: also where the random numbers are; `more` goes into the note."""
        tensors = {f"module.{name}": value for name, value in self.module.state_dict().items()}
        tensors |= {f"average.{name}": value for name, value in self.average.weights.items()}
        for number, state in self.optimiser.state_dict()["state"].items():
            tensors |= {f"optimiser.{number}.{name}": torch.as_tensor(value) for name, value in state.items()}
        tensors |= _random_states(self.rng, self.device)
        seconds = self.budget.seconds()
        save(path, tensors, {"step": self.step, "seconds": seconds, "loss": self.loss, **more})
        self.saved = seconds
        if self.log is not None:
            self.log.write()

    def resume(self, path: Path) -> None:
        """Goes on from `path`, with the random numbers that would have come next (torch's and `rng`'s).

        BadInput if it is damaged or of another geometry; then nothing has changed.
        """
        tensors, facts = load(path)
        check_fits(path, self.module, tensors, facts)
        self.module.load_state_dict(part(tensors, "module"))
        saved = part(tensors, "average")
        self.average.weights = {name: saved[name].to(value.device) for name, value in self.average.weights.items()}
        state: dict[int, dict[str, Tensor]] = {}
        for name, value in part(tensors, "optimiser").items():
            number, entry = name.split(".", 1)
            state.setdefault(int(number), {})[entry] = value
        groups = self.optimiser.state_dict()["param_groups"]
        self.optimiser.load_state_dict({"state": state, "param_groups": groups})
        self.step, self.loss = int(facts["step"]), facts["loss"]
        self.budget.spent = self.saved = facts["seconds"]
        _restore_random(part(tensors, "random"), self.rng, self.device, self.step)
        if self.log is not None:
            self.log.resume(self.step)

    def due(self, seconds: float) -> bool:
        """Whether the last checkpoint is older than `seconds`."""
        return self.budget.seconds() - self.saved > seconds


def begin(
    module: nn.Module,
    *,
    minutes: float,
    peak: float,
    decay: float = 0.999,
    weight_decay: float = 0.01,
    device: torch.device | str = "cpu",
    rng: Random | None = None,
) -> Run:
    """A fresh run with AdamW on the parameters that ask for gradients, on `device`, under the present watch if any."""
    module.to(device)
    wanted = [parameter for parameter in module.parameters() if parameter.requires_grad]
    optimiser = torch.optim.AdamW(wanted, lr=peak, betas=(0.9, 0.99), weight_decay=weight_decay, fused=True)
    watch = progress.current()
    log = watch.log() if watch is not None else None
    return Run(module, optimiser, Average(module, decay), Budget(minutes), peak, rng=rng, log=log)


def _random_states(rng: Random | None, device: torch.device) -> dict[str, Tensor]:
    states = {"random.torch": torch.get_rng_state()}
    if device.type == "cuda":
        states["random.cuda"] = torch.cuda.get_rng_state(device)
    if rng is not None:
        states["random.python"] = torch.tensor(rng.getstate()[1])
    return states


def _restore_random(states: Mapping[str, Tensor], rng: Random | None, device: torch.device, step: int) -> None:
    """A checkpoint of an older kind has no states: then at least not the first batches again."""
    if "torch" in states:
        torch.set_rng_state(states["torch"])
    else:
        torch.manual_seed(step)
    if "cuda" in states and device.type == "cuda":
        torch.cuda.set_rng_state(states["cuda"], device)
    if rng is not None and "python" in states:
        rng.setstate((3, tuple(states["python"].tolist()), None))
    elif rng is not None:
        rng.seed(step)
