"""The parts of a request that speak of pictures: what to start from, what to repaint, what guides, how to grow."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from backend import samplers
from backend.errors import InvalidParameter
from backend.inputs import Input
from backend.preprocessors import PREPROCESSORS, canonical
from backend.requests.values import part, text
from backend.requests.words import Models
from backend.settings import Settings
from backend.types import ControlUnit, Grid, Hires, Inpaint, ModelInfo, ModelKind, Outpaint, Refiner, Upscale
from backend.upscalers import LATENT, PIXEL

_SHAPES_DIFFER = 0.02
"""Relative difference of aspect ratios up to which a mask may be scaled to its picture."""
MOST_UNITS = 10
_LONGEST_NAME = 300
_CONTROLS: tuple[ModelKind, ...] = ("controlnet", "t2i-adapter", "ip-adapter")


class Inputs(Protocol):
    """Where pictures that people bring are kept. `get` raises NotFound."""

    def get(self, ident: str) -> Input: ...


def multiple(value: float, factor: int, settings: Settings) -> int:
    """The nearest side in pixels that a model with this factor and these settings can paint."""
    most = settings.max_side_px - settings.max_side_px % factor
    return min(max(round(value / factor), -(-64 // factor)) * factor, most)


def found(field: str, ident: Any, inputs: Inputs) -> Input:
    if not isinstance(ident, str) or not ident:
        raise InvalidParameter(field, f"{field} must name an uploaded picture.", "Send it to /api/v1/inputs first.")
    return inputs.get(ident)


def inpaint(value: Any, outpaint: Outpaint | None, picture: Input, inputs: Inputs) -> Inpaint:
    """Raises InvalidParameter without a mask (unless the canvas grows), or with one of another shape."""
    asked = part("inpaint", value or {}, Inpaint)
    if asked.mask is None:
        if outpaint is None:
            raise InvalidParameter("inpaint.mask", "There is no mask.", "Paint over what is to be changed.")
        return asked
    mask = found("inpaint.mask", asked.mask, inputs)
    ours, theirs = picture.width / picture.height, mask.width / mask.height
    if abs(ours / theirs - 1) > _SHAPES_DIFFER:
        detail = f"The mask is {mask.width} x {mask.height}, the picture {picture.width} x {picture.height}."
        raise InvalidParameter("inpaint.mask", detail, "Use a mask of the same shape as the picture.")
    return asked


def outpaint(value: Any) -> Outpaint | None:
    """None if nothing is to grow."""
    if value is None:
        return None
    asked = part("outpaint", value, Outpaint)
    return asked if asked.left or asked.right or asked.up or asked.down else None


def control(value: Any, models: Models, model: ModelInfo, inputs: Inputs) -> tuple[ControlUnit, ...]:
    if not isinstance(value, list | tuple):
        raise InvalidParameter("control", "control must be a list of units.")
    if len(value) > MOST_UNITS:
        detail = f"{len(value)} control units are asked for; {MOST_UNITS} are the most."
        raise InvalidParameter("control", detail, "Use fewer.")
    return tuple(_unit(f"control.{number}", item, models, model, inputs) for number, item in enumerate(value))


def _unit(field: str, value: Any, models: Models, model: ModelInfo, inputs: Inputs) -> ControlUnit:
    unit = part(field, value, ControlUnit)
    found(f"{field}.image", unit.image, inputs)
    preprocessor = canonical(unit.preprocessor)
    if preprocessor is None:
        detail = f'There is no preprocessor called "{unit.preprocessor[:80]}".'
        raise InvalidParameter(f"{field}.preprocessor", detail, "Known: " + ", ".join(PREPROCESSORS) + ".")
    if unit.end <= unit.start:
        raise InvalidParameter(f"{field}.end", "The control ends before it starts.", "Let end be larger than start.")
    net = models.find(text(f"{field}.model", unit.model, _LONGEST_NAME), _CONTROLS)
    why_not = models.fits(net, model)
    if why_not:
        raise InvalidParameter(f"{field}.model", f'"{net.title}" cannot guide this model: {why_not}.')
    return unit.model_copy(update={"model": net.id, "preprocessor": preprocessor})


def _second_sampler(asked: Hires, first: tuple[str, str]) -> tuple[str, str]:
    """Names in their own spelling, "" for those of the `first` pass; both together must be possible."""
    sampler, schedule = asked.sampler.strip(), asked.schedule.strip()
    if not sampler and not schedule:
        return "", ""
    if not sampler:
        return "", samplers.resolve(first[0], schedule)[1]
    name, found = samplers.resolve(sampler, schedule)
    if not schedule and found == samplers.AUTOMATIC:
        usable = first[1] in samplers.SAMPLERS[name].schedules
        return name, "" if usable else found
    return name, found


def hires(
    value: Any, size: tuple[int, int], first: tuple[str, str], model: ModelInfo, models: Models, settings: Settings
) -> Hires | None:
    """None if it is off. `scale` may stand instead of width and height; `first` are the first pass's sampler and
    schedule."""
    if value is None:
        return None
    given = dict(value) if isinstance(value, Mapping) else value
    if isinstance(given, dict) and (asked_scale := given.pop("scale", None)) is not None:
        scale = _scale("hires.scale", asked_scale)
        width, height = (round(side * scale / model.factor) * model.factor for side in size)
        given = {"width": width, "height": height, **given}
    asked = part("hires", given, Hires)
    for name, side in (("width", asked.width), ("height", asked.height)):
        if side % model.factor or side > settings.max_side_px:
            detail = f"hires.{name} is {side}; it must be a multiple of {model.factor} up to {settings.max_side_px}."
            raise InvalidParameter(f"hires.{name}", detail, f"Use {multiple(side, model.factor, settings)}.")
    sampler, schedule = _second_sampler(asked, first)
    most = min(settings.max_steps, samplers.SAMPLERS[sampler or first[0]].max_steps)
    if asked.steps > most:
        raise InvalidParameter("hires.steps", f"hires.steps is {asked.steps}; it must be from 0 to {most}.")
    for name, words in (("prompt", asked.prompt), ("negative", asked.negative)):
        text(f"hires.{name}", words, settings.max_prompt_chars)
    upscaler = upscaler_named("hires.upscaler", asked.upscaler, models, latent=True)
    return asked.model_copy(update={"sampler": sampler, "schedule": schedule, "upscaler": upscaler})


def scale_of(given: Mapping[str, Any]) -> float:
    """How much larger an upscaled picture is to be, where its size is not given: `upscale.scale`, twice by default."""
    asked = given.get("upscale")
    if given.get("mode") != "upscale":
        return 1.0
    return _scale("upscale.scale", asked.get("scale", 2)) if isinstance(asked, Mapping) else 2.0


def _scale(field: str, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 1 <= value <= 8:
        raise InvalidParameter(field, f"{field} must be a number from 1 to 8.")
    return float(value)


def upscale(value: Any, models: Models, factor: int) -> Upscale:
    given = {name: item for name, item in value.items() if name != "scale"} if isinstance(value, Mapping) else value
    asked = part("upscale", given or {}, Upscale)
    if asked.diffusion and (asked.tile % factor or asked.overlap * 2 >= asked.tile):
        hint = f"Let tile be a multiple of {factor}, and overlap less than half of it."
        raise InvalidParameter("upscale.tile", "These tiles cannot be laid.", hint)
    name = upscaler_named("upscale.upscaler", asked.upscaler, models, latent=False)
    return asked.model_copy(update={"upscaler": name})


def upscaler_named(field: str, name: str, models: Models, *, latent: bool) -> str:
    """The canonical name of a built-in upscaler, or the id of one in the catalogue."""
    built_in = {each.casefold(): each for each in (*PIXEL, *(LATENT if latent else ()))}
    if name.casefold() in built_in:
        return str(built_in[name.casefold()])
    if not latent and name.casefold() in {each.casefold() for each in LATENT}:
        raise InvalidParameter(field, f"{name} works on latents, inside a job.", "Choose Lanczos or an upscaler model.")
    found: ModelInfo = models.find(text(field, name, _LONGEST_NAME), "upscaler")
    return found.id


def refiner(value: Any, models: Models, model: ModelInfo) -> Refiner | None:
    if value is None:
        return None
    asked = part("refiner", value, Refiner)
    other = models.find(text("refiner.model", asked.model, _LONGEST_NAME))
    if not (model.family == "sdxl" and other.family in ("sdxl", "sdxl-refiner")) and other.family != model.family:
        detail = f'"{other.title}" ({other.family}) cannot take over from "{model.title}" ({model.family}).'
        raise InvalidParameter("refiner.model", detail, "Choose a model of the same architecture.")
    return asked.model_copy(update={"model": other.id})


def grid(value: Any) -> Grid:
    asked = part("grid", value, Grid)
    if len(asked.cells) % asked.columns:
        raise InvalidParameter("grid.columns", f"{len(asked.cells)} cells do not fill {asked.columns} columns.")
    return asked
