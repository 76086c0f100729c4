"""`AND`: several prompts for one picture, each with its own guidance weight, `a cat :1.2 AND a dog :-0.4`.

Reference: A1111 1.10.1. The word splits before anything else is read, even within brackets. As there, a prompt without
AND is a single part, and a number after a colon at its very end is its weight. Negative prompts are not split.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from backend.prompts.attention import MOST

_AND = re.compile(r"\bAND\b")
_WEIGHT = re.compile(r"[-+]?(?:\d+\.?|\d*\.\d+)")


@dataclass(frozen=True, slots=True)
class Part:
    """A prompt of its own. `weight` multiplies the guidance scale; it may be negative."""

    text: str
    weight: float


def parts(text: str) -> tuple[Part, ...]:
    """The parts of a prompt in order, at least one. Blanks after the text of a part are dropped."""
    return tuple(_part(piece) for piece in _AND.split(text))


def _part(text: str) -> Part:
    words, colon, number = text.rpartition(":")
    if colon and _WEIGHT.fullmatch(number.strip()):
        return Part(words.rstrip(), max(-MOST, min(MOST, float(number))))
    return Part(text.rstrip(), 1.0)
