"""What a prompt is about, by a small network that reads words in their context.

`TextClassifier.shipped()` holds the weights of `models/filter` (their card says what they were trained on, how well
they do, and what that does not show). They know English; other languages add nothing, except for the words of a short
list. Of texts longer than the network's window only stretches are read: a cheap score per word piece picks the most
suspicious ones, and the worst of these counts.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from types import MappingProxyType
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load

from backend.errors import Unavailable
from safety.policy import CATEGORIES, Category
from safety.prompt_filter.fluency import Fluency
from safety.prompt_filter.network import Array, Network
from safety.prompt_filter.rudeness import Rudeness
from safety.prompt_filter.wordpiece import WordPiece

FOLDER = Path(__file__).resolve().parents[2] / "models" / "filter"
_HINT = "Restore models/filter from the release or the repository."
_FILES = ("weights.safetensors", "vocabulary.txt")
_SIZES = ((62, 44, 1), (24, 12, 3))
"""Pieces, stride and number of the stretches of a long text that are read: a short one dilutes a sentence less."""
_REMEMBERED = 8  # texts: one request asks about each of its readings more than once
_RUDE = 0.9
"""The probability that a word of the lists gives to its category."""
_HARM: tuple[Category, ...] = (
    "sexual",
    "nudification",
    "violence",
    "self-harm",
    "hate",
    "illegal",
    "deception",
    "privacy",
    "copyright",
)
"""Categories among which "harmful at all" is shared out."""


class TextClassifier:
    """Immutable once made; safe to share between threads. `thresholds` are per category, at the share of harmless
    look-alikes that the card names; `id` and `sha256` name the weights in a Passport.

    Raises Unavailable if a file is missing or not the one that `config.json` names.
    """

    def __init__(self, folder: Path = FOLDER) -> None:
        config = _config(folder)
        try:
            files = {name: _checked(folder / name, str(config["files"][name])) for name in _FILES}
            given = load(files["weights.safetensors"])
            tensors = _widened(given)
            self._pieces = WordPiece(files["vocabulary.txt"].decode("utf-8").splitlines())
            self._network = Network(tensors, int(config["attention_heads"]))
            self._names = [str(head) for head in config["heads"]]
            self._heads = {head: column for column, head in enumerate(self._names)}
            self._slope, self._shift = (np.array(config["calibration"][key], np.float32) for key in ("slope", "shift"))
            self._screen = tensors["screen"][:, 0].astype(np.float64)
            self.rudeness = Rudeness(given["rude"], given["rude_kinds"], given["rude_openings"])
            self.fluency = Fluency.of(given, self._doubt)
            self._rows = lru_cache(_REMEMBERED)(self._answers)
            self.id = str(config["id"])
            self.thresholds: Mapping[Category, float] = MappingProxyType(
                {
                    category: float(config["thresholds"][category])
                    for category in CATEGORIES
                    if category in config["thresholds"]
                }
            )
        except (KeyError, ValueError, TypeError, SafetensorError) as error:
            raise Unavailable(f"The prompt classifier in {folder.name} cannot be read.", _HINT) from error
        self.sha256 = hashlib.sha256(files["weights.safetensors"]).hexdigest()

    @classmethod
    def shipped(cls) -> TextClassifier:
        """With the weights of the repository."""
        return cls()

    def scores(self, text: str) -> Mapping[Category, float]:
        """Probabilities from 0 to 1, each for itself, calibrated on sentences that were not trained on."""
        return self.worst((text,))

    def worst(self, texts: Sequence[str]) -> Mapping[Category, float]:
        """For several readings of one text, in one pass: the highest of each category."""
        found = [self._shared(row) for text in texts for row in self._rows(text)]
        scores = {category: max(each[category] for each in found) for category in found[0]}
        for kind in frozenset[int]().union(*map(self.rudeness.found, texts)):
            category = cast(Category, self._names[kind])
            scores[category] = max(scores[category], _RUDE)
        return scores

    def _doubt(self, text: str) -> float:
        """Log-odds that nobody wrote this, of the window where they are highest."""
        odd = self._rows(text)[:, self._heads["adversarial"]].clip(1e-6, 1 - 1e-6)
        return float(np.log(odd / (1 - odd)).max())

    def _answers(self, text: str) -> Array:
        """(windows, heads) probabilities."""
        logits = self._network.logits(self._windows(text)) * self._slope + self._shift
        found: Array = 1 / (1 + np.exp(-logits))
        return found

    def _shared(self, row: Array) -> dict[Category, float]:
        """Categories from heads: what is harmful, whatever it is, counts for the likeliest category; sexual content
        with a mention of children is judged by both."""
        found = {category: float(row[self._heads[category]]) for category in self.thresholds}
        likeliest = max(_HARM, key=lambda category: found[category])
        found[likeliest] = max(found[likeliest], float(row[self._heads["any"]]))
        together = found["sexual"] * float(row[self._heads["minor"]])
        found["sexual-minors"] = max(found["sexual-minors"], together)
        return found

    def _windows(self, text: str) -> list[list[int]]:
        numbers = self._pieces(text)
        room = self._network.longest - 2
        if len(numbers) <= room:
            return [[self._pieces.first, *numbers, self._pieces.last]]
        worth = np.concatenate([[0.0], np.cumsum(self._screen[numbers])])
        spans = [span for size, step, many in _SIZES for span in _worst(worth, min(size, room), step, many)]
        return [[self._pieces.first, *numbers[start:end], self._pieces.last] for start, end in spans]


def _worst(worth: NDArray[np.float64], size: int, step: int, many: int) -> list[tuple[int, int]]:
    """The `many` stretches of `size` pieces whose summed suspicion is highest; `worth` is the running sum."""
    last = len(worth) - 1 - size
    starts = [*range(0, last, step), last]
    chosen = sorted(starts, key=lambda start: float(worth[start] - worth[start + size]))[:many]
    return [(start, start + size) for start in chosen]


def _config(folder: Path) -> dict[str, Any]:
    try:
        return cast(dict[str, Any], json.loads((folder / "config.json").read_text(encoding="utf-8")))
    except (OSError, ValueError) as error:
        raise Unavailable("The prompt classifier is not installed or damaged.", _HINT) from error


def _checked(path: Path, digest: str) -> bytes:
    try:
        data = path.read_bytes()
    except OSError as error:
        raise Unavailable(f"A file of the prompt classifier is missing ({path.name}).", _HINT) from error
    if hashlib.sha256(data).hexdigest() != digest:
        raise Unavailable(f"A file of the prompt classifier is damaged ({path.name}).", _HINT)
    return data


def _widened(given: Mapping[str, Any]) -> dict[str, Any]:
    """Float16 as float32, the rest as it is."""
    return {name: tensor.astype(np.float32) if tensor.dtype == np.float16 else tensor for name, tensor in given.items()}
