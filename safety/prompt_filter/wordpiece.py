"""Text to the numbers of word pieces, as BERT's uncased tokenizer does it, for a shortened vocabulary.

Lower case, accents off, words and signs apart, then the longest piece first (Schuster and Nakajima 2012; Devlin et al.
2018). Two differences: a run of letters that are not Latin is one unknown piece, however long, so that a language this
vocabulary does not hold adds nothing; and every Latin word can be spelled, if need be letter by letter.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from functools import lru_cache

PADDING, UNKNOWN, FIRST, LAST = "[PAD]", "[UNK]", "[CLS]", "[SEP]"
_WORD = re.compile(r"[a-z]+|[0-9]+|[^\W_a-z0-9]+|[^\w\s]|_")
_LONGEST = 40  # letters; longer "words" are cut, so that no word costs more than its length
_CACHED = 20_000


class WordPiece:
    """`vocabulary` in the order of its numbers. Immutable and safe to share between threads."""

    def __init__(self, vocabulary: Sequence[str]) -> None:
        self._number = {piece: number for number, piece in enumerate(vocabulary)}
        self.unknown = self._number[UNKNOWN]
        self.first, self.last = self._number[FIRST], self._number[LAST]
        self._pieces = lru_cache(_CACHED)(self._split)

    def __call__(self, text: str) -> list[int]:
        """Numbers of the pieces, without the marks of beginning and end."""
        numbers: list[int] = []
        for word in _WORD.findall(plain(text)):
            numbers += self._pieces(word)
        return numbers

    def _split(self, word: str) -> tuple[int, ...]:
        if not word.isascii():
            return (self.unknown,)
        numbers: list[int] = []
        for begin in range(0, len(word), _LONGEST):
            numbers += self._longest_first(word[begin : begin + _LONGEST])
        return tuple(numbers)

    def _longest_first(self, word: str) -> list[int]:
        numbers: list[int] = []
        start = 0
        while start < len(word):
            for end in range(len(word), start, -1):
                piece = word[start:end] if start == 0 else "##" + word[start:end]
                if (number := self._number.get(piece)) is not None:
                    numbers.append(number)
                    break
            else:
                return [*numbers, self.unknown]
            start = end
        return numbers


def plain(text: str) -> str:
    """Lower case without accents."""
    if text.isascii():
        return text.lower()
    apart = unicodedata.normalize("NFD", unicodedata.normalize("NFKC", text).lower())
    return "".join(char for char in apart if unicodedata.category(char) != "Mn")
