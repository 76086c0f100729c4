"""Telling words of other languages, and which of them would also be found in harmless text."""

from __future__ import annotations

import tomllib
import unicodedata
from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from safety.prompt_filter.rudeness import WORD, checksum, folded, opening
from training.filter.grammar import TEXTS
from training.filter.sources import HEADS

_SHORTEST, _SHORTEST_WIDE = 4, 2  # letters
_FIRST_WIDE = "\u0e00"


def listed(folder: Path) -> dict[str, str]:
    """Folded terms with their category: LDNOOBW's in `folder`, except English, as "sexual" (most are; the others are
    insults), and those of texts/words.toml. With and without accents."""
    found: dict[str, str] = {}
    for path in sorted(folder.glob("*.txt")):
        if path.stem != "en":
            for line in path.read_text(encoding="utf-8").splitlines():
                found[" ".join(folded(line).split())] = "sexual"
    own: Mapping[str, Mapping[str, list[str]]] = tomllib.loads((TEXTS / "words.toml").read_text(encoding="utf-8"))
    for category, languages in own.items():
        for words in languages.values():
            found |= {folded(word): category for word in words}
    return found | {without: category for term, category in found.items() if (without := _bare(term)) != term}


def kept(terms: Mapping[str, str], harmless: Iterable[str]) -> dict[str, str]:
    """Without those that are short or stand as words in any of the harmless texts."""
    seen: set[str] = set()
    for text in harmless:
        seen |= {folded(text), *WORD.findall(folded(text))}
    return {
        term: category
        for term, category in terms.items()
        if len(term) >= (_SHORTEST_WIDE if term[:1] >= _FIRST_WIDE else _SHORTEST) and term not in seen
    }


def tensors(terms: Mapping[str, str]) -> dict[str, NDArray[np.generic]]:
    """As safety.prompt_filter.rudeness reads them."""
    ordered = sorted({checksum(term): HEADS.index(category) for term, category in terms.items()}.items())
    openings = sorted({checksum(opening(term)) for term in terms})
    return {
        "rude": np.array([mark for mark, _ in ordered], np.uint32),
        "rude_kinds": np.array([kind for _, kind in ordered], np.uint8),
        "rude_openings": np.array(openings, np.uint32),
    }


def _bare(term: str) -> str:
    """As it reads once marks have been taken off."""
    apart = unicodedata.normalize("NFD", term)
    return unicodedata.normalize("NFC", "".join(char for char in apart if unicodedata.category(char) != "Mn"))
