"""From what was found to the fields of a request, as far as there is a field for it and the value makes sense.

Values are only shaped here; whether they are allowed is for backend.requests to say.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from backend import samplers
from backend.dialects.found import Found, number
from backend.errors import UnknownSampler

_SIZE = re.compile(r"([0-9]{1,6})\s*x\s*([0-9]{1,6})")
_EMPHASIS = {"original": "original", "no norm": "no norm", "ignore": "ignore", "none": "none"}
_SAME = ("use same sampler", "use same scheduler", "use same checkpoint", "")
_WHOLE_LIMIT = 2**63
_LONGEST_EXTRA = 2_000


@dataclass(frozen=True, slots=True)
class Fields:
    """`fields` by the names of GenerationRequest; `ignored` names the parameters that no field could take over.

    What was ignored or unknown is in `fields["client_extras"]`, so it travels on with the request; whole graphs are too
    long for that.
    """

    fields: Mapping[str, Any]
    ignored: tuple[str, ...]


def fields_of(found: Found) -> Fields:
    """Every parameter either becomes a field or is named in `ignored`; "Version" is neither, it asks for nothing."""
    reader = _Reader(found.parameters)
    fields: dict[str, Any] = {"prompt": found.prompt, "negative": found.negative}
    fields |= {field: value for name, field, read in _PLAIN if (value := reader.take(name, read)) is not None}
    fields |= _size(reader) | _sampling(reader)
    fields |= _variation(reader) | _refiner(reader) | _churn(reader) | _hires(reader, fields)
    if "hires" not in fields and (denoise := reader.take("Denoising strength", _real)) is not None:
        fields["denoise"] = denoise
    left = {name: value for name, value in found.parameters.items() if name not in reader.used}
    ignored = tuple(name for name in left if name not in _SILENT)
    extras = {name: value for name, value in {**found.unknown, **left}.items() if len(value) <= _LONGEST_EXTRA}
    return Fields(fields | ({"client_extras": extras} if extras else {}), ignored)


class _Reader:
    """Takes parameters by name and remembers which were understood."""

    def __init__(self, parameters: Mapping[str, str]) -> None:
        self._parameters = parameters
        self.used: set[str] = set()

    def take(self, name: str, read: Callable[[str], Any]) -> Any:
        """The value, or None if it is missing or makes no sense; only a value that makes sense counts as used."""
        text = self._parameters.get(name)
        value = None if text is None else read(text.strip())
        if value is not None:
            self.used.add(name)
        return value


def _real(text: str) -> float | None:
    return number(text)


def _whole(text: str) -> int | None:
    value = number(text)
    if value is None or value != int(value) or abs(value) >= _WHOLE_LIMIT:
        return None
    # Through text where possible: a seed of 16 digits does not survive a float.
    return int(text) if re.fullmatch(r"[+-]?[0-9]{1,19}", text) else int(value)


def _flag(text: str) -> bool | None:
    return {"true": True, "tiling": True, "1": True, "yes": True, "false": False, "0": False}.get(text.casefold())


def _name(text: str) -> str | None:
    return text or None


def _pair(text: str) -> tuple[int, int] | None:
    match = _SIZE.fullmatch(text)
    sides = (int(match[1]), int(match[2])) if match else (0, 0)
    return sides if all(sides) else None


def _interval(text: str) -> tuple[float, float] | None:
    start, _, end = text.partition(" to ")
    values = number(start), number(end)
    return None if values[0] is None or values[1] is None else (values[0], values[1])


def _emphasis(text: str) -> str | None:
    return _EMPHASIS.get(text.casefold())


def _bucket(text: str) -> int | None:
    return {"1": 1, "2": 2, "4": 4, "8": 8}.get(text)


_PLAIN: tuple[tuple[str, str, Callable[[str], Any]], ...] = (
    ("Steps", "steps", _whole),
    ("CFG scale", "cfg", _real),
    ("Seed", "seed", _whole),
    ("Model", "model", _name),
    ("VAE", "vae", _name),
    ("Clip skip", "clip_skip", _whole),
    ("CFG Rescale", "cfg_rescale", _real),
    ("CFG interval", "cfg_interval", _interval),
    ("Eta", "eta", _real),
    ("Tiling", "tiling", _flag),
    ("Emphasis", "emphasis", _emphasis),
    ("Seed resize from", "resize_from", _pair),
    ("Noise multiplier", "noise_multiplier", _real),
    ("Signet bucket", "bucket", _bucket),
)
_SILENT = frozenset({"Version", "User", "Model hash", "VAE hash", "Lora hashes", "TI hashes", "Hashes"})
"""They tell where the picture came from and ask for nothing."""


def _size(reader: _Reader) -> dict[str, Any]:
    sides = reader.take("Size", _pair)
    return {"width": sides[0], "height": sides[1]} if sides else {}


def _sampling(reader: _Reader, prefix: str = "") -> dict[str, Any]:
    """Sampler and schedule under the names we have for them. A schedule we lack falls back to the sampler's own."""
    sampler = reader.take("Hires sampler" if prefix else "Sampler", _name)
    schedule_name = "Hires schedule type" if prefix else "Schedule type"
    schedule = reader.take(schedule_name, _name)
    if sampler is None or sampler.casefold() in _SAME:
        return {}
    stated = schedule if schedule and schedule.casefold() not in _SAME else samplers.AUTOMATIC
    try:
        name, chosen = samplers.resolve(sampler, stated)
    except UnknownSampler:
        reader.used.discard(schedule_name)
        try:
            name, chosen = samplers.resolve(sampler)
        except UnknownSampler:
            reader.used.discard("Hires sampler" if prefix else "Sampler")
            return {}
    return {"sampler": name, "schedule": chosen}


def _variation(reader: _Reader) -> dict[str, Any]:
    seed = reader.take("Variation seed", _whole)
    strength = reader.take("Variation seed strength", _real)
    return {} if seed is None or strength is None else {"variation": {"seed": seed, "strength": strength}}


def _refiner(reader: _Reader) -> dict[str, Any]:
    model = reader.take("Refiner", _name)
    if model is None:
        return {}
    switch = reader.take("Refiner switch at", _real)
    return {"refiner": {"model": model} | ({} if switch is None else {"switch": switch})}


def _churn(reader: _Reader) -> dict[str, Any]:
    names = {"Sigma churn": "churn", "Sigma tmin": "tmin", "Sigma tmax": "tmax", "Sigma noise": "noise"}
    values = {field: value for name, field in names.items() if (value := reader.take(name, _real)) is not None}
    return {"churn": values} if values else {}


def _hires(reader: _Reader, fields: Mapping[str, Any]) -> dict[str, Any]:
    """The second pass, if it has a size: its own, or the first one's times "Hires upscale"."""
    sides = reader.take("Hires resize", _pair)
    factor = reader.take("Hires upscale", _real)
    if not sides and factor and 0 < factor <= 16 and "width" in fields:
        sides = (int(fields["width"] * factor), int(fields["height"] * factor))
    if not sides:
        reader.used -= {"Hires upscale"}
        return {}
    sampling = _sampling(reader, "Hires")
    values = {
        "width": sides[0],
        "height": sides[1],
        "upscaler": reader.take("Hires upscaler", _name),
        "steps": reader.take("Hires steps", _whole),
        "denoise": reader.take("Denoising strength", _real),
        "sampler": sampling.get("sampler"),
        "schedule": sampling.get("schedule"),
        "cfg": reader.take("Hires CFG Scale", _real),
        "prompt": reader.take("Hires prompt", _name),
        "negative": reader.take("Hires negative prompt", _name),
    }
    return {"hires": {name: value for name, value in values.items() if value is not None}}
