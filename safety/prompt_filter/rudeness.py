"""Telling words of many languages as checksums: the lists of rude ones (LDNOOBW, CC-BY 4.0) are not in the repository.

Words of scripts that write spaces count as whole words, alone or several together; in Chinese, Japanese and Thai a
listed word counts wherever it stands. A checksum of 32 bits takes one word in a million for a listed one.
"""

from __future__ import annotations

import re
import unicodedata
import zlib
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

# Vowel signs of Indian scripts and Arabic points belong to a word, though they are no letters to `re`.
WORD = re.compile(r"[^\W_](?:[^\W_]|[\u0300-\u036f\u0610-\u061a\u064b-\u065f\u0900-\u0d7f])*")
_WIDE = re.compile(r"[\u0e00-\u0e7f\u3040-\u30ff\u3400-\u9fff]+")
_WORDS = 4
_CHARACTERS = range(2, 9)
_OPENING = 2  # characters


def folded(text: str) -> str:
    """Small letters in compatibility form; accents stay, since they part words in many languages."""
    return unicodedata.normalize("NFKC", text).casefold()


def checksum(term: str) -> int:
    """Of a `folded` term, its words joined by one space."""
    return zlib.crc32(term.encode())


def opening(term: str) -> str:
    """What a term is first looked up by: its first word, or its first characters where no spaces are written."""
    return term[:_OPENING] if _WIDE.match(term) else term.split(" ")[0]


class Rudeness:
    """(any,) uint32: `checksums` of the listed terms and of their `openings`; `kinds` a number for each term."""

    def __init__(self, checksums: NDArray[np.uint32], kinds: NDArray[np.uint8], openings: NDArray[np.uint32]) -> None:
        self._kinds = dict(zip(map(int, checksums), map(int, kinds), strict=True))
        self._openings = frozenset(map(int, openings))

    def found(self, text: str) -> frozenset[int]:
        """The kinds of all listed terms in the text."""
        marks = (checksum(term) for term in self._candidates(folded(text)))
        return frozenset(self._kinds[mark] for mark in marks if mark in self._kinds)

    def _candidates(self, text: str) -> Iterator[str]:
        words = WORD.findall(_WIDE.sub(" ", text))
        known = {word for word in set(words) if checksum(word) in self._openings}
        for start, word in enumerate(words) if known else ():
            if word in known:
                yield from (" ".join(words[start : start + count]) for count in range(1, _WORDS + 1))
        for run in _WIDE.findall(text):
            for start in range(len(run) - 1):
                if checksum(run[start : start + _OPENING]) in self._openings:
                    yield from (run[start : start + count] for count in _CHARACTERS)
