"""The X/Y/Z plot: one request with up to three of its values varied, on sheets with a legend (as in A1111 1.10.1).

X runs across a sheet, Y down; every value of Z has a sheet of its own.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from math import prod
from typing import Any

from backend.errors import InvalidParameter
from backend.types.plans import Argument, Axis, Draft, Fields, Plan, PlanContext, PlanKind, Sheet
from backend.version import VERSION
from extensions.builtin import arguments as read
from extensions.builtin.axes import AXES
from extensions.builtin.values import Value, parse
from extensions.context import Context, Extension
from extensions.hookspecs import hookimpl

EXTENSION = Extension(
    "xyz-plot", "X/Y/Z plot", VERSION, "Varies up to three values of a request, on labelled sheets.",
    frozenset({"plans", "models:read"}),
)  # fmt: skip
_LETTERS = ("x", "y", "z")
_OFF = ("", "nothing", "none")
_TWICE = ("search", "order")
"""Kinds of axes that may stand on two sides of a plot, with other words."""
_AXES = (
    Argument("x", "X", "axis", "Across the sheet.", {}),
    Argument("y", "Y", "axis", "Down the sheet.", {}),
    Argument("z", "Z", "axis", "A sheet for every value.", {}),
)
_FORM = (*_AXES, read.LEGEND, read.KEEP_RANDOM, read.MARGIN)


@dataclass(frozen=True, slots=True)
class _Side:
    """One of the three sides; without an axis it has one place, where nothing is changed."""

    letter: str
    axis: Axis | None = None
    values: tuple[Value, ...] = (Value(None, ""),)

    @property
    def labels(self) -> tuple[str, ...]:
        return tuple(value.label for value in self.values) if self.axis else ()


def make(fields: Fields, arguments: Mapping[str, Any], context: PlanContext) -> Plan:
    """Raises InvalidParameter, naming the axis and the value."""
    read.known(arguments, _FORM)
    sides = tuple(_side(asked, arguments.get(asked.name), context) for asked in _AXES)
    used = [side for side in sides if side.axis]
    _check_sides(used)
    shape = tuple(len(side.values) for side in used)
    read.check_number(prod(shape), " × ".join(map(str, shape)))
    base = read.seeded(fields, context, keep_random=read.flag(arguments, read.KEEP_RANDOM))
    order = {name: place for place, name in enumerate(context.axes)}
    points = _points(sides)
    drafts = tuple(_draft(base, sides, point, order) for point in points)
    numbers = {point: number for number, point in enumerate(points)}
    legend, margin = read.flag(arguments, read.LEGEND), read.whole(arguments, read.MARGIN)
    return Plan(drafts, _sheets(sides, numbers, legend=legend, margin=margin), shape)


def _side(asked: Argument, value: Any, context: PlanContext) -> _Side:
    value = {} if value is None else value
    if not isinstance(value, Mapping) or not set(value) <= {"axis", "values"}:
        raise InvalidParameter(asked.name, f'{asked.label} must be {{"axis": name, "values": text}}.')
    name, text = value.get("axis") or "", value.get("values") or ""
    if not isinstance(name, str) or not isinstance(text, str):
        raise InvalidParameter(asked.name, f"The axis and the values of {asked.label} must be text.")
    if name.strip().casefold() in _OFF:
        return _Side(asked.name)
    axis = _axis(asked, name.strip(), context.axes)
    return _Side(asked.name, axis, parse(axis, text, choices(axis, context)))


def _axis(asked: Argument, name: str, axes: Mapping[str, Axis]) -> Axis:
    folded = {axis.name.casefold(): axis for axis in axes.values()}
    found = folded.get(name.casefold())
    if found is None:
        near = difflib.get_close_matches(name.casefold(), folded, n=3)
        shown = ", ".join(f'"{folded[one].name}"' for one in near)
        hint = f"Did you mean {shown}?" if near else "Known: " + ", ".join(axes) + "."
        raise InvalidParameter(asked.name, f'{asked.label}: there is no axis called "{name[:60]}".', hint)
    return found


def choices(axis: Axis, context: PlanContext) -> tuple[str, ...]:
    """Every name a choice can be, each once."""
    found = (*axis.extra, *(name for kind in axis.names for name in context.names(kind)))
    return tuple(dict.fromkeys(found))


def _check_sides(used: Sequence[_Side]) -> None:
    if not used:
        raise InvalidParameter("x", "No axis is chosen.", "Choose what to vary, for example Steps.")
    seen: set[str] = set()
    for side in used:
        if side.axis and side.axis.name in seen and side.axis.kind not in _TWICE:
            raise InvalidParameter(
                side.letter, f"{side.axis.name} is chosen twice.", "Let each axis vary another value."
            )
        if side.axis:
            seen.add(side.axis.name)


def _points(sides: Sequence[_Side]) -> list[tuple[int, ...]]:
    """Places (x, y, z) in the order of making: what is costly to change, such as a checkpoint, changes last."""
    nested = sorted((2, 1, 0), key=lambda place: -(axis.cost if (axis := sides[place].axis) else 0))
    everywhere = product(*(range(len(side.values)) for side in sides))
    return sorted(everywhere, key=lambda point: [point[place] for place in nested])


def _draft(base: Fields, sides: Sequence[_Side], point: tuple[int, ...], order: Mapping[str, int]) -> Draft:
    chosen = [(side, side.axis, side.values[at]) for side, at in zip(sides, point, strict=True) if side.axis]
    fields = base
    for side, axis, value in sorted(chosen, key=lambda one: order.get(one[1].name, 0)):
        try:
            fields = axis.apply(fields, value.value)
        except InvalidParameter as error:
            problem = error.problem
            detail = f"{axis.name} ({side.letter.upper()}), {value.label[:80]}: {problem.detail}"
            raise InvalidParameter(side.letter, detail, problem.hint) from error
    return Draft(fields, ", ".join(value.label[:80] for _, _, value in chosen))


def _sheets(
    sides: Sequence[_Side], numbers: Mapping[tuple[int, ...], int], *, legend: bool, margin: int
) -> tuple[Sheet, ...]:
    across, down, deep = sides
    return tuple(
        Sheet(
            tuple(numbers[x, y, z] for y in range(len(down.values)) for x in range(len(across.values))),
            len(across.values),
            across.labels if legend else (),
            down.labels if legend else (),
            title.label if legend else "",
            margin,
        )
        for z, title in enumerate(deep.values)
    )


@hookimpl
def signet_axes(context: Context) -> tuple[Axis, ...]:
    return AXES


@hookimpl
def signet_plans(context: Context) -> tuple[PlanKind, ...]:
    about = "X runs across a sheet, Y down, and every value of Z has a sheet of its own."
    return (PlanKind("xyz", "X/Y/Z plot", about, _FORM, make),)
