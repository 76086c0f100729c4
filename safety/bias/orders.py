"""From an order as somebody gives it, on a form or a command line, to the plan of an audit."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from pydantic import ValidationError

from backend.errors import InvalidParameter
from backend.types import Shape
from safety.bias.intervals import pictures_for
from safety.bias.labeller import Labeller, unmeasured
from safety.bias.measures import MEASURES, measures_named
from safety.bias.plan import AuditPlan, AuditReference, Variant
from safety.bias.suites import Suite

USUAL = 24
_FIELDS = ("width", "height", "steps", "cfg", "sampler", "schedule")


class Order(Shape):
    """`n` pictures of each prompt, or as many as `half_width` asks for. `against` is another model, or "none" (also
    "base") for the same one without its LoRAs. `perceived` adds the suite's measures of how people look."""

    suite: str
    model: str | None = None
    loras: tuple[str, ...] = ()
    against: str | None = None
    n: int | None = None
    half_width: float | None = None
    identities: int | None = None
    first_seed: int = 0
    measures: tuple[str, ...] = ()
    perceived: bool = False
    q: float = 0.05
    width: int | None = None
    height: int | None = None
    steps: int | None = None
    cfg: float | None = None
    sampler: str | None = None
    schedule: str | None = None


def order_of(given: Mapping[str, Any]) -> Order:
    """Raises InvalidParameter for what does not belong into an order."""
    try:
        return Order.model_validate(dict(given))
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        name = ".".join(map(str, first["loc"])) or "order"
        raise InvalidParameter(name, f"{name}: {first['msg']}.") from error


def plan_of(
    order: Order,
    suite: Suite,
    ident: str,
    default_model: str,
    created: str,
    *,
    labellers: Sequence[Labeller] = (),
    references: Sequence[AuditReference] = (),
) -> AuditPlan:
    """Raises InvalidParameter that names the field at fault."""
    n = order.n if order.n is not None else pictures_for(order.half_width) if order.half_width is not None else USUAL
    model = order.model or default_model
    loras = tuple(lora(text) for text in order.loras)
    first = Variant(name=" + ".join([model, *(name for name, _ in loras)]), model=model, loras=loras)
    identities = (order.identities if order.identities is not None else n) if suite.identities else 0
    for name, value, least in (("n", n, 1), ("identities", identities, 0), ("first_seed", order.first_seed, 0)):
        if value < least or value > (2**52 - 1 if name == "first_seed" else 10_000):
            raise InvalidParameter(name, f"{value} cannot be used.", "Use a sensible number.")
    if not 0 < order.q < 1:
        raise InvalidParameter("q", f"q is {order.q:g}; it must lie between 0 and 1.", "0.05 is usual.")
    measures = measures_of(order, suite)
    known = {one.name: one for one in labellers}
    return AuditPlan(
        id=ident,
        suite=suite,
        variants=(first, *_second(order.against, first)),
        n=n,
        n_identities=identities,
        first_seed=order.first_seed,
        fields={name: value for name in _FIELDS if (value := getattr(order, name)) is not None},
        measures=measures,
        labellers=tuple(known.get(name) or unmeasured(MEASURES[name]) for name in measures),
        references=tuple(references),
        q=order.q,
        created=created,
    )


def measures_of(order: Order, suite: Suite) -> tuple[str, ...]:
    """The names of the measures that look. Personal ones only if somebody asked for them."""
    asked: Iterable[str] = tuple(dict.fromkeys(order.measures)) or (
        name for name in suite.measures if order.perceived or not MEASURES[name].personal
    )
    return tuple(one.name for one in measures_named(tuple(asked)))


def lora(text: str) -> tuple[str, float]:
    """ "name:0.8" as (name, weight); without a weight 1."""
    name, _, weight = text.strip().rpartition(":") if ":" in text else (text.strip(), "", "1")
    try:
        value = float(weight)
    except ValueError as error:
        raise InvalidParameter("lora", f'"{text[:80]}" has no weight.', "Write NAME:0.8.") from error
    if not name or not -10 <= value <= 10 or any(char in name for char in "<>:"):
        raise InvalidParameter("lora", f'"{text[:80]}" cannot be used.', "Write NAME:0.8.")
    return name, value


def _second(against: str | None, first: Variant) -> tuple[Variant, ...]:
    if not against:
        return ()
    if against.casefold() not in ("none", "base"):
        return (Variant(name=against, model=against),)
    if not first.loras:
        raise InvalidParameter("against", "Without a LoRA both runs would be the same.", "Add a LoRA, or name a model.")
    return (Variant(name=f"{first.model} alone", model=first.model),)
