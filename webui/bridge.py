"""Between the form and the front desk: component values to request fields, stored requests back to component values."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from backend import samplers
from backend.errors import InvalidParameter, NotFound, SignetError
from backend.types import GenerationRequest, HistoryQuery, ModelInfo, Principal
from webui.desk import Desk
from webui.messages import as_mapping, clean, problem_of

FIELDS = ("model", "prompt", "negative", "sampler", "schedule", "steps", "cfg", "width", "height", "seed", "count")
"""The components of the form, in the order in which Gradio hands over their values."""

USER = Principal(source="ui")
RANDOM = -1
_NUMBERS = ("steps", "cfg", "width", "height", "seed", "count")
_WHOLE = frozenset({"steps", "width", "height", "seed", "count"})


def fields_of(values: Sequence[Any]) -> dict[str, Any]:
    """Request fields from component values. An emptied number field is left out, so that the default applies."""
    fields = {}
    for name, value in zip(FIELDS, values, strict=True):
        if value is None:
            continue
        whole = name in _WHOLE and isinstance(value, float) and value.is_integer()
        fields[name] = int(value) if whole else value
    return fields


def form_of(request: GenerationRequest, *, seed: int | None = None) -> dict[str, Any]:
    """Component values that repeat a request; `seed` replaces the request's own."""
    form = {name: getattr(request, name) for name in FIELDS}
    return form if seed is None else {**form, "seed": seed}


@dataclass(frozen=True, slots=True)
class Sent:
    """What fills the form. `form` is for the components, `request` for the script's own controls.

    A `partial` one, such as a pasted text, leaves alone what it does not name.
    """

    form: Mapping[str, Any]
    request: Mapping[str, Any]
    partial: bool = False


def form_sent(desk: Desk, text: str) -> Sent:
    """What was sent: `record:ID`, `job:ID`, `job:ID:random` (keep drawing seeds) or `fields:JSON`.

    A picture brings its own seed and a count of one. Raises NotFound or InvalidParameter.
    """
    kind, _, rest = text.partition(":")
    if kind == "fields":
        fields = _object("sent", rest)
        return Sent(_fitting(desk, fields), fields, partial=True)
    ident, _, flag = rest.partition(":")
    if kind == "job" and ident:
        request = desk.job(ident).request
        return _sent(request, RANDOM if flag == "random" else None, request.count)
    if kind == "record" and ident:
        passport = desk.record(ident).passport
        return _sent(passport.request, passport.seed, 1)
    raise NotFound("picture", clean(text, 80))


def _sent(request: GenerationRequest, seed: int | None, count: int) -> Sent:
    form = {**form_of(request, seed=seed), "count": count}
    return Sent(form, {**request.model_dump(mode="json", exclude={"words"}), **form})


def _fitting(desk: Desk, fields: Mapping[str, Any]) -> dict[str, Any]:
    """Of a stranger's fields those that the components can show; names in our spelling."""
    texts = {name: fields[name] for name in ("prompt", "negative") if isinstance(fields.get(name), str)}
    numbers = {name: fields[name] for name in _NUMBERS if type(fields.get(name)) in (int, float)}
    names: dict[str, str] = {}
    with suppress(SignetError):
        sampler, schedule = fields.get("sampler"), fields.get("schedule", samplers.AUTOMATIC)
        if isinstance(sampler, str) and isinstance(schedule, str):
            names = dict(zip(("sampler", "schedule"), samplers.resolve(sampler, schedule), strict=True))
    with suppress(SignetError):
        if isinstance(fields.get("model"), str):
            names["model"] = desk.library.catalog.find(fields["model"]).id
    return {**texts, **numbers, **names}


def _object(field: str, text: str) -> dict[str, Any]:
    try:
        found = json.loads(text)
    except ValueError:
        found = None
    if not isinstance(found, dict):
        raise InvalidParameter(field, f"{field} is not a JSON object.")
    return found


def newest_seed(desk: Desk) -> int:
    """The seed of the newest picture, or -1 when there is none."""
    newest = desk.records(HistoryQuery(limit=1)).records
    return newest[0].passport.seed if newest else RANDOM


def first_model(desk: Desk) -> ModelInfo | None:
    """The model the form starts with: the one of the settings, or the first there is."""
    models = desk.models()
    named = [model for model in models if model.id == desk.settings.default_model]
    return next(iter(named or models), None)


def defaults_of(model: ModelInfo) -> dict[str, Any]:
    """The values a model starts with."""
    return {"width": model.native_size, "height": model.native_size, **model.defaults}


def schedules_of(sampler: str) -> tuple[str, ...]:
    try:
        return tuple(samplers.SAMPLERS[samplers.resolve(sampler)[0]].schedules)
    except SignetError:
        return (samplers.AUTOMATIC,)


def submitted(desk: Desk, values: Sequence[Any], extra: str = "") -> Mapping[str, Any]:
    """Hand the form to the front desk, with a JSON object of further fields, which win; null takes a field away.

    The answer names the job, or says in plain words what is wrong.
    """
    try:
        fields = {**fields_of(values), **(_object("extra", extra) if extra else {})}
        job = desk.submit({name: value for name, value in fields.items() if value is not None}, USER)
    except Exception as error:  # noqa: BLE001 - an edge: problem_of logs what is unexpected
        return {"problem": as_mapping(problem_of(error))}
    size = {"width": job.request.width, "height": job.request.height}
    offers = list(job.verdict.offers)
    return {"job": job.id, "offers": offers, "random": fields.get("seed", RANDOM) == RANDOM, **size}
