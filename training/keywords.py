"""What people call emoji in English, by Unicode CLDR (package `cldr-annotations-full`) and by the art's own tags."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from training.data import Record, plain

ENGLISH = "annotations/en*/annotations.json"
"""American English and what Australia, Britain, Canada and India say otherwise."""


@dataclass(frozen=True, slots=True)
class Keywords:
    """Lower-case words with the signs that have them: as a keyword, or as their name."""

    keywords: Mapping[str, Collection[str]]
    names: Mapping[str, Collection[str]]

    @classmethod
    def read(cls, folder: Path, records: Sequence[Record]) -> Keywords:
        """Of the signs without a tone; `folder` is the package's."""
        signs = {record.code: record.base for record in records if not record.tone}
        keywords: dict[str, set[str]] = {}
        names: dict[str, set[str]] = {}
        for path in sorted(folder.glob(ENGLISH)):
            for emoji, row in json.loads(path.read_text(encoding="utf-8"))["annotations"]["annotations"].items():
                sign = signs.get(plain("-".join(f"{ord(letter):x}" for letter in emoji)))
                if sign is not None:
                    for found, words in ((keywords, row.get("default", ())), (names, row.get("tts", ()))):
                        for word in words:
                            found.setdefault(word.lower(), set()).add(sign)
        for record in records:
            for tag in record.tags:
                keywords.setdefault(tag.lower(), set()).add(record.base)
        return cls(keywords, names)

    def told(self, word: str) -> Iterator[tuple[str, float]]:
        """Signs that `word` tells, and how surely: 2 if one is called so, less the more signs have the keyword."""
        among = self.keywords.get(word, ())
        yield from ((sign, len(among) ** -0.5) for sign in among)
        yield from ((sign, 2.0) for sign in self.names.get(word, ()))
