"""The values of a plot's axis, as people write them (the grammar of A1111 1.10.1's X/Y/Z plot).

Values stand between commas; one that holds a comma stands in double quotes. Numbers may be ranges: `1-5`, `1-9 (+2)`,
`9-1 (-2)`, `1-10 [4]` (so many, evenly spread; whole numbers cut off). Pure functions; every error names the axis.
"""

from __future__ import annotations

import csv
import difflib
import itertools
import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from backend.errors import InvalidParameter
from backend.types.plans import MAX_PICTURES, Axis, AxisKind

MAX_CHARS = 20_000
_NUMBER = r"[+-]?(?:\d+\.?\d*|\.\d+)"
_PLAIN = re.compile(_NUMBER)
_RANGE = re.compile(rf"({_NUMBER})\s*-\s*({_NUMBER})\s*(?:\(\s*({_NUMBER})\s*\)|\[\s*(\d+)\s*\])?")
_LONGEST_NUMBER = 24
_LARGEST = Decimal(2**53)
_DECIMALS = Decimal("0.0001")
_SIZE = re.compile(r"(\d{1,5})\s*[x×X*]\s*(\d{1,5})")
_WORDS: Mapping[str, bool] = {
    "true": True, "yes": True, "on": True, "1": True, "false": False, "no": False, "off": False, "0": False,
}  # fmt: skip
_MAX_ORDERED = 6
"""Parts that may be put into every order: 720 orders are more than a plot may have anyway."""


@dataclass(frozen=True, slots=True)
class Value:
    """One value of an axis and how the legend writes it."""

    value: Any
    label: str


def parse(axis: Axis, text: str, choices: Sequence[str] = ()) -> tuple[Value, ...]:
    """The values of an axis. Raises InvalidParameter, naming the axis and the value that cannot be used."""
    if len(text) > MAX_CHARS:
        raise wrong(axis, f"{len(text):,} characters are too many.", f"At most {MAX_CHARS:,} are read.")
    if "\x00" in text or any("\ud800" <= char <= "\udfff" for char in text):
        raise wrong(axis, "The values contain something that is no character.", "Type them again.")
    parts = split(axis, text)
    if not parts:
        raise wrong(axis, "There are no values.", f"For example: {axis.example}" if axis.example else None)
    values = tuple(_READERS[axis.kind](axis, parts, choices))
    if len(values) > MAX_PICTURES:
        raise _too_many(axis, len(values))
    return values


def wrong(axis: Axis, detail: str, hint: str | None = None) -> InvalidParameter:
    return InvalidParameter(axis.name, f"{axis.name}: {detail}", hint)


def _too_many(axis: Axis, number: int) -> InvalidParameter:
    return wrong(axis, f"These are {number:,} values.", f"A plot has at most {MAX_PICTURES} pictures.")


def split(axis: Axis, text: str) -> tuple[str, ...]:
    """What stands between commas and line ends, without blanks around it; empty parts are left out."""
    try:
        rows = list(csv.reader(text.splitlines(), skipinitialspace=True))
    except csv.Error as error:
        raise wrong(axis, "The values cannot be told apart.", "Check the quotation marks.") from error
    return tuple(part.strip() for row in rows for part in row if part.strip())


def joined(values: Sequence[str]) -> str:
    """The inverse of `split`, for values without blanks around them: quoted where it must be."""
    return ", ".join(f'"{value.replace(chr(34), chr(34) * 2)}"' if _quote(value) else value for value in values)


def _quote(value: str) -> bool:
    return any(char in value for char in ',"\r\n')


# ---- numbers


def _wholes(axis: Axis, parts: Sequence[str], _: Sequence[str]) -> Iterator[Value]:
    for number in _numbers(axis, parts, whole=True):
        yield Value(int(number), f"{axis.name}: {int(number)}")


def _reals(axis: Axis, parts: Sequence[str], _: Sequence[str]) -> Iterator[Value]:
    for number in _numbers(axis, parts, whole=False):
        yield Value(float(number), f"{axis.name}: {float(number):g}")


def _numbers(axis: Axis, parts: Sequence[str], *, whole: bool) -> Iterator[Decimal]:
    for part in parts:
        match = _RANGE.fullmatch(part)
        if match:
            start, end = (_number(axis, part, word, whole=whole) for word in match.groups()[:2])
            step, number = match[3], match[4]
            if number is not None:
                yield from _spread(axis, part, start, end, number, whole=whole)
            else:
                yield from _stepped(axis, part, start, end, step, whole=whole)
        else:
            yield _number(axis, part, part, whole=whole)


def _number(axis: Axis, part: str, word: str, *, whole: bool) -> Decimal:
    if len(word) > _LONGEST_NUMBER or not _PLAIN.fullmatch(word) or not word.isascii():
        hint = f"For example: {axis.example}" if axis.example else "Write a number, or a range such as 1-5."
        raise wrong(axis, f'"{part[:60]}" is not a number.', hint)
    number = Decimal(word)
    if whole and number != int(number):
        raise wrong(axis, f'"{part[:60]}" is not a whole number.', "Leave out the decimals.")
    if abs(number) > _LARGEST:
        raise wrong(axis, f'"{part[:60]}" is too large.')
    return number


def _stepped(axis: Axis, part: str, start: Decimal, end: Decimal, word: str | None, *, whole: bool) -> list[Decimal]:
    step = _number(axis, part, word, whole=whole) if word else Decimal(1 if end >= start else -1)
    if step == 0 or (end - start) * step < 0:
        raise wrong(axis, f'"{part[:60]}" leads nowhere.', "Let the step lead from the first number to the second.")
    number = math.floor((end - start) / step) + 1
    if number > MAX_PICTURES:
        raise _too_many(axis, number)
    return [start + step * place for place in range(number)]


def _spread(axis: Axis, part: str, start: Decimal, end: Decimal, word: str, *, whole: bool) -> list[Decimal]:
    number = int(word[:_LONGEST_NUMBER])
    if number > MAX_PICTURES:
        raise _too_many(axis, number)
    if number == 0:
        raise wrong(axis, f'"{part[:60]}" asks for no values.', "Let the number in brackets be 1 or more.")
    places = [start + (end - start) * place / max(number - 1, 1) for place in range(number)]
    return [Decimal(int(value)) if whole else value.quantize(_DECIMALS) for value in places]


# ---- words


def _flags(axis: Axis, parts: Sequence[str], _: Sequence[str]) -> Iterator[Value]:
    for part in parts:
        if part.casefold() not in _WORDS:
            raise wrong(axis, f'"{part[:60]}" is neither true nor false.', "Write true, false.")
        yield Value(_WORDS[part.casefold()], f"{axis.name}: {'on' if _WORDS[part.casefold()] else 'off'}")


def _sizes(axis: Axis, parts: Sequence[str], _: Sequence[str]) -> Iterator[Value]:
    for part in parts:
        match = _SIZE.fullmatch(part)
        if match is None:
            raise wrong(axis, f'"{part[:60]}" is not a size.', "Write width x height in pixels, for example 512x768.")
        width, height = int(match[1]), int(match[2])
        yield Value((width, height), f"{width} × {height}")


def _texts(axis: Axis, parts: Sequence[str], _: Sequence[str]) -> Iterator[Value]:
    for part in parts:
        yield Value(part, part)


def _choices(axis: Axis, parts: Sequence[str], choices: Sequence[str]) -> Iterator[Value]:
    known = {name.casefold(): name for name in choices}
    for part in parts:
        name = _chosen(axis, part, known)
        yield Value(name, _label(axis, name))


def _choice_lists(axis: Axis, parts: Sequence[str], choices: Sequence[str]) -> Iterator[Value]:
    """Each value is one name or several, between commas within the quotation marks. Names may hold commas."""
    known = {name.casefold(): name for name in choices}
    for part in parts:
        if part.casefold() in known:
            names: tuple[str, ...] = (known[part.casefold()],)
        else:
            names = tuple(_chosen(axis, word.strip(), known) for word in part.split(",") if word.strip())
        yield Value(names, _label(axis, ", ".join(names)))


def _label(axis: Axis, name: str) -> str:
    return name if axis.bare else f"{axis.name}: {name}"


def _chosen(axis: Axis, word: str, known: Mapping[str, str]) -> str:
    found = known.get(word.casefold())
    if found is not None:
        return found
    near = difflib.get_close_matches(word.casefold(), known, n=3, cutoff=0.4)
    shown = [known[name] for name in near] or list(known.values())[:12]
    names = ", ".join(f'"{name}"' for name in shown)
    hint = "There is nothing to choose from." if not known else f"Did you mean {names}?" if near else f"Known: {names}."
    raise wrong(axis, f'There is no "{word[:60]}".', hint)


def _searches(axis: Axis, parts: Sequence[str], _: Sequence[str]) -> Iterator[Value]:
    """The first value is searched for; each, itself included, takes its place."""
    for part in parts:
        yield Value((parts[0], part), part)


def _orders(axis: Axis, parts: Sequence[str], _: Sequence[str]) -> Iterator[Value]:
    if len(parts) > _MAX_ORDERED:
        raise _too_many(axis, math.factorial(min(len(parts), 12)))
    for order in itertools.permutations(parts):
        yield Value(order, ", ".join(order))


_READERS: Mapping[AxisKind, Callable[[Axis, Sequence[str], Sequence[str]], Iterator[Value]]] = {
    "whole": _wholes,
    "number": _reals,
    "flag": _flags,
    "size": _sizes,
    "text": _texts,
    "choice": _choices,
    "choices": _choice_lists,
    "search": _searches,
    "order": _orders,
}
