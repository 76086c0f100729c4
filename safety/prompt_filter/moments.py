"""What a prompt with scheduled words says at each step: `[from:to:when]`, `[to:when]`, `[from::when]`, `[a|b]`.

A word can be put together from pieces of different options (`n[u|x]de`), and only some step shows it whole. So the
gate reads the text of every step. The grammar is A1111's in outline: unbalanced brackets are plain text, `when` with a
"." is a share of the steps and without one a step number, and in a second pass shares above 1 and later step numbers
count. It may err on the side of more moments, since each is only read, never drawn.

Time is linear in the length for one moment, and there are as many as steps. Nesting deeper than any prompt has is read
flat.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

_SIGN = re.compile(r"\\.|[\[\]()|:]|[^\\\[\]()|:]+|\\", re.DOTALL)
_NUMBER = re.compile(r"\s*(?:\d+(?:\.\d*)?|\.\d+)\s*")
_DEEPEST = 12
_MOST_STEPS = 150
_MOST_MOMENTS = 48


@dataclass(frozen=True, slots=True)
class Choice:
    """A bracket whose text changes. With `when` None the options take turns, else the second follows the first."""

    options: tuple[tuple[str | Choice, ...], ...]
    when: str | None = None

    def at(self, step: int, second_pass: bool, steps: int) -> tuple[str | Choice, ...]:
        if self.when is None:
            return self.options[step % len(self.options)]
        share = "." in self.when
        start = float(self.when) - second_pass * (1 if share else steps)
        return self.options[step >= (start * steps if share else start)]


@dataclass(slots=True)
class _Open:
    """A bracket that is not closed yet: its parts so far, and the signs between them."""

    parts: list[list[str | Choice]] = field(default_factory=lambda: [[]])
    signs: list[str] = field(default_factory=list)
    round: int = 0


def moments(prompt: str, steps: int) -> tuple[str, ...]:
    """The different texts of the steps without the brackets that schedule them; nothing if none does.

    Of very many, the ones that most steps show: what only one step in fifty shows does not make the picture.
    """
    pieces = _parsed(prompt)
    if all(isinstance(piece, str) for piece in pieces):
        return ()
    steps = max(1, min(steps, _MOST_STEPS))
    shown: Counter[str] = Counter()
    for second_pass in (False, True):
        for step in range(steps):
            shown["".join(_said(pieces, step, second_pass, steps))] += 1
    return tuple(text for text, _ in shown.most_common(_MOST_MOMENTS))


def _said(pieces: tuple[str | Choice, ...], step: int, second_pass: bool, steps: int) -> Iterator[str]:
    for piece in pieces:
        if isinstance(piece, str):
            yield piece
        else:
            yield from _said(piece.at(step, second_pass, steps), step, second_pass, steps)


def _parsed(prompt: str) -> tuple[str | Choice, ...]:
    open_ = [_Open()]
    for sign in _SIGN.findall(prompt):
        here = open_[-1]
        if sign == "[" and len(open_) <= _DEEPEST:
            open_.append(_Open())
        elif sign == "]" and len(open_) > 1:
            open_.pop()
            open_[-1].parts[-1].extend(_closed(here))
        elif sign in ("|", ":") and len(open_) > 1 and here.round == 0:
            here.signs.append(sign)
            here.parts.append([])
        else:
            here.round = max(0, here.round + (sign == "(") - (sign == ")"))
            here.parts[-1].append(sign)
    while len(open_) > 1:
        unclosed = open_.pop()
        open_[-1].parts[-1].extend(["[", *_flat(unclosed)])
    return tuple(open_[0].parts[0])


def _closed(bracket: _Open) -> list[str | Choice]:
    if "|" in bracket.signs:
        return [Choice(tuple(_split(bracket)))]
    last = "".join(piece if isinstance(piece, str) else "[" for piece in bracket.parts[-1])
    if len(bracket.parts) > 1 and _NUMBER.fullmatch(last):
        before = tuple(bracket.parts[0]) if len(bracket.parts) > 2 else ()
        return [Choice((before, tuple(bracket.parts[-2])), last.strip())]
    return ["[", *_flat(bracket), "]"]


def _split(bracket: _Open) -> Iterator[tuple[str | Choice, ...]]:
    """The options between the bars; a colon among them is text."""
    option: list[str | Choice] = list(bracket.parts[0])
    for sign, part in zip(bracket.signs, bracket.parts[1:], strict=True):
        if sign == "|":
            yield tuple(option)
            option = list(part)
        else:
            option += [sign, *part]
    yield tuple(option)


def _flat(bracket: _Open) -> list[str | Choice]:
    found = list(bracket.parts[0])
    for sign, part in zip(bracket.signs, bracket.parts[1:], strict=True):
        found += [sign, *part]
    return found
