"""From whatever a face received to a complete, valid GenerationRequest. Every rule about single values stands here."""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from typing import Any, Protocol

from backend import samplers
from backend.errors import InvalidParameter
from backend.settings import Settings
from backend.types import Bucket, GenerationRequest, ModelInfo

MAX_SEED = 2**53 - 1
"""The largest whole number that survives a round trip through a browser."""

_DEFAULTS: Mapping[str, Any] = {"steps": 20, "cfg": 7.0, "sampler": "Euler", "schedule": samplers.AUTOMATIC}
_HUGE = 2**63
_BUCKETS: tuple[Bucket, ...] = (1, 2, 4, 8)


class Models(Protocol):
    """What is asked of the catalogue. `find` raises UnknownModel or UnreadableModel."""

    def find(self, name: str) -> ModelInfo: ...


def checked(fields: Mapping[str, Any], models: Models, settings: Settings) -> GenerationRequest:
    """The request in canonical form: defaults filled in from the model, names in their own spelling, a seed drawn.

    Raises InvalidParameter (naming the field), UnknownSampler, UnknownModel or UnreadableModel.
    """
    given = {key: value for key, value in fields.items() if value is not None}
    _known_fields(given)
    if given.pop("mode", "txt2img") != "txt2img":
        raise InvalidParameter("mode", "Only txt2img is available in this version.")
    model = models.find(_text("model", given.get("model") or settings.default_model, 200))
    value = {**_DEFAULTS, "width": model.native_size, "height": model.native_size, **model.defaults, **given}
    prompt = _text("prompt", value.get("prompt", ""), settings.max_prompt_chars)
    if not prompt.strip():
        raise InvalidParameter("prompt", "The prompt is empty.", 'Say what you want to see, for example "a red apple".')
    sampler, schedule = samplers.resolve(
        _text("sampler", value["sampler"], 80), _text("schedule", value["schedule"], 80)
    )
    most_steps = min(settings.max_steps, samplers.SAMPLERS[sampler].max_steps)
    count = _whole("count", value.get("count", 1), 1, settings.max_count)
    cfg = _real("cfg", value["cfg"], 1.0, 30.0)
    width, height = (_side(name, value[name], model, settings) for name in ("width", "height"))
    return GenerationRequest(
        prompt=prompt,
        negative=_text("negative", value.get("negative", ""), settings.max_prompt_chars),
        width=width,
        height=height,
        steps=_whole("steps", value["steps"], 1, most_steps),
        sampler=sampler,
        schedule=schedule,
        cfg=cfg,
        seed=_seed(value.get("seed"), count),
        count=count,
        model=model.id,
        bucket=_bucket(value.get("bucket"), cfg),
        client_extras=_extras(value.get("client_extras", {})),
    )


def _known_fields(given: Mapping[str, Any]) -> None:
    known = sorted(GenerationRequest.model_fields)
    for key in given:
        if key not in known:
            close = get_close_matches(str(key), known, n=1)
            hint = f'Did you mean "{close[0]}"?' if close else "Known fields: " + ", ".join(known) + "."
            raise InvalidParameter(str(key)[:80], f'There is no field called "{str(key)[:80]}".', hint)


def _text(field: str, value: Any, limit: int) -> str:
    if not isinstance(value, str):
        raise InvalidParameter(field, f"{field} must be text.")
    if len(value) > limit:
        raise InvalidParameter(
            field, f"{field} has {len(value):,} characters; at most {limit:,} are read.", "Shorten it."
        )
    if "\x00" in value:
        raise InvalidParameter(field, f"{field} contains a NUL character.", "Remove it and try again.")
    if any("\ud800" <= char <= "\udfff" for char in value):
        raise InvalidParameter(
            field, f"{field} contains half of a surrogate pair, which is not a character.", "Remove it."
        )
    return value


def _number(field: str, value: Any) -> float:
    # The comparison is false for NaN too, and unlike math.isfinite it takes whole numbers of any length.
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) < _HUGE:
        raise InvalidParameter(field, f"{field} must be a number, and not a huge one.")
    return value


def _real(field: str, value: Any, least: float, most: float) -> float:
    number = float(_number(field, value))
    if not least <= number <= most:
        raise InvalidParameter(field, f"{field} is {number:g}; it must be from {least:g} to {most:g}.")
    return number


def _whole(field: str, value: Any, least: int, most: int) -> int:
    number = _number(field, value)
    if number != int(number):
        raise InvalidParameter(field, f"{field} is {number:g}; it must be a whole number.")
    if not least <= number <= most:
        raise InvalidParameter(field, f"{field} is {int(number)}; it must be from {least} to {most}.")
    return int(number)


def _side(field: str, value: Any, model: ModelInfo, settings: Settings) -> int:
    least = max(64, model.factor)
    side = _whole(field, value, least, settings.max_side_px)
    if side % model.factor:
        below = max(side - side % model.factor, least)
        detail = f'{field} is {side}; the model "{model.title}" needs a multiple of {model.factor}.'
        raise InvalidParameter(field, detail, f"Use {below} or {below + model.factor}.")
    return side


def _seed(value: Any, count: int) -> int:
    if value is None or value == -1:
        return secrets.randbelow(2**32)
    return _whole("seed", value, 0, MAX_SEED - count + 1)


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
    return dict(value)


def images_left(request: GenerationRequest, done: Sequence[int]) -> tuple[int, ...]:
    """The picture numbers of a request that are still to be made."""
    return tuple(index for index in range(request.count) if index not in done)
