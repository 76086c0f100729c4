"""Is this written like a person? A character 5-gram model and the classifier's network say so together.

Text that a search in a text encoder's space has found (token splices) reads like nothing people write. An odd text is a
reason to look harder, not a verdict: people write oddly too, and an attacker can pay for fluency. The n-grams know
letters, the network knows which words go together; letters of other scripts count as neither.

Reference for the use of perplexity against such strings: Alon and Kamfonas 2023. Runs of characters that were not seen
are scored by the next shorter run at a fixed price (stupid backoff, Brants et al. 2007), so costs are no probabilities.
The table is hashed to one byte of check and one of cost per entry.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from safety.prompt_filter.wordpiece import plain

ORDER = 5
STEP = 0.1
"""One unit of a stored cost, in nats."""
BACKING_OFF = 1.2
"""Nats for every letter by which the context had to be shortened."""
_SPACE = re.compile(r"\s+")
_DIGIT = re.compile(r"[0-9]")
_ALIEN = re.compile(r"[^\x00-\x7f]+")
_LETTERS = re.compile(r"[a-z]")
_MULTIPLIER = np.uint64(0x9E3779B97F4A7C15)
_SPREAD = np.uint64(0xD6E8FEB86659FD93)
_WINDOW = 40
_ENOUGH = 12  # letters; shorter texts are never odd
_LONGEST = 4000  # characters that are looked at, from the beginning and the end


def readable(text: str) -> str:
    """What the model sees: small letters, one kind of digit, one kind of space, foreign letters left out."""
    return " " + _SPACE.sub(" ", _DIGIT.sub("0", _ALIEN.sub(" ", plain(text)))).strip() + " "


def keys(text: str, order: int) -> NDArray[np.uint64]:
    """One hash for every run of `order` characters, by its end; length len(text) - order + 1."""
    codes = np.frombuffer(text.encode("ascii"), np.uint8).astype(np.uint64)
    count = len(codes) - order + 1
    found = np.full(max(count, 0), order, np.uint64)
    if count > 0:
        for place in range(order):
            found = (found ^ codes[place : place + count]) * _MULTIPLIER
            found ^= found >> np.uint64(29)
        found *= _SPREAD
        found ^= found >> np.uint64(32)
    return found


@dataclass(frozen=True, slots=True)
class Table:
    """Entry `key % size` holds a cost if its check agrees with `key >> 56`; 0 is no entry."""

    check: NDArray[np.uint8]
    cost: NDArray[np.uint8]

    def costs(self, text: str) -> NDArray[np.float32]:
        """Nats for each character of `readable` text after the first."""
        size = np.uint64(len(self.cost))
        found = np.full(max(len(text) - 1, 0), 12.0, np.float32)
        for order in range(1, ORDER + 1):
            these = keys(text, order)
            places = (these % size).astype(np.int64)
            here = (self.check[places] == (these >> np.uint64(56)).astype(np.uint8)) & (self.cost[places] > 0)
            # Where a longer run is unknown, the cost of the shorter one stays, and grows.
            start = max(order - 1, 1)
            known = np.where(here, self.cost[places] * np.float32(STEP), np.float32(-1))[start - order + 1 :]
            part = found[start - 1 :]
            part[:] = np.where(known >= 0, known, part + (BACKING_OFF if order > 2 else 0.0))
        return found


class Fluency:
    """What the language model and a network's doubt say together. Immutable.

    `weights` combine the features below into surprise. `scale` holds middle and spread of surprise and of doubt among
    real prompts, `quantiles` (2, any) sums of both, rising, with the share of real prompts at or above each. `doubt`
    is any number that grows with how unlike a person's words a text is.
    """

    def __init__(self, table: Table, tensors: Mapping[str, Any], doubt: Callable[[str], float]) -> None:
        self._table, self._doubt = table, doubt
        self._weights = np.asarray(tensors["fluency_weights"], np.float32)
        self._scale = [float(value) for value in tensors["fluency_scale"]]
        self._quantiles = np.asarray(tensors["fluency_quantiles"], np.float64)

    @classmethod
    def of(cls, tensors: Mapping[str, Any], doubt: Callable[[str], float]) -> Fluency:
        return cls(Table(tensors["ngram_check"], tensors["ngram_cost"]), tensors, doubt)

    def oddness(self, text: str) -> float:
        """0..1: the share of real users' prompts that look at least as odd. Small is odd; 1 where there is too little
        Latin text to say."""
        parts = self.parts(text)
        if parts is None:
            return 1.0
        scores, shares = self._quantiles
        return float(np.exp(np.interp(together(parts, self._scale), scores, np.log(shares))))

    def parts(self, text: str) -> tuple[float, float] | None:
        """Surprise and doubt, None for a text that is too short."""
        seen = features(self._table, text)
        return None if seen is None else (float(seen @ self._weights), self._doubt(text))


def together(parts: tuple[float, float], scale: Sequence[float]) -> float:
    """Surprise and doubt on one scale. Surprise counts half: it is high for every language it was not trained on."""
    surprise, doubt = parts
    return 0.5 * (surprise - scale[0]) / scale[1] + (doubt - scale[2]) / scale[3]


def features(table: Table, text: str) -> NDArray[np.float32] | None:
    """How surprising the text is: on the whole, its worst stretch, its words, and 1. None for too short a text."""
    if len(text) > _LONGEST:
        text = text[: _LONGEST // 2] + " " + text[-_LONGEST // 2 :]
    seen = readable(text)
    if len(_LETTERS.findall(seen)) < _ENOUGH:
        return None
    costs = table.costs(seen)
    window = min(_WINDOW, len(costs))
    sums = np.concatenate([[0.0], np.cumsum(costs)])
    stretches = (sums[window:] - sums[:-window]) / window
    gaps = np.flatnonzero(np.frombuffer(seen.encode("ascii"), np.uint8) == 32)
    words = (sums[gaps[1:]] - sums[gaps[:-1]]) / np.diff(gaps)
    middle, high = np.quantile(words, (0.5, 0.85))
    found = [
        costs.mean(),
        stretches.max(),
        stretches.min(),
        middle,
        high,
        (words > 2.6).mean(),
        (words > 3.4).mean(),
        1.0,
    ]
    return np.array(found, np.float32)
