"""Texts that change while a picture is made: `[from:to:when]`, `[to:when]`, `[from::when]`, `[a|b]`, nested at will.

Reference: A1111 1.10.1. A construct is found when its bracket closes, with a stack and no recursion. Inside a construct
every bracket must be paired and every colon belong to something; a bracket that stands alone makes everything around it
plain text, while what was complete before or comes after still counts. A `|` outside an alternation, or a backslash
with nothing behind it, makes the whole prompt literal.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

MOST_TEXT = 2**26
"""Characters that all segments together may have; a prompt that would need more is taken literally."""

_TOKEN = re.compile(r"(?:[^\\\[\]():|]|\\.)+|[\[\]():|]|\\")
_WHEN = re.compile(r"\s*([+-]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]+)?)\s*")


@dataclass(frozen=True, slots=True)
class Segment:
    """`text` holds up to and including step `until`, counted from 1."""

    until: int
    text: str


@dataclass(frozen=True, slots=True)
class _Pass:
    """What `when` is measured against: the steps of this pass, and where it begins in shares and in step numbers."""

    steps: int
    share: float
    number: int

    def step(self, when: str) -> int:
        """The last step before the change. A value with a point is a share of the steps, one without a step number."""
        value = (float(when) - self.share) * self.steps if "." in when else float(when) - self.number
        return int(max(-1.0, min(float(self.steps), value)))


@dataclass(frozen=True, slots=True)
class _Choice:
    """Token ranges of which one is read: the first up to step `when` and then the second, or all in turn (None)."""

    options: tuple[tuple[int, int], ...]
    end: int
    when: int | None

    def at(self, step: int) -> tuple[int, int]:
        if self.when is None:
            return self.options[(step - 1) % len(self.options)]
        return self.options[0 if step <= self.when else 1]


@dataclass(slots=True)
class _Open:
    """A bracket that is not closed yet; `marks` are the places of the colons and bars directly inside it."""

    bracket: str
    start: int
    marks: list[int] = field(default_factory=list)


def segments(text: str, steps: int, *, hires: bool = False, first_steps: int = 0) -> tuple[Segment, ...]:
    """What is painted when, in order; the last segment ends at `steps`. Segments may repeat a text.

    With `hires` the times are those of a second pass of `steps` steps that follows `first_steps`: shares begin at 1.0
    (`1.5` is half way through it), step numbers at `first_steps`.
    """
    steps = max(1, steps)
    tokens = _TOKEN.findall(text)
    choices = _choices(tokens, _Pass(steps, 1.0, first_steps) if hires else _Pass(steps, 0.0, 0))
    if not choices:
        return (Segment(steps, text),)
    changes = {choice.when for choice in choices.values() if choice.when is not None and choice.when >= 1}
    alternates = any(choice.when is None for choice in choices.values())
    ends = range(1, steps + 1) if alternates else sorted({*changes, steps})
    if len(ends) * len(text) > MOST_TEXT:
        return (Segment(steps, text),)
    return tuple(Segment(step, _text(tokens, choices, step)) for step in ends)


def _choices(tokens: Sequence[str], times: _Pass) -> Mapping[int, _Choice]:
    """Every construct by the place of its opening bracket; none at all if the prompt is to be taken literally."""
    found: dict[int, _Choice] = {}
    opened: list[_Open] = []
    for place, mark in enumerate(tokens):
        if mark in "([":
            opened.append(_Open(mark, place))
        elif mark in ":|":
            if mark == "|" and not (opened and opened[-1].bracket == "["):
                return {}
            if opened:
                opened[-1].marks.append(place)
        elif mark in ")]":
            kind = _closes(opened[-1], mark, tokens, place) if opened else None
            if kind is None:
                if _has_bar(opened, tokens):
                    return {}
                opened.clear()
            else:
                bracket = opened.pop()
                if kind != "group":
                    found[bracket.start] = _choice(bracket, kind, tokens, place, times)
        elif mark == "\\":
            return {}
    return {} if _has_bar(opened, tokens) else found


def _has_bar(opened: Sequence[_Open], tokens: Sequence[str]) -> bool:
    return any(tokens[mark] == "|" for bracket in opened for mark in bracket.marks)


def _closes(bracket: _Open, token: str, tokens: Sequence[str], place: int) -> str | None:
    """What the closing bracket completes, "group", "alternation" or "schedule"; None if it completes nothing."""
    marks = {tokens[mark] for mark in bracket.marks}
    if bracket.bracket + token == "()":
        return "group" if len(bracket.marks) <= 1 else None
    if bracket.bracket + token != "[]":
        return None
    if not marks:
        return "group"
    if marks == {"|"}:
        return "alternation"
    if marks == {":"} and len(bracket.marks) <= 2 and place - bracket.marks[-1] == 2:
        return "schedule" if _WHEN.fullmatch(tokens[place - 1]) else None
    return None


def _choice(bracket: _Open, kind: str, tokens: Sequence[str], place: int, times: _Pass) -> _Choice:
    edges = [bracket.start, *bracket.marks, place]
    options = tuple((left + 1, right) for left, right in pairwise(edges))
    if kind == "alternation":
        return _Choice(options, place + 1, None)
    *texts, _ = options
    before = texts[0] if len(texts) == 2 else (place, place)
    return _Choice((before, texts[-1]), place + 1, times.step(tokens[place - 1].strip()))


def _text(tokens: Sequence[str], choices: Mapping[int, _Choice], step: int) -> str:
    out: list[str] = []
    place = 0
    returns = [(len(tokens), len(tokens))]
    while returns:
        end, after = returns[-1]
        choice = choices.get(place) if place < end else None
        if place >= end:
            returns.pop()
            place = after
        elif choice is None:
            out.append(tokens[place])
            place += 1
        else:
            place, end = choice.at(step)
            returns.append((end, choice.end))
    return "".join(out)
