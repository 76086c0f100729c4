"""What the X/Y/Z plot can vary: one table, in the order in which values are set in a request."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from backend.errors import InvalidParameter
from backend.types.plans import Axis, Fields

_TAG = re.compile(r"<(lora|lyco):([^:<>]*)(:[^<>]*)?>", re.IGNORECASE)
_AUTOMATIC = "Automatic"


def _set(name: str, fields: Fields, value: Any) -> Fields:
    return {**fields, name: value}


def _set_in(part: str, name: str, why: str, fields: Fields, value: Any) -> Fields:
    """A value of a nested part that has to be there."""
    inner = fields.get(part)
    if not isinstance(inner, Mapping):
        raise InvalidParameter(part, why, "Switch it on in the form first.")
    return {**fields, part: {**inner, name: value}}


def _variation(name: str, fields: Fields, value: Any) -> Fields:
    inner = fields.get("variation")
    return {**fields, "variation": {**(inner if isinstance(inner, Mapping) else {}), name: value}}


def _variation_seed(fields: Fields, value: int) -> Fields:
    inner = fields.get("variation")
    if not isinstance(inner, Mapping) or inner.get("strength") is None:
        raise InvalidParameter(
            "variation", "The variation has no strength, so its seed changes nothing.", "Give it a strength."
        )
    return _variation("seed", fields, value)


def _vae(fields: Fields, name: str) -> Fields:
    return {**fields, "vae": "" if name == _AUTOMATIC else name}


def _size(fields: Fields, size: tuple[int, int]) -> Fields:
    return {**fields, "width": size[0], "height": size[1]}


def _styles(fields: Fields, names: tuple[str, ...]) -> Fields:
    """Besides the styles that are there, as in A1111."""
    given = fields.get("styles") or ()
    kept = tuple(given) if isinstance(given, list | tuple) else ()
    return {**fields, "styles": [*kept, *(name for name in names if name != "None" and name not in kept)]}


def _denoise(fields: Fields, value: float) -> Fields:
    if fields.get("mode", "txt2img") != "txt2img":
        return {**fields, "denoise": value}
    return _set_in("hires", "denoise", "There is no hires pass and no picture to start from.", fields, value)


def _refiner(fields: Fields, name: str) -> Fields:
    if name == "None":
        return {**fields, "refiner": None}
    inner = fields.get("refiner")
    return {**fields, "refiner": {**(inner if isinstance(inner, Mapping) else {}), "model": name}}


def _refiner_switch(fields: Fields, value: float) -> Fields:
    if "refiner" in fields and fields["refiner"] is None:  # the axis beside this one says that there is none
        return fields
    return _set_in("refiner", "switch", "There is no refiner.", fields, value)


def _control(name: str, fields: Fields, value: float) -> Fields:
    units = fields.get("control")
    if not isinstance(units, list | tuple) or not units or not all(isinstance(unit, Mapping) for unit in units):
        raise InvalidParameter("control", "There is no control unit.", "Add one in the form first.")
    return {**fields, "control": [{**unit, name: value} for unit in units]}


def _lora(fields: Fields, value: float) -> Fields:
    """Every LoRA of the prompt and beside it; weights of blocks are given up."""
    prompt, loras = fields.get("prompt") or "", fields.get("loras") or ()
    if not isinstance(prompt, str) or not isinstance(loras, list | tuple):
        raise InvalidParameter("loras", "The LoRAs cannot be read.")
    if not loras and not _TAG.search(prompt):
        raise InvalidParameter("loras", "There is no LoRA.", "Add one to the prompt, such as <lora:name:1>.")
    changed = [{**one, "text": value, "unet": value} if isinstance(one, Mapping) else one for one in loras]
    text = _TAG.sub(lambda tag: f"<{tag[1]}:{tag[2]}:{value:g}>", prompt)
    return {**fields, "prompt": text, **({"loras": changed} if changed else {})}


def _texts(fields: Fields) -> Mapping[str, str]:
    return {name: text for name in ("prompt", "negative") if isinstance(text := fields.get(name), str)}


def _search(fields: Fields, pair: tuple[str, str]) -> Fields:
    searched, replacement = pair
    texts = _texts(fields)
    if not any(searched in text for text in texts.values()):
        detail = f'"{searched[:60]}" stands neither in the prompt nor in the negative prompt.'
        raise InvalidParameter("prompt", detail, "The first value is what the others replace.")
    return {**fields, **{name: text.replace(searched, replacement) for name, text in texts.items()}}


def _order(fields: Fields, parts: tuple[str, ...]) -> Fields:
    """The places where the parts stand in the prompt take them in another order."""
    prompt = _texts(fields).get("prompt", "")
    places = sorted((prompt.find(part), len(part), part) for part in parts)
    if places[0][0] < 0:
        raise InvalidParameter("prompt", f'"{places[0][2][:60]}" does not stand in the prompt.')
    pieces, end = [], 0
    for (start, length, part), new in zip(places, parts, strict=True):
        if start < end:
            raise InvalidParameter("prompt", f'"{part[:60]}" stands within another of the values.')
        pieces += [prompt[end:start], new]
        end = start + length
    return {**fields, "prompt": "".join([*pieces, prompt[end:]])}


def _hires(name: str) -> Callable[[Fields, Any], Fields]:
    return partial(_set_in, "hires", name, "There is no hires pass.")


AXES: tuple[Axis, ...] = (
    Axis("Checkpoint", "choice", partial(_set, "model"), names=("checkpoint",), cost=3, bare=True),
    Axis("VAE", "choice", _vae, names=("vae",), extra=(_AUTOMATIC,), cost=2),
    Axis("Prompt S/R", "search", _search, "red, green, blue", bare=True),
    Axis("Prompt order", "order", _order, "a tree, a house, a hill", bare=True),
    Axis("Styles", "choices", _styles, names=("style",), extra=("None",)),
    Axis("LoRA weight", "number", _lora, "0-1 (+0.25)", cost=1),
    Axis("Seed", "whole", partial(_set, "seed"), "1-4, 42"),
    Axis("Variation strength", "number", partial(_variation, "strength"), "0-0.4 (+0.1)"),
    Axis("Variation seed", "whole", _variation_seed, "1-4"),
    Axis("Steps", "whole", partial(_set, "steps"), "10-30 (+10)"),
    Axis("CFG", "number", partial(_set, "cfg"), "3-9 (+2)"),
    Axis("CFG rescale", "number", partial(_set, "cfg_rescale"), "0, 0.3, 0.7"),
    Axis("Sampler", "choice", partial(_set, "sampler"), names=("sampler",), bare=True),
    Axis("Schedule type", "choice", partial(_set, "schedule"), names=("schedule",)),
    Axis("Eta", "number", partial(_set, "eta"), "0, 0.5, 1"),
    Axis("Clip skip", "whole", partial(_set, "clip_skip"), "1, 2"),
    Axis("Size", "size", _size, "512x512, 512x768", bare=True),
    Axis("Tiling", "flag", partial(_set, "tiling"), "false, true"),
    Axis("Denoising", "number", _denoise, "0.3-0.9 (+0.2)"),
    Axis("Hires steps", "whole", _hires("steps"), "5, 10, 20"),
    Axis("Hires upscaler", "choice", _hires("upscaler"), names=("upscaler", "latent upscaler")),
    Axis(
        "Upscaler",
        "choice",
        partial(_set_in, "upscale", "upscaler", "No picture is made larger."),
        names=("upscaler",),
        bare=True,
    ),
    Axis("Refiner model", "choice", _refiner, names=("checkpoint",), extra=("None",), cost=1),
    Axis("Refiner switch at", "number", _refiner_switch, "0.6-0.9 (+0.1)"),
    Axis("ControlNet weight", "number", partial(_control, "weight"), "0.5, 1, 1.5"),
    Axis("ControlNet start", "number", partial(_control, "start"), "0, 0.2"),
    Axis("ControlNet end", "number", partial(_control, "end"), "0.6-1 (+0.2)"),
)
