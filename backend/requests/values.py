"""Single values of a request: text, numbers and nested parts, each with an error that names the field."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from typing import Any, TypeVar

from pydantic import ValidationError

from backend.errors import InvalidParameter
from backend.types import Shape

S = TypeVar("S", bound=Shape)
_HUGE = 2**63
MOST_TEXT = 20_000
"""Characters of any text inside a part."""
MOST_ITEMS = 400
"""Values in any list inside a part."""


def known_fields(given: Mapping[str, Any], known: Iterable[str], where: str = "") -> None:
    """Raises InvalidParameter for a name that is not a field, with the nearest one."""
    names = sorted(known)
    for key in given:
        if key not in names:
            shown = f"{where}{str(key)[:80]}"
            close = get_close_matches(str(key), names, n=1)
            hint = f'Did you mean "{close[0]}"?' if close else "Known fields: " + ", ".join(names) + "."
            raise InvalidParameter(shown, f'There is no field called "{shown}".', hint)


def text(field: str, value: Any, limit: int) -> str:
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


def real(field: str, value: Any, least: float, most: float) -> float:
    number = float(_number(field, value))
    if not least <= number <= most:
        raise InvalidParameter(field, f"{field} is {number:g}; it must be from {least:g} to {most:g}.")
    return number


def whole(field: str, value: Any, least: int, most: int) -> int:
    number = _number(field, value)
    if number != int(number):
        raise InvalidParameter(field, f"{field} is {number:g}; it must be a whole number.")
    if not least <= number <= most:
        raise InvalidParameter(field, f"{field} is {int(number)}; it must be from {least} to {most}.")
    return int(number)


def flag(field: str, value: Any) -> bool:
    if not isinstance(value, bool):
        raise InvalidParameter(field, f"{field} must be true or false.")
    return value


def one_of(field: str, value: Any, choices: Iterable[str]) -> str:
    names = {name.casefold(): name for name in choices}
    if not isinstance(value, str) or value.casefold() not in names:
        raise InvalidParameter(field, f"{field} must be one of: {', '.join(names.values())}.")
    return names[value.casefold()]


def part(field: str, value: Any, shape: type[S]) -> S:
    """A nested part of the request, such as `inpaint`; the error names the value inside it."""
    if isinstance(value, shape):
        return value
    if not isinstance(value, Mapping):
        raise InvalidParameter(field, f"{field} must be an object.")
    known_fields(value, shape.model_fields, f"{field}.")
    given = {name: _plain(f"{field}.{name}", item) for name, item in value.items() if item is not None}
    for name, item in given.items():
        if isinstance(item, bool) and shape.model_fields[name].annotation is not bool:
            raise InvalidParameter(f"{field}.{name}", f"{field}.{name} cannot be true or false.")
    try:
        made = shape.model_validate(given)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        name = ".".join([field, *map(str, first["loc"])])
        raise InvalidParameter(name, f"{name}: {first['msg']}.") from error
    for name in given:  # "nan" and "1e999" as texts become numbers only now
        _plain(f"{field}.{name}", getattr(made, name))
    return made


def _plain(field: str, value: Any) -> Any:
    """The same value, if it can be kept: no NaN, which would not survive in a database, and nothing without an end."""
    if isinstance(value, str):
        return text(field, value, MOST_TEXT)
    if isinstance(value, int | float) and not isinstance(value, bool):
        return _number(field, value)
    if isinstance(value, list | tuple):
        if len(value) > MOST_ITEMS:
            raise InvalidParameter(field, f"{field} has {len(value):,} values; at most {MOST_ITEMS} are read.")
        return tuple(_plain(field, item) for item in value)
    return value
