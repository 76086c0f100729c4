"""Lists of terms, looked up word by word: time does not depend on how many terms there are."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence

from safety.prompt_filter.normalise import fold, words_of

_BLANK = "·"
_SHORT = frozenset({"sex", "xxx", "nude"})  # other short terms are looked for as whole words only
_LONGEST_RUN = 2000


class Phrases:
    """Named lists of terms, compiled. A term may be in several lists. Immutable once made.

    Terms in scripts that write no spaces between words are found inside words, all others as whole words.
    """

    def __init__(self, lists: Mapping[str, Iterable[str]]) -> None:
        self._written: dict[str, str] = {}
        names: defaultdict[str, list[str]] = defaultdict(list)
        for name, terms in lists.items():
            for written in terms:
                term = " ".join(words_of(fold(written)))  # as the readings are split
                self._written.setdefault(term, written)
                if name not in names[term]:
                    names[term].append(name)
        self._names = {term: tuple(found) for term, found in names.items() if term}
        narrow = [term for term in self._names if not _wide(term)]
        starts: defaultdict[str, list[tuple[str, ...]]] = defaultdict(list)
        for term in narrow:
            first, *rest = term.split()
            starts[first].append(tuple(rest))
        self._starts = {first: sorted(rests, key=len, reverse=True) for first, rests in starts.items()}
        self._wide = _pattern(term for term in self._names if _wide(term))
        self._joined = {whole: term for term in narrow if len(whole := term.replace(" ", "")) > 4 or whole in _SHORT}
        self._lengths = sorted({len(whole) for whole in self._joined})
        self.words = frozenset(word for term in self._names for word in term.split())

    def lists_of(self, term: str) -> tuple[str, ...]:
        return self._names.get(term, ())

    def find(self, words: Sequence[str]) -> Iterator[tuple[str, str]]:
        """(list, term as it is written there) for every term in the text, longer phrases before their beginnings."""
        for at, word in enumerate(words):
            for rest in self._starts.get(word, ()):
                if tuple(words[at + 1 : at + 1 + len(rest)]) == rest:
                    term = " ".join((word, *rest))
                    for name in self._names[term]:
                        yield name, self._written[term]
        if self._wide:
            for match in self._wide.finditer(" ".join(words)):
                for name in self._names[match[0]]:
                    yield name, self._written[match[0]]

    def find_in_run(self, letters: str) -> Iterator[tuple[str, str]]:
        """The same inside a row of letters that has lost its word ends."""
        for at in range(min(len(letters), _LONGEST_RUN)):
            for length in self._lengths:
                if term := self._joined.get(letters[at : at + length]):
                    for name in self._names[term]:
                        yield name, self._written[term]

    def blanked(self, words: Sequence[str]) -> list[str]:
        """The text with every term in it taken out."""
        left = list(words)
        for at, word in enumerate(words):
            for rest in self._starts.get(word, ()):
                if tuple(words[at + 1 : at + 1 + len(rest)]) == rest:
                    left[at : at + 1 + len(rest)] = [_BLANK] * (1 + len(rest))
                    break
        if not self._wide:
            return left
        return [self._wide.sub(_BLANK, word) for word in left]


def _wide(term: str) -> bool:
    """Scripts without spaces between words: Thai, Lao, Khmer, Burmese, and the East Asian ones."""
    return ord(term[0]) >= 0x2E80 or 0x0E00 <= ord(term[0]) < 0x1100 or 0x1780 <= ord(term[0]) < 0x1800


def _pattern(terms: Iterable[str]) -> re.Pattern[str] | None:
    ordered = sorted(terms, key=len, reverse=True)
    return re.compile("|".join(map(re.escape, ordered))) if ordered else None
