"""Dynamic prompts: `{a|b}`, `{2$$a|b|c}`, `__colour__`, `${x=...}` and the rest of what `dynamicprompts` 0.31 reads.

The library parses and draws; this module is the fence around it. Files are read here, inside their folder only. A text
that does not parse, takes too long or grows too large comes back as it was typed, and so does an unknown wildcard.
"""

from __future__ import annotations

import math
import re
import sys
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice
from pathlib import Path
from random import Random
from types import FrameType
from typing import Any, TypeVar

from dynamicprompts.commands import Command
from dynamicprompts.enums import SamplingMethod
from dynamicprompts.parser.parse import parse
from dynamicprompts.samplers import Sampler
from dynamicprompts.sampling_context import SamplingContext
from dynamicprompts.types import ResultGen
from dynamicprompts.wildcards import WildcardManager
from dynamicprompts.wildcards.collection.list import ListWildcardCollection
from dynamicprompts.wildcards.item import WildcardItem

from backend.prompts.wildcard_files import Entry, entries

SECONDS = 3.0
"""Longest time that drawing one text for all pictures may take."""
MOST_CHARS = 20_000
"""Longest text that is read or made."""
MOST_MARKS = 300
MOST_DEPTH = 12
"""Constructs in a text, and how deep they may lie in one another: the parser is recursive."""

_SYNTAX = re.compile(r"[$%]?\{|__")
_CYCLIC = re.compile(r"(?:\{|__)\s*@")
_NAMED = re.compile(r"__[~!@]?((?:(?!__)[^{}$#()\n]){1,200})(?:\([^()\n]{1,500}\))?__")
_COMPOSED = re.compile(r"__[~!@]?[\w/*.-]{0,200}\$?\{(?:(?!__)[^\n]){0,500}\}[\w/*.-]{0,200}__")

# Characters with a meaning for the library, but not for whoever wrote them there: they travel as noncharacters.
_STAND_INS = {"$": "\ufdd0", "%": "\ufdd1", "#": "\ufdd2", "/": "\ufdd3", "_": "\ufdd4"}
_BACK = str.maketrans({stand_in: char for char, stand_in in _STAND_INS.items()})
_HARMLESS = re.compile(r"(?<!\$)\$(?![{$])|%(?!\{)|#|/(?=[/*])")

_T = TypeVar("_T")


class _TooMuch(Exception):
    """Out of time or out of room."""


@dataclass(frozen=True)
class _Context(SamplingContext):
    """The library's context with a cap on the length of every text in the making."""

    def get_sampler_and_context(self, command: Command) -> tuple[Sampler, SamplingContext]:
        method = command.sampling_method or self.default_sampling_method
        if self.default_sampling_method is not SamplingMethod.COMBINATORIAL and method is SamplingMethod.COMBINATORIAL:
            method = self.default_sampling_method  # the library does the same, with a warning on stderr
        return self.samplers[method], replace(self, default_sampling_method=method)

    def generator_from_command(self, command: Command) -> ResultGen:
        for result in super().generator_from_command(command):
            if len(result.text) > MOST_CHARS:
                raise _TooMuch
            yield result


class Wildcards:
    """Draws from the wildcard files of one folder (none: only what the text itself offers). The folder is read once.

    Whatever a call cannot do within `seconds` comes back as it was typed.
    """

    def __init__(self, folder: Path | None = None, *, seconds: float = SECONDS) -> None:
        files = entries(folder) if folder else {}
        self._manager = WildcardManager(root_map={"": [{name: _collection(files[name]) for name in files}]})
        self._seconds = seconds

    def draw(self, text: str, seed: int) -> str:
        """One text. The same text, files and seed give the same."""
        return self.pictures((text,), seed, 1)[0][0]

    def pictures(self, texts: Sequence[str], seed: int, count: int) -> tuple[tuple[str, ...], ...]:
        """The texts of `count` pictures. Picture i draws each with `seed + i`; cyclic choices (`@`) take their turn."""
        made = [list(texts) for _ in range(count)]
        for place, text in enumerate(texts):
            _limited(partial(self._draw, made, place, text, seed), None, self._seconds)
        return tuple(tuple(pair) for pair in made)

    def all(self, text: str, limit: int) -> tuple[str, ...]:
        """The first `limit` texts of every combination, in the library's order; at least the text itself."""
        return _limited(partial(self._all, text, limit), (text,), self._seconds)

    def _draw(self, made: list[list[str]], place: int, text: str, seed: int) -> None:
        command = self._command(text)
        if command is None:
            return
        for index, texts in enumerate(made):
            rand = Random(seed + index)
            results = iter(self._context(SamplingMethod.RANDOM, rand).sample_prompts(command))
            if index and _CYCLIC.search(text):
                deque(islice(results, index), maxlen=0)
                rand.seed(seed + index)
            texts[place] = next(results).text.translate(_BACK)

    def _all(self, text: str, limit: int) -> tuple[str, ...]:
        command = self._command(text)
        if command is None:
            return (text,)
        results = self._context(SamplingMethod.COMBINATORIAL, Random(0)).sample_prompts(command)
        found = tuple(result.text.translate(_BACK) for result in islice(results, max(1, limit)))
        return found or (text,)

    def _command(self, text: str) -> Command | None:
        """The text as the library reads it, None if there is nothing in it to draw or too much of it."""
        if not _SYNTAX.search(text) or len(text) > MOST_CHARS or any(char in text for char in _STAND_INS.values()):
            return None
        text = _protected(self._with_known_names(text))
        marks = len(_SYNTAX.findall(text))
        return parse(text) if 0 < marks <= MOST_MARKS and _depth(text) <= MOST_DEPTH else None

    def _context(self, method: SamplingMethod, rand: Random) -> _Context:
        return _Context(default_sampling_method=method, wildcard_manager=self._manager, rand=rand)

    def _with_known_names(self, text: str) -> str:
        """The text in which double underscores that name no wildcard (`<lora:my__own:1>`) mean nothing."""
        out: list[str] = []
        place = 0
        while (start := text.find("__", place)) >= 0:
            named = _NAMED.match(text, start)
            found = named if named and self._knows(named[1]) else _COMPOSED.match(text, start)
            end = found.end() if found else start + 2
            out += [text[place:start], found[0] if found else _STAND_INS["_"] * 2]
            place = end
        return "".join((*out, text[place:]))

    def _knows(self, name: str) -> bool:
        return "\\" not in name and ".." not in name and bool(self._manager.get_values(name))


def names(folder: Path) -> tuple[str, ...]:
    """What can be written between double underscores, sorted."""
    return tuple(sorted(entries(folder)))


def _protected(text: str) -> str:
    return _HARMLESS.sub(lambda found: _STAND_INS[found[0]], text)


def _collection(found: tuple[Entry, ...]) -> ListWildcardCollection:
    return ListWildcardCollection([WildcardItem(_protected(entry.text), entry.weight) for entry in found])


def _depth(text: str) -> int:
    depth = deepest = 0
    for char in text:
        depth += (char == "{") - (char == "}")
        deepest = max(deepest, depth)
    return deepest


class _Watch:
    """Raises _TooMuch at the next call of any function once the time is over.

    Some texts make the library loop for ever without giving a result, so that nothing but the interpreter can stop it.
    """

    def __init__(self, seconds: float) -> None:
        self.end = time.monotonic() + seconds

    def __call__(self, _frame: FrameType, _event: str, _argument: Any) -> None:
        if time.monotonic() > self.end:
            raise _TooMuch


def _limited(make: Callable[[], _T], otherwise: _T, seconds: float) -> _T:
    """What `make` gives, `otherwise` if it fails or takes too long."""
    watch, before = _Watch(seconds), sys.getprofile()
    try:
        sys.setprofile(watch)
        try:
            return make()
        finally:
            watch.end = math.inf  # putting the old one back is a call too
            sys.setprofile(before)
    except Exception:  # noqa: BLE001  (a large library reads a stranger's text here: a typo is literal text)
        return otherwise
