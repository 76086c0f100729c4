"""A classifier that says what it is told to, so that the other layers are tested by themselves."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from types import MappingProxyType

from safety.policy import Category
from safety.prompt_filter.reading import Reader


class Told:
    """Gives `scores` to every text that holds `word`, and nothing to others."""

    thresholds: Mapping[Category, float] = MappingProxyType({"violence": 0.3})

    def __init__(self, scores: Mapping[Category, float] | None = None, word: str = "") -> None:
        self._scores, self._word = dict(scores or {}), word
        self.heard: list[str] = []

    def scores(self, text: str) -> Mapping[Category, float]:
        self.heard.append(text)
        return self._scores if self._word in text else {}


@cache
def quiet() -> Reader:
    """The rules and the names alone."""
    return Reader(Told())
