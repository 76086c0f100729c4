"""From whatever a face received to a complete, valid GenerationRequest. Every rule about single values stands here."""

from __future__ import annotations

import json
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from backend import samplers
from backend.errors import InvalidParameter
from backend.inputs import Input
from backend.requests import pictures
from backend.requests.pictures import Inputs
from backend.requests.values import flag, known_fields, one_of, part, real, text, whole
from backend.requests.words import Models, Vocabulary, loras_given, second_words, words
from backend.settings import Settings
from backend.types import Bucket, Churn, GenerationRequest, Hires, Inpaint, ModelInfo, Outpaint, Variation
from backend.types.request import STRICTER

MAX_SEED = 2**53 - 1
"""The largest whole number that survives a round trip through a browser."""

BATCHED = frozenset({"sd1", "sd2", "sdxl"})
"""Families that share forwards in the engine; all others run alone, by their own pipeline, and know txt2img only."""

_DEFAULTS: Mapping[str, Any] = {"steps": 20, "cfg": 7.0, "sampler": "Euler", "schedule": samplers.AUTOMATIC}
_BUCKETS: tuple[Bucket, ...] = (1, 2, 4, 8)
_MODES = ("txt2img", "img2img", "inpaint", "upscale", "convert", "grid")
_RESIZES = ("stretch", "crop", "fill", "latent")
_EMPHASES = ("original", "no norm", "ignore", "none")
_FORMATS = ("png", "jpeg", "webp", "avif")
_PICTURE_MODES = ("img2img", "inpaint", "upscale", "convert")
_AS_IT_IS = ("upscale", "convert")
_ALONE_LACKS = ("vae", "variation", "resize_from", "tiling", "film")
_ALONE_IGNORES = ("clip_skip", "emphasis", "cfg_rescale", "cfg_interval", "eta", "churn", "noise_multiplier")
_MOST_FRAMES = 128
_MOST_STYLES = 32
_MOST_EXTRAS = 256 << 10


@dataclass(frozen=True, slots=True)
class Library:
    """What a request may refer to. `inputs` is None where no pictures can be brought."""

    models: Models
    inputs: Inputs
    vocabulary: Vocabulary = field(default_factory=Vocabulary)


def checked(fields: Mapping[str, Any], library: Library, settings: Settings) -> GenerationRequest:
    """The request in canonical form: defaults filled in from the model, names in their own spelling, a seed drawn.

    Raises InvalidParameter (naming the field), UnknownSampler, UnknownModel, UnreadableModel or NotFound (a picture).
    """
    given = {key: value for key, value in fields.items() if value is not None}
    known_fields(given, GenerationRequest.model_fields.keys() - {"words"} | {"loras"})
    mode = one_of("mode", given.get("mode", "txt2img"), _MODES)
    model = library.models.find(text("model", given.get("model") or settings.default_model, 200))
    _fits_mode(mode, given, model)
    start = pictures.found("init_image", given.get("init_image"), library.inputs) if mode in _PICTURE_MODES else None
    grown = pictures.outpaint(given.get("outpaint")) if mode == "inpaint" else None
    scale = pictures.scale_of(given)
    upscale = pictures.upscale(given.get("upscale"), library.models, model.factor) if mode == "upscale" else None
    paints = mode not in ("convert", "grid") and not (upscale and not upscale.diffusion)
    factor = model.factor if paints else 1
    natural = _size(start, grown, model.native_size, factor, settings, scale, given)
    value = {**_DEFAULTS, **natural, **model.defaults, **given}
    prompt = text("prompt", value.get("prompt", ""), settings.max_prompt_chars)
    negative = text("negative", value.get("negative", ""), settings.max_prompt_chars)
    if paints and mode != "txt2img":
        _shares_forwards(model, "mode")
    if paints and mode == "txt2img" and not prompt.strip():
        raise InvalidParameter("prompt", "The prompt is empty.", 'Say what you want to see, for example "a red apple".')
    sampler, schedule = samplers.resolve(text("sampler", value["sampler"], 80), text("schedule", value["schedule"], 80))
    most_steps = min(settings.max_steps, samplers.SAMPLERS[sampler].max_steps)
    count = whole("count", value.get("count", 1), 1, settings.max_count)
    cfg = real("cfg", value["cfg"], 1.0, 30.0)
    if mode == "convert" and start:  # another file of the same picture: nothing about it is chosen anew
        width, height, count = start.width, start.height, 1
    else:
        width, height = (_side(name, value[name], model, factor, settings) for name in ("width", "height"))
    seed = _seed(value.get("seed"), count)
    styles = _names("styles", value.get("styles", ()))
    spoken = words(
        prompt,
        negative,
        styles,
        library.vocabulary,
        models=library.models,
        model=model,
        seed=seed,
        count=count,
        loras=loras_given(value.get("loras", ())),
        limit=settings.max_prompt_chars,
    )
    if not paints:  # a model that has no part in the picture is not written down with it
        value |= {"control": (), "refiner": None, "vae": ""}
        spoken = tuple(each.model_copy(update={"loras": ()}) for each in spoken)
    hires = _hires(mode, value.get("hires"), (width, height), (sampler, schedule), model, library.models, settings)
    if hires and (hires.prompt or hires.negative):
        drawn, without = second_words(
            hires.prompt, hires.negative, library.vocabulary, spoken, models=library.models, seed=seed, count=count
        )
        hires = hires.model_copy(update={"prompt": drawn, "negative": without})
    request = GenerationRequest.model_validate(
        {
            "mode": mode,
            "prompt": prompt,
            "negative": negative,
            "styles": styles,
            "words": spoken,
            "width": width,
            "height": height,
            "steps": whole("steps", value["steps"], 1, most_steps),
            "sampler": sampler,
            "schedule": schedule,
            "cfg": cfg,
            "seed": seed,
            "count": count,
            "model": model.id,
            "vae": _vae(value.get("vae", ""), library.models, model),
            "clip_skip": whole("clip_skip", value.get("clip_skip", 1), 1, 12),
            "emphasis": one_of("emphasis", value.get("emphasis", "original"), _EMPHASES),
            "cfg_rescale": real("cfg_rescale", value.get("cfg_rescale", 0.0), 0.0, 1.0),
            "cfg_interval": _interval(value.get("cfg_interval", (0.0, 1.0))),
            "eta": real("eta", value["eta"], 0.0, 1.0) if value.get("eta") is not None else None,
            "churn": part("churn", value.get("churn", {}), Churn),
            "variation": _variation(value.get("variation"), count),
            "resize_from": _resize_from(value.get("resize_from"), model.factor),
            "tiling": flag("tiling", value.get("tiling", False)),
            "init_image": start.id if start else None,
            "denoise": real("denoise", value.get("denoise", 0.75), 0.0, 1.0),
            "resize": one_of("resize", value.get("resize", "stretch"), _RESIZES),
            "noise_multiplier": real("noise_multiplier", value.get("noise_multiplier", 1.0), 0.0, 1.5),
            "inpaint": _inpaint(mode, value.get("inpaint"), grown, start, library.inputs),
            "outpaint": grown,
            "control": pictures.control(value.get("control", ()), library.models, model, library.inputs),
            "hires": hires,
            "upscale": upscale,
            "refiner": pictures.refiner(value.get("refiner"), library.models, model),
            "grid": pictures.grid(value.get("grid")) if mode == "grid" else None,
            "film": (film := _film(value.get("film", ()), count)),
            "maps": _maps(value.get("maps", False), film, count, model),
            "format": one_of("format", value.get("format", "png"), _FORMATS),
            "quality": whole("quality", value.get("quality", 92), 50, 100),
            "bucket": _bucket(value.get("bucket"), cfg),
            "policy": one_of("policy", value.get("policy", ""), STRICTER),
            "consent": flag("consent", value.get("consent", False)),
            "client_extras": _extras(value.get("client_extras", {})),
        }
    )
    return request if not paints or model.family in BATCHED else _alone(request, model)


def _fits_mode(mode: str, given: Mapping[str, Any], model: ModelInfo) -> None:
    if model.family == "sdxl-refiner":
        raise InvalidParameter("model", f'"{model.title}" refines pictures of SDXL; it does not start them.')
    if model.family in BATCHED:
        return
    if mode in _PICTURE_MODES and mode not in _AS_IT_IS:
        _shares_forwards(model, "mode")
    for name in ("control", "hires", "refiner", "inpaint"):
        if given.get(name):
            raise _has_no(model, name)


def _shares_forwards(model: ModelInfo, field: str) -> None:
    if model.family not in BATCHED:
        detail = f'"{model.title}" ({model.family}) runs by its own pipeline, which makes pictures from words only.'
        raise InvalidParameter(field, detail, "Choose an SD 1.x, SD 2.x or SDXL model.")


def _has_no(model: ModelInfo, name: str) -> InvalidParameter:
    detail = f'"{model.title}" ({model.family}) runs by its own pipeline, which has no {name}.'
    return InvalidParameter(name, detail, "Choose an SD 1.x, SD 2.x or SDXL model.")


def _alone(request: GenerationRequest, model: ModelInfo) -> GenerationRequest:
    """The request as a model's own pipeline will carry it out. Raises InvalidParameter for what it cannot do.

    Habits of the other families that mean nothing here (clip skip, emphasis) are left out, so that no record claims
    them.
    """
    if any(each.loras for each in request.words):
        raise _has_no(model, "loras")
    plain = {name: GenerationRequest.model_fields[name].default for name in (*_ALONE_LACKS, *_ALONE_IGNORES)}
    for name in _ALONE_LACKS:
        if getattr(request, name) != plain[name]:
            raise _has_no(model, name)
    return request.model_copy(update=plain)


def _size(
    start: Input | None,
    grown: Outpaint | None,
    native: int,
    factor: int,
    settings: Settings,
    scale: float,
    given: Mapping[str, Any],
) -> dict[str, int]:
    """The size when none is asked for: the model's own, or that of the picture to start from, `scale` times.

    A picture larger than what may be painted keeps its proportions; a scale that leads beyond that is refused.
    """
    if start is None:
        return {"width": native, "height": native}
    width, height = start.width * scale, start.height * scale
    if grown:
        width, height = width + grown.left + grown.right, height + grown.up + grown.down
        if width * height > settings.upload_limit_mpx * 1_000_000:
            detail = f"The canvas would grow to {width:g} x {height:g} pixels."
            raise InvalidParameter("outpaint", detail, "Let it grow less, or start from a smaller picture.")
    shrink = min(1.0, settings.max_side_px / max(width, height))
    if shrink < 1 and scale > 1 and not ("width" in given and "height" in given):
        detail = f"{scale:g} times larger the picture would have {width:.0f} x {height:.0f} pixels."
        raise InvalidParameter("upscale.scale", detail, f"At most {settings.max_side_px} on a side are made.")
    width, height = width * shrink, height * shrink
    return {
        "width": pictures.multiple(width, factor, settings),
        "height": pictures.multiple(height, factor, settings),
    }


def _inpaint(mode: str, value: Any, grown: Outpaint | None, start: Input | None, inputs: Inputs) -> Inpaint | None:
    return pictures.inpaint(value, grown, start, inputs) if mode == "inpaint" and start else None


def _hires(
    mode: str,
    value: Any,
    size: tuple[int, int],
    first: tuple[str, str],
    model: ModelInfo,
    models: Models,
    settings: Settings,
) -> Hires | None:
    if value is not None and mode != "txt2img":
        raise InvalidParameter("hires", "Hires fix belongs to txt2img.", "Use upscale for pictures that exist.")
    return pictures.hires(value, size, first, model, models, settings)


def _side(field: str, value: Any, model: ModelInfo, factor: int, settings: Settings) -> int:
    least = max(64, factor)
    side = whole(field, value, least, settings.max_side_px)
    if side % factor:
        below = max(side - side % factor, least)
        detail = f'{field} is {side}; the model "{model.title}" needs a multiple of {factor}.'
        raise InvalidParameter(field, detail, f"Use {below} or {below + factor}.")
    return side


def _seed(value: Any, count: int) -> int:
    if value is None or value == -1:
        return secrets.randbelow(2**32)
    return whole("seed", value, 0, MAX_SEED - count + 1)


def _variation(value: Any, count: int) -> Variation | None:
    if value is None:
        return None
    given = dict(value) if isinstance(value, Mapping) else value
    if isinstance(given, dict):
        if not given.get("strength"):
            return None
        given["seed"] = _seed(given.get("seed"), count)
    return part("variation", given, Variation)


def _resize_from(value: Any, factor: int) -> tuple[int, int] | None:
    if value is None or value == (0, 0) or value == [0, 0]:
        return None
    if not isinstance(value, list | tuple) or len(value) != 2:
        raise InvalidParameter("resize_from", "resize_from must be a width and a height in pixels.")
    width, height = (whole("resize_from", side, factor, 4096) for side in value)
    return width, height


def _interval(value: Any) -> tuple[float, float]:
    if not isinstance(value, list | tuple) or len(value) != 2:
        raise InvalidParameter("cfg_interval", "cfg_interval must be two shares of the steps, such as 0.2 and 0.8.")
    begin, end = (real("cfg_interval", share, 0.0, 1.0) for share in value)
    if end <= begin:
        raise InvalidParameter("cfg_interval", "The interval ends before it begins.", "Use 0 and 1 for all steps.")
    return begin, end


def _vae(value: Any, models: Models, model: ModelInfo) -> str:
    name = text("vae", value, 200)
    if not name or name.casefold() in ("automatic", "none"):
        return ""
    found = models.find(name, "vae")
    if why_not := models.fits(found, model):
        raise InvalidParameter("vae", f'The VAE "{found.title}" cannot be used here: {why_not}.')
    return found.id


def _names(field: str, value: Any) -> tuple[str, ...]:
    if not isinstance(value, list | tuple) or not all(isinstance(item, str) for item in value):
        raise InvalidParameter(field, f"{field} must be a list of names.")
    if len(value) > _MOST_STYLES:
        raise InvalidParameter(field, f"{len(value)} {field} are too many; {_MOST_STYLES} are the most.")
    return tuple(text(field, item, 200) for item in value)


def _film(value: Any, count: int) -> tuple[int, ...]:
    if not isinstance(value, list | tuple) or len(value) > 64:
        raise InvalidParameter("film", "film must be a list of at most 64 step numbers.")
    if len(value) * count > _MOST_FRAMES:
        detail = f"{count} films of {len(value)} frames are too much to keep; {_MOST_FRAMES} frames are the most."
        raise InvalidParameter("film", detail, "Ask for fewer frames or fewer pictures.")
    return tuple(sorted({whole("film", step, 1, 1000) for step in value}))


def _maps(value: Any, film: Sequence[int], count: int, model: ModelInfo) -> bool:
    wanted = flag("maps", value)
    if wanted and not film:
        raise InvalidParameter("maps", "Maps are drawn at the steps of a film, and none was asked for.", "Add film.")
    if wanted and count != 1:
        raise InvalidParameter("maps", "Maps are drawn for one picture at a time.", "Ask for one picture.")
    if wanted and model.family not in BATCHED:
        detail = f'"{model.title}" ({model.family}) runs by its own pipeline, whose attention cannot be read.'
        raise InvalidParameter("maps", detail, "Choose an SD 1.x, SD 2.x or SDXL model.")
    return wanted


def _bucket(value: Any, cfg: float) -> Bucket | None:
    if value is None:
        return None
    if value == 1 and cfg > 1:
        raise InvalidParameter("bucket", "A picture with guidance takes two rows.", "Use bucket 2 or more, or cfg 1.")
    for bucket in _BUCKETS:
        if value == bucket and not isinstance(value, bool):
            return bucket
    raise InvalidParameter("bucket", f"bucket must be one of {', '.join(map(str, _BUCKETS))}.")


def _extras(value: Any) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise InvalidParameter("client_extras", "client_extras must be an object.")
    try:
        encoded = json.dumps(dict(value), allow_nan=False, ensure_ascii=False).encode()
    except (TypeError, ValueError, RecursionError) as error:
        raise InvalidParameter("client_extras", "client_extras holds a value that cannot be stored.") from error
    if b"\\u0000" in encoded or len(encoded) > _MOST_EXTRAS:
        detail = f"client_extras holds a NUL character or more than {_MOST_EXTRAS >> 10} KiB."
        raise InvalidParameter("client_extras", detail)
    return dict(json.loads(encoded))


def seed_of(request: GenerationRequest, index: int) -> int:
    """The seed of picture `index`. With a variation the seed stays and the variation's moves on (A1111 1.10.1)."""
    return request.seed if request.variation else request.seed + index


def images_left(request: GenerationRequest, done: Sequence[int]) -> tuple[int, ...]:
    """The picture numbers of a request that are still to be made."""
    return tuple(index for index in range(request.count) if index not in done)
