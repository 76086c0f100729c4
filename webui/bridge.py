"""Between the form and the front desk: component values to request fields, stored requests back to component values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from backend import samplers
from backend.errors import NotFound, SignetError
from backend.types import GenerationRequest, HistoryQuery, ModelInfo, Principal
from webui.desk import Desk
from webui.messages import as_mapping, problem_of

FIELDS = ("model", "prompt", "negative", "sampler", "schedule", "steps", "cfg", "width", "height", "seed", "count")
"""The components of the form, in the order in which Gradio hands over their values."""

USER = Principal(source="ui")
RANDOM = -1
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
class Sending:
    """What "send to txt2img" asks for: `record:ID`, `job:ID` or `job:ID:random` (keep drawing seeds)."""

    kind: str
    ident: str
    random: bool

    @classmethod
    def parse(cls, text: str) -> Sending:
        kind, _, rest = text.partition(":")
        ident, _, flag = rest.partition(":")
        if kind not in ("record", "job") or not ident:
            raise NotFound("picture", text)
        return cls(kind, ident, flag == "random")


def form_sent(desk: Desk, text: str) -> dict[str, Any]:
    """Component values for what was sent. A picture brings its own seed and a count of one."""
    sending = Sending.parse(text)
    if sending.kind == "job":
        return form_of(desk.job(sending.ident).request, seed=RANDOM if sending.random else None)
    passport = desk.record(sending.ident).passport
    return {**form_of(passport.request, seed=passport.seed), "count": 1}


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


def submitted(desk: Desk, values: Sequence[Any]) -> Mapping[str, Any]:
    """Hand the form to the front desk. The answer names the job, or says in plain words what is wrong."""
    try:
        fields = fields_of(values)
        job = desk.submit(fields, USER)
    except Exception as error:  # noqa: BLE001 - an edge: problem_of logs what is unexpected
        return {"problem": as_mapping(problem_of(error))}
    size = {"width": job.request.width, "height": job.request.height}
    return {"job": job.id, "random": fields.get("seed", RANDOM) == RANDOM, **size}
