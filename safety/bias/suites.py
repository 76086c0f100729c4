"""Suites: prompts as data, from TOML. The bundled ones lie in suites/, a user's own in data/suites.

name = "professions"            kind = "open" (what a prompt leaves open) or "fixed" (what must not vary)
[[sets]]                        template = "a photo of {a}", items = [...]; "{}" is the item, "{a}" with its article
expected = { colour = "red" }   fixed only: what every picture must show, measure -> category
[[identities]]                  as sets, with group = "...": what the label-free assignment compares with
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import ValidationError

from backend.errors import InvalidParameter
from backend.types import Shape
from safety.bias.measures import MEASURES

BUNDLED = Path(__file__).parent / "suites"
_MOST_PROMPTS, _MOST_CHARS, _MOST_BYTES = 2000, 1000, 1 << 20


class SuitePrompt(Shape):
    """`expected` is what every picture of it must show, measure -> category; `group` names an identity."""

    text: str
    expected: Mapping[str, str] = {}
    group: str = ""


class _Head(Shape):
    name: str
    title: str
    about: str
    kind: Literal["open", "fixed"] = "open"
    version: str = "1"
    negative: str = ""
    measures: tuple[str, ...] = ()


class Suite(_Head):
    """`measures` are those that say something about these prompts; personal ones among them run only when asked for."""

    prompts: tuple[SuitePrompt, ...]
    identities: tuple[SuitePrompt, ...] = ()


class _Set(Shape):
    template: str = "{}"
    items: tuple[str, ...]
    expected: Mapping[str, str] = {}
    group: str = ""


class _File(_Head):
    sets: tuple[_Set, ...]
    identities: tuple[_Set, ...] = ()


def parse_suite(text: str, source: str = "suite") -> Suite:
    """Raises InvalidParameter that says what is wrong in which place."""
    try:
        read: Mapping[str, Any] = tomllib.loads(text)
        given = _File.model_validate(read)
    except tomllib.TOMLDecodeError as error:
        raise InvalidParameter("suite", f"{source} is not TOML: {error}.") from error
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(map(str, first["loc"]))
        raise InvalidParameter("suite", f"{source}, {where}: {first['msg']}.", "See docs for the format.") from error
    prompts, identities = _prompts(given.sets, source), _prompts(given.identities, source)
    _check(given, prompts, identities, source)
    return Suite(**given.model_dump(exclude={"sets", "identities"}), prompts=prompts, identities=identities)


def _prompts(sets: tuple[_Set, ...], source: str) -> tuple[SuitePrompt, ...]:
    made: dict[str, SuitePrompt] = {}
    for one in sets:
        if "{}" not in one.template and "{a}" not in one.template:
            raise InvalidParameter("suite", f'{source}: the template "{one.template[:60]}" has no {{}} and no {{a}}.')
        for item in one.items:
            text = one.template.replace("{}", item).replace("{a}", with_article(item)).strip()
            if text in made:
                raise InvalidParameter("suite", f'{source}: the prompt "{text[:60]}" stands there twice.')
            made[text] = SuitePrompt(text=text, expected=one.expected, group=one.group)
    return tuple(made.values())


def _check(given: _File, prompts: tuple[SuitePrompt, ...], identities: tuple[SuitePrompt, ...], source: str) -> None:
    def wrong(what: str) -> InvalidParameter:
        return InvalidParameter("suite", f"{source}: {what}")

    if not prompts or len(prompts) + len(identities) > _MOST_PROMPTS:
        raise wrong(f"it has {len(prompts)} prompts; 1 to {_MOST_PROMPTS} can be audited.")
    if any(not one.text or len(one.text) > _MOST_CHARS for one in (*prompts, *identities)):
        raise wrong(f"a prompt is empty or longer than {_MOST_CHARS} characters.")
    for measure in (*given.measures, *(name for one in prompts for name in one.expected)):
        if measure not in MEASURES:
            raise wrong(f'there is no measure "{measure}"; known are {", ".join(MEASURES)}.')
    for one in prompts:
        if one.expected and given.kind == "open":
            raise wrong(f'"{one.text[:60]}" expects something, but the suite is open.')
        for measure, category in one.expected.items():
            if category not in MEASURES[measure].categories:
                raise wrong(f'"{one.text[:60]}" expects {measure} "{category}", which there is not.')
    if identities and (any(not one.group for one in identities) or len({one.group for one in identities}) < 2):
        raise wrong("identities need a group each, and at least two groups.")


def with_article(noun: str) -> str:
    """The noun with "a" or "an", by its first letter."""
    return f"{'an' if noun[:1].lower() in 'aeiou' else 'a'} {noun}"


def suites(folder: Path | None = None) -> dict[str, Path]:
    """Name of file -> file: the bundled ones, and those of a folder, which win."""
    own = sorted(folder.glob("*.toml")) if folder and folder.is_dir() else []
    return {path.stem: path for path in [*sorted(BUNDLED.glob("*.toml")), *own]}


def load_suite(name: str, folder: Path | None = None) -> Suite:
    """By name. Raises InvalidParameter."""
    known = suites(folder)
    if name not in known:
        raise InvalidParameter("suite", f'There is no suite "{name[:60]}".', f"Known: {', '.join(known)}.")
    try:
        if known[name].stat().st_size > _MOST_BYTES:
            raise InvalidParameter("suite", f"{known[name].name} is larger than {_MOST_BYTES >> 20} MiB.")
        text = known[name].read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidParameter("suite", f"{known[name].name} cannot be read as text.") from error
    return parse_suite(text, known[name].name)
