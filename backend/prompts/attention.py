"""Emphasis: `(x)` is 1.1 times as strong, `[x]` 1.1 times weaker, `(x:1.5)` exactly so, and `BREAK` starts a new chunk.

Reference: A1111 1.10.1. Two passes over the tokens, no recursion: the first finds out what every opening bracket
multiplies by, the second carries the product along. Round and square brackets pair up independently of each other.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

MOST = 1000.0
"""Weights are kept within ±MOST: far beyond use, and still a finite number for thousands of nested brackets."""

_ROUND, _SQUARE = 1.1, 1 / 1.1
_TOKEN = re.compile(r"\\[()\[\]\\]|\\|[()\[\]]|:|[^\\()\[\]:]+")
_WEIGHT = re.compile(r":\s*([+-]?[.\d]+)\s*\)")
_BREAK = re.compile(r"\bBREAK\b")


BREAK = "BREAK"
"""The text of a piece that is no text but the end of a chunk. Neither merged with a neighbour nor weighted (1.0)."""


@dataclass(frozen=True, slots=True)
class Piece:
    """Text with one weight, or a BREAK. Only the sole piece of an empty prompt has no text."""

    text: str
    weight: float


def parse(text: str) -> tuple[Piece, ...]:
    """The pieces of `text` in order, at least one; neighbours of equal weight are one piece, except across a BREAK."""
    tokens = tuple(_tokens(text))
    factors = _factors(tokens)
    pieces: list[Piece] = []
    words: list[str] = []
    weight = 1.0
    for token, now in zip(tokens, _products(tokens, factors), strict=True):
        if token.kind != "text":
            continue
        for part in _parts(token):
            if part is None or now != weight:
                pieces += [Piece("".join(words), weight)] if words else []
                words = []
            if part is None:
                pieces.append(Piece(BREAK, 1.0))
            elif part:
                words.append(part)
                weight = now
    pieces += [Piece("".join(words), weight)] if words else []
    return tuple(pieces) or (Piece("", 1.0),)


def escape(text: str) -> str:
    """`text` written so that `parse` gives it back as one piece of weight 1 (BREAK as a word excepted)."""
    return re.sub(r"([\\()\[\]])", r"\\\1", text)


@dataclass(frozen=True, slots=True)
class _Token:
    """`kind` is "text", an opening "(" or "[", or the bracket that closes the opening at index `opens` by `factor`."""

    kind: str
    text: str = ""
    escaped: bool = False
    opens: int = -1
    factor: float = 1.0


def _tokens(text: str) -> Iterator[_Token]:
    stacks: dict[str, list[int]] = {"(": [], "[": []}
    number = position = 0
    while position < len(text):
        weighted = _WEIGHT.match(text, position) if stacks["("] and text[position] == ":" else None
        factor = _number(weighted.group(1)) if weighted else None
        if weighted and factor is not None:
            position = weighted.end()
            yield _Token(")", opens=stacks["("].pop(), factor=factor)
        else:
            found = _TOKEN.match(text, position)
            assert found is not None  # the alternatives cover every character
            position = found.end()
            word = found.group()
            if word in stacks:
                stacks[word].append(number)
                yield _Token(word)
            elif word == ")" and stacks["("]:
                yield _Token(")", opens=stacks["("].pop(), factor=_ROUND)
            elif word == "]" and stacks["["]:
                yield _Token("]", opens=stacks["["].pop(), factor=_SQUARE)
            elif word[0] == "\\":
                yield _Token("text", word[1:], escaped=True)
            else:
                yield _Token("text", word)
        number += 1


def _number(text: str) -> float | None:
    try:
        return _within(float(text))
    except ValueError:  # "." or "1.2.3"
        return None


def _within(weight: float) -> float:
    return max(-MOST, min(MOST, weight))


def _factors(tokens: Sequence[_Token]) -> dict[int, float]:
    """What each opening bracket multiplies by, by its index; one that is never closed runs to the end."""
    unclosed = {
        index: _ROUND if token.kind == "(" else _SQUARE for index, token in enumerate(tokens) if token.kind in "(["
    }
    return {**unclosed, **{token.opens: token.factor for token in tokens if token.opens >= 0}}


def _products(tokens: Sequence[_Token], factors: dict[int, float]) -> Iterator[float]:
    """The weight in force at each token. Factors are multiplied from the inside out, the order A1111 rounds in."""
    open_now: dict[str, list[float]] = {"(": [1.0], "[": [1.0]}
    for index, token in enumerate(tokens):
        if token.kind in open_now:
            stack = open_now[token.kind]
            stack.append(_within(factors[index] * stack[-1]))
        elif token.kind != "text":
            open_now["(" if token.kind == ")" else "["].pop()
        yield _within(open_now["("][-1] * open_now["["][-1])


def _parts(token: _Token) -> Iterator[str | None]:
    """The text of a token with None for each BREAK; blanks around a BREAK go with it."""
    if token.escaped or "BREAK" not in token.text:
        yield token.text
        return
    parts = _BREAK.split(token.text)
    for index, part in enumerate(parts):
        if index:
            yield None
            part = part.lstrip()
        yield part.rstrip() if index < len(parts) - 1 else part
