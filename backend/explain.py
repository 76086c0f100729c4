"""The path a sampler will take, computed without running anything: noise levels, timesteps, forwards per step."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from backend import samplers
from backend.errors import InvalidParameter
from backend.models import formats
from backend.models.describe import config_folder
from backend.requests import BATCHED
from backend.solvers.noise import NoiseTable
from backend.solvers.plan import plan
from backend.types import ModelInfo

_LEADING = frozenset({"DDIMScheduler", "DDIMInverseScheduler", "DDPMScheduler", "LCMScheduler", "PNDMScheduler"})
"""Schedulers of diffusers whose timestep spacing is "leading" where their file does not say; others' is "linspace"."""
_NOTES: Mapping[int, str] = {
    1: "The model is asked once a step.",
    2: "The model is asked twice a step, so a step takes twice as long and is more exact.",
}


@dataclass(frozen=True, slots=True)
class Ask:
    """One forward of the model, in `step` (from 0), at noise level `sigma` and (fractional) training `timestep`."""

    step: int
    sigma: float
    timestep: float


@dataclass(frozen=True, slots=True)
class SamplerPath:
    """`sigmas` are the levels at which the steps begin, and where the last one ends: one more than steps.

    `timesteps` belong to the beginnings. `moves` are forwards per step, `snr` is 1 / sigma^2 at the beginnings: the
    power of the picture over that of the noise. `asks` are all forwards in order.
    """

    sampler: str
    schedule: str
    model: str
    sigmas: tuple[float, ...]
    timesteps: tuple[float, ...]
    moves: tuple[int, ...]
    snr: tuple[float, ...]
    asks: tuple[Ask, ...]
    sigma_min: float
    sigma_max: float
    note: str


def noise_table(info: ModelInfo) -> NoiseTable:
    """What a checkpoint was trained on, from its scheduler's file, or its family's for a single file.

    What a single file's weights alone can tell (zero terminal SNR, v prediction) is read from the names of its tensors;
    prediction does not change the levels. Raises InvalidParameter("model") or UnreadableModel.
    """
    if info.family not in BATCHED:
        detail = f'"{info.title}" ({info.family}) runs by its own pipeline, with a schedule of its own.'
        raise InvalidParameter("model", detail, "Choose an SD 1.x, SD 2.x or SDXL model.")
    path = Path(info.path)
    single = info.layout == "single-file"
    folder = config_folder(path, info.family) if single else path
    config = dict(formats.read_json(folder / "scheduler" / "scheduler_config.json"))
    if single and "ztsnr" in formats.read_header(path):
        config["rescale_betas_zero_snr"] = True
    return NoiseTable.of({**_unsaid(config), **config})


def _unsaid(config: Mapping[str, Any]) -> dict[str, Any]:
    name = str(config.get("_class_name", ""))
    return {"timestep_spacing": "leading" if name in _LEADING else "linspace", "set_alpha_to_one": name[:4] != "PNDM"}


def path(sampler: str, schedule: str, steps: int, info: ModelInfo) -> SamplerPath:
    """Raises UnknownSampler, InvalidParameter("steps") or ("model"), UnreadableModel."""
    name, chosen = samplers.resolve(sampler, schedule)
    table = noise_table(info)
    planned = plan(name, chosen, steps, table, family=info.family)
    per_step = Counter(move.step for move in planned.moves)
    asks = tuple(Ask(move.step, move.sigma, table.timestep(move.sigma)) for move in planned.moves)
    firsts = tuple(next(ask for ask in asks if ask.step == step) for step in sorted(per_step))
    return SamplerPath(
        sampler=name,
        schedule=chosen,
        model=info.id,
        sigmas=(*(ask.sigma for ask in firsts), planned.end_sigma),
        timesteps=tuple(ask.timestep for ask in firsts),
        moves=tuple(per_step[step] for step in sorted(per_step)),
        snr=tuple(1 / ask.sigma**2 for ask in firsts),
        asks=asks,
        sigma_min=table.sigma_min,
        sigma_max=table.sigma_max,
        note=_note(name, chosen, max(per_step.values())),
    )


def _note(name: str, schedule: str, most: int) -> str:
    entry = samplers.SAMPLERS[name]
    asked = _NOTES.get(most, f"The model is asked up to {most} times a step.")
    noise = "Fresh noise is added on the way." if entry.random else ""
    stands_for = f"Automatic is {entry.automatic} for it." if schedule == samplers.AUTOMATIC and entry.automatic else ""
    return " ".join(filter(None, (entry.about, asked, noise, stands_for, entry.note)))
