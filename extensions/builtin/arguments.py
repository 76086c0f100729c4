"""Reading a plan's arguments: plain values, each with an error that names the argument."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from typing import Any

from backend.errors import InvalidParameter
from backend.types.plans import MAX_PICTURES, Argument, Fields, PlanContext

KEEP_RANDOM = Argument(
    "keep_random", "Keep -1 for seeds", "flag", "Draw a seed for every picture instead of one for all.", False
)
LEGEND = Argument("legend", "Legend", "flag", "Write the values beside the pictures.", True)
MARGIN = Argument("margin", "Margin (px)", "whole", "Space between the pictures.", 0, minimum=0, maximum=100)


def known(arguments: Mapping[str, Any], form: Iterable[Argument]) -> None:
    """Raises InvalidParameter for an argument that the plan does not have."""
    names = [argument.name for argument in form]
    for name in arguments:
        if name not in names:
            near = get_close_matches(str(name), names, n=1)
            hint = f'Did you mean "{near[0]}"?' if near else "Known: " + ", ".join(names) + "."
            raise InvalidParameter(str(name)[:80], f'There is no argument called "{str(name)[:80]}".', hint)


def flag(arguments: Mapping[str, Any], asked: Argument) -> bool:
    value = arguments.get(asked.name, asked.default)
    if not isinstance(value, bool):
        raise InvalidParameter(asked.name, f"{asked.label} must be true or false.")
    return value


def whole(arguments: Mapping[str, Any], asked: Argument) -> int:
    value = arguments.get(asked.name, asked.default)
    if isinstance(value, bool) or not isinstance(value, int) or not asked.minimum <= value <= asked.maximum:
        raise InvalidParameter(
            asked.name, f"{asked.label} must be a whole number from {asked.minimum} to {asked.maximum}."
        )
    return value


def choice(arguments: Mapping[str, Any], asked: Argument) -> str:
    value = arguments.get(asked.name, asked.default)
    if not isinstance(value, str) or value not in asked.choices:
        raise InvalidParameter(asked.name, f"{asked.label} must be one of: {', '.join(asked.choices)}.")
    return value


def text(fields: Fields, name: str) -> str:
    value = fields.get(name, "")
    if value is None:
        return ""
    if not isinstance(value, str):
        raise InvalidParameter(name, f"{name} must be text.")
    return value


def seeded(fields: Fields, context: PlanContext, *, keep_random: bool = False) -> Fields:
    """The request for one picture, with seeds drawn now, so that all pictures of a plan share them."""
    if fields.get("mode") == "grid":
        raise InvalidParameter("mode", "A sheet cannot be varied.", "Choose a mode that makes pictures.")
    single = {**fields, "count": 1}
    if keep_random:
        return single
    if single.get("seed") in (None, -1):
        single["seed"] = context.draw_seed()
    variation = single.get("variation")
    if isinstance(variation, Mapping) and variation.get("seed") in (None, -1):
        single["variation"] = {**variation, "seed": context.draw_seed()}
    return single


def check_number(number: int, shape: str = "") -> None:
    """Raises InvalidParameter, saying how many pictures it would be."""
    if number > MAX_PICTURES:
        told = f"{shape} = {number:,}" if shape else f"{number:,}"
        raise InvalidParameter("arguments", f"This would be {told} pictures.", f"At most {MAX_PICTURES} are made.")
