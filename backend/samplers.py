"""Samplers and schedules by name, as data: no torch here, so that a request can be checked before the engine is up.

Names, aliases, own schedules and the split of "DPM++ 2M Karras" follow A1111 1.10.1; backend.solvers does the work.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from backend.errors import InvalidParameter, UnknownSampler

AUTOMATIC = "Automatic"

SCHEDULES: Mapping[str, tuple[str, ...]] = {
    AUTOMATIC: (),
    "Uniform": (),
    "Karras": (),
    "Exponential": (),
    "Polyexponential": (),
    "SGM Uniform": ("SGMUniform", "sgm_uniform"),
    "KL Optimal": ("kl_optimal",),
    "Align Your Steps": ("align_your_steps", "AYS"),
    "Simple": (),
    "Normal": (),
    "DDIM": ("ddim_uniform",),
    "Beta": (),
}
"""Every schedule with its other names; case, spaces, "_" and "-" never matter."""

_ALL = tuple(SCHEDULES)
_OTHER_NOISE = "Draws its noise from the picture's own seed: the distribution is A1111's, the picture is not."
_NO_CHOICE: Mapping[str, tuple[str, tuple[str, ...], str]] = {
    "DPM adaptive": (
        "chooses its steps while it runs, so it cannot be planned and batched",
        ("k_dpm_ad", "dpm_adaptive"),
        'Use "DPM fast", or "DPM++ 2M" for quality at a fixed number of steps.',
    ),
    "DDIM CFG++": (
        "steers by the unguided prediction, which a step here does not see",
        ("ddim_cfgpp", "ddim_cfg_pp"),
        'Use "DDIM" with a lower CFG scale.',
    ),
}
"""Samplers people ask for that are refused: why, other names, what to use."""


@dataclass(frozen=True, slots=True)
class Sampler:
    """One sampler.

    `schedules` are the names it can use, Automatic first; `automatic` is what that means, "" the model's own spacing.
    `order` counts denoiser forwards in a step, `random` says whether steps draw noise (at `eta`, the usual one), and
    `note` is "" when exact, else what differs from A1111.
    `drops_last_but_one` leaves out the smallest level (A1111's "discard next to last sigma"). `end` is where it stops:
    noise level 0, the model's final one (its `set_alpha_to_one`), or its smallest. `variance_preserving` samplers begin
    from unit noise in the model's own space.
    """

    name: str
    about: str
    aliases: tuple[str, ...] = ()
    schedules: tuple[str, ...] = _ALL
    automatic: str = ""
    max_steps: int = 500
    order: int = 1
    random: bool = False
    note: str = ""
    eta: float = 1.0
    drops_last_but_one: bool = False
    end: Literal["zero", "final", "smallest"] = "zero"
    variance_preserving: bool = False


SAMPLERS: Mapping[str, Sampler] = {
    sampler.name: sampler
    for sampler in (
        Sampler("Euler", "Plain and dependable.", ("k_euler",)),
        Sampler(
            "Euler a",
            "Adds noise each step: never settles.",
            ("k_euler_a", "k_euler_ancestral", "euler_ancestral"),
            random=True,
        ),
        Sampler("Heun", "Euler with a second look: slower, more exact.", ("k_heun",), order=2),
        Sampler("LMS", "Remembers four steps; best from thirty.", ("k_lms",)),
        Sampler(
            "DPM2",
            "Looks at the middle of each step.",
            ("k_dpm_2", "dpm_2"),
            automatic="Karras",
            order=2,
            drops_last_but_one=True,
        ),
        Sampler(
            "DPM2 a",
            "DPM2 that adds noise.",
            ("k_dpm_2_a", "k_dpm_2_ancestral", "dpm_2_ancestral"),
            automatic="Karras",
            order=2,
            random=True,
            drops_last_but_one=True,
        ),
        Sampler("DPM++ 2M", "Sharp after few steps.", ("k_dpmpp_2m", "dpmpp_2m"), automatic="Karras"),
        Sampler(
            "DPM++ 2M SDE",
            "DPM++ 2M that adds noise: richer detail.",
            ("k_dpmpp_2m_sde", "dpmpp_2m_sde"),
            automatic="Exponential",
            random=True,
            note=_OTHER_NOISE,
        ),
        Sampler(
            "DPM++ 2M SDE Heun",
            "DPM++ 2M SDE with another second order.",
            ("k_dpmpp_2m_sde_heun", "dpmpp_2m_sde_heun"),
            automatic="Exponential",
            random=True,
            note=_OTHER_NOISE,
        ),
        Sampler(
            "DPM++ 3M SDE",
            "Remembers three steps; needs many.",
            ("k_dpmpp_3m_sde", "dpmpp_3m_sde"),
            automatic="Exponential",
            random=True,
            note=_OTHER_NOISE,
            drops_last_but_one=True,
        ),
        Sampler(
            "DPM++ SDE",
            "Two looks a step and noise: much from few steps.",
            ("k_dpmpp_sde", "dpmpp_sde"),
            automatic="Karras",
            order=2,
            random=True,
            note=_OTHER_NOISE,
        ),
        Sampler(
            "DPM++ 2S a",
            "Two looks a step, and fresh noise after it.",
            ("k_dpmpp_2s_a", "k_dpmpp_2s_ancestral", "dpmpp_2s_ancestral"),
            automatic="Karras",
            order=2,
            random=True,
        ),
        Sampler(
            "DPM fast",
            "Third-order steps, with no noise level to choose.",
            ("k_dpm_fast", "dpm_fast"),
            schedules=(AUTOMATIC,),
            automatic="Uniform",
            random=True,
            end="smallest",
        ),
        Sampler(
            "Restart",
            "Goes back up and down again from twenty steps on.",
            ("restart_sampler",),
            schedules=(AUTOMATIC, "Karras"),
            automatic="Karras",
            order=2,
            random=True,
        ),
        Sampler("DDIM", "The deterministic classic.", ("k_ddim",), eta=0.0, end="final", variance_preserving=True),
        Sampler(
            "PLMS",
            "DDIM that remembers four steps.",
            ("pndm",),
            schedules=(AUTOMATIC, "Uniform", "SGM Uniform", "Simple", "Normal", "DDIM"),
            end="final",
            variance_preserving=True,
        ),
        Sampler(
            "UniPC",
            "Good from about ten steps.",
            ("uni_pc", "uni_pc_bh2"),
            note="Order 2 with B2(h), as in diffusers; A1111's own setting is order 3 with B1(h).",
            variance_preserving=True,
        ),
        Sampler(
            "LCM",
            "For models distilled to 4-8 steps, with CFG 1-2.",
            ("k_lcm",),
            schedules=(AUTOMATIC, "SGM Uniform", "Simple"),
            max_steps=50,
            random=True,
            note="Steps stand where diffusers puts them; A1111 spreads them down to the smallest.",
            variance_preserving=True,
        ),
    )
}


def names() -> tuple[str, ...]:
    return tuple(SAMPLERS)


def listing() -> tuple[Mapping[str, Any], ...]:
    """What an API says about every sampler, as plain values."""
    return tuple(
        {
            "name": sampler.name,
            "about": sampler.about,
            "aliases": list(sampler.aliases),
            "schedules": list(sampler.schedules),
            "automatic": sampler.automatic or None,
            "order": sampler.order,
            "random": sampler.random,
            "max_steps": sampler.max_steps,
            "note": sampler.note,
        }
        for sampler in SAMPLERS.values()
    )


def resolve(sampler: str, schedule: str = AUTOMATIC) -> tuple[str, str]:
    """Canonical (sampler, schedule) for names or aliases in any case; "DPM++ 2M Karras" in one name is understood too.

    Raises UnknownSampler with the nearest names, and InvalidParameter for a sampler that is known and not offered.
    """
    wanted = schedule.strip() or AUTOMATIC
    name = _sampler(sampler)
    if name is None:
        name, implied = _split(sampler)
        if name is None or _schedule(wanted) not in (AUTOMATIC, implied):
            raise UnknownSampler(sampler, names())
        wanted = implied
    chosen = _schedule(wanted)
    if chosen is None or chosen not in SAMPLERS[name].schedules:
        raise UnknownSampler(wanted, SAMPLERS[name].schedules, field="schedule")
    return name, chosen


def _folded(name: str) -> str:
    return re.sub(r"[\s_-]+", "", name.casefold())


def _sampler(name: str) -> str | None:
    folded = _folded(name)
    for title, (why, aliases, instead) in _NO_CHOICE.items():
        if folded in map(_folded, (title, *aliases)):
            raise InvalidParameter("sampler", f"{title} is not offered: it {why}.", instead)
    return next((s.name for s in SAMPLERS.values() if folded in map(_folded, (s.name, *s.aliases))), None)


def _schedule(name: str) -> str | None:
    folded = _folded(name)
    return next((title for title, others in SCHEDULES.items() if folded in map(_folded, (title, *others))), None)


def _split(name: str) -> tuple[str | None, str]:
    """A sampler's name with a schedule's behind it, or A1111's old "_ka" for Karras."""
    if name.strip().casefold().endswith("_ka"):
        return _sampler(name.strip()[:-3]), "Karras"
    words = name.split()
    for cut in range(len(words) - 1, 0, -1):
        found, schedule = _sampler(" ".join(words[:cut])), _schedule(" ".join(words[cut:]))
        if found and schedule:
            return found, schedule
    return None, AUTOMATIC
