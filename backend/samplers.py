"""The samplers by name, as data: no torch here, so that the studio can check a request before the engine is up.

Names and the split into sampler and schedule follow A1111 1.10.1; `scheduler` is the diffusers class at work.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from backend.errors import UnknownSampler

AUTOMATIC = "Automatic"


@dataclass(frozen=True, slots=True)
class Sampler:
    """`schedules` maps a schedule's name to the scheduler arguments that select it; the first is the default."""

    name: str
    scheduler: str
    about: str
    options: Mapping[str, Any] = field(default_factory=dict)
    schedules: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    max_steps: int = 1000


_PLAIN: Mapping[str, Mapping[str, Any]] = {AUTOMATIC: {}}
_SIGMAS: Mapping[str, Mapping[str, Any]] = {
    AUTOMATIC: {},
    "Karras": {"use_karras_sigmas": True},
    "Exponential": {"use_exponential_sigmas": True},
}

SAMPLERS: Mapping[str, Sampler] = {
    sampler.name: sampler
    for sampler in (
        Sampler("Euler", "EulerDiscreteScheduler", "Plain and dependable.", schedules=_SIGMAS),
        Sampler("Euler a", "EulerAncestralDiscreteScheduler", "Adds noise each step: never settles.", schedules=_PLAIN),
        # diffusers would clip to [-1, 1] unless told otherwise, which is for pixels and not for latents.
        Sampler("DDIM", "DDIMScheduler", "The deterministic classic.", {"clip_sample": False}, _PLAIN),
        Sampler(
            "DPM++ 2M",
            "DPMSolverMultistepScheduler",
            "Sharp after few steps.",
            {"algorithm_type": "dpmsolver++", "solver_order": 2},
            _SIGMAS,
        ),
        Sampler("UniPC", "UniPCMultistepScheduler", "Good from about ten steps.", schedules=_SIGMAS),
        Sampler(
            "LCM", "LCMScheduler", "For models distilled to 4-8 steps, with CFG 1-2.", schedules=_PLAIN, max_steps=50
        ),
    )
}


def names() -> tuple[str, ...]:
    return tuple(SAMPLERS)


def resolve(sampler: str, schedule: str = AUTOMATIC) -> tuple[str, str]:
    """Canonical (sampler, schedule) for names in any case; "DPM++ 2M Karras" in one name is understood too.

    Raises UnknownSampler with the nearest names.
    """
    known = {name.casefold(): name for name in SAMPLERS}
    schedules = {title.casefold(): title for found in SAMPLERS.values() for title in found.schedules}
    name = sampler.strip().casefold()
    wanted = schedule.strip() or AUTOMATIC
    head, _, tail = name.rpartition(" ")
    if name not in known and head in known and tail in schedules and wanted.casefold() == AUTOMATIC.casefold():
        name, wanted = head, schedules[tail]
    if name not in known:
        raise UnknownSampler(sampler, names())
    found = SAMPLERS[known[name]]
    chosen = schedules.get(wanted.casefold())
    if chosen is None or chosen not in found.schedules:
        raise UnknownSampler(wanted, tuple(found.schedules), field="schedule")
    return found.name, chosen
