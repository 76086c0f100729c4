"""What a negative prompt says by what it keeps out.

Its words must not be seen, so they are no evidence for what they name: "child, nude" there is how people keep both out,
and refusing it would refuse them. Three things are evidence all the same.

- Items that leave somebody undressed ("clothes", "fully dressed") or young ("adult", "mature") when they are kept out.
  Only whole items count, so "torn clothes" or "bad hat" say nothing, and single garments only three at a time. What
  they amount to depends on the positive prompt: nothing without a person in it (see RULES).
- What has a negative weight: in the negative prompt it is asked for after all and is read as part of the prompt; in the
  prompt it is kept out and read as a negative item. A1111 takes `(word:-1)` and a part `AND word :-1` so.
- A network with a negative weight does the opposite of its name: one for clothes undresses, one for age makes young.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from safety.prompt_filter.decoding import natural
from safety.prompt_filter.lexicon import Lexicon
from safety.prompt_filter.moments import moments
from safety.prompt_filter.normalise import fold, naturals, words_of

_INVERTED = re.compile(r"[(\[]([^()\[\]:]{1,400}):\s*-\s*\d*\.?\d+\s*[)\]]|\bAND\b([^:]{1,400}):\s*-\s*\d*\.?\d+")
_ITEM = re.compile(r"[,;|\n\r.、，；。]+|\bBREAK\b|\bAND\b")
_SEVERAL = 3
_MOST_ITEMS = 400
_CLOTHES = re.compile(r"cloth|dress|outfit|garment|wear(?:ing)?\b|bra\b|underwear|censor|modest|sfw")
_UNCOVERING_SAFE = re.compile(r"nsfw|undress|unclothed|noclothes")
_AGE = re.compile(r"\bag(?:e|ed|er|ing)\b|adult|mature|\bolder\b|milf|grown")

Missing = dict[str, tuple[str, str]]
"""Evidence as rules.py counts it: "uncovered" and "made_young"."""


def inverted(text: str) -> str:
    """What has a negative weight in the text, as text."""
    return ", ".join((match[1] or match[2]).strip() for match in _INVERTED.finditer(text))


class Absence:
    """Reads what is kept out. `clothes`, `garment` and `grown` are lists of terms.toml. Immutable."""

    def __init__(self, clothes: Iterable[str], garment: Iterable[str], grown: Iterable[str]) -> None:
        self._clothes, self._garment, self._grown = (
            frozenset(" ".join(fold(term).split()) for term in terms) for terms in (clothes, garment, grown)
        )

    def of(self, negative: str, steps: int, lexicon: Lexicon) -> Missing:
        """What it means that these items must not be seen."""
        found: Missing = {}
        garments: list[str] = []
        for text in (each.text for each in naturals(negative, moments(negative, steps), lexicon)):
            for item in _ITEM.split(text)[:_MOST_ITEMS]:
                bare = " ".join(words_of(fold(natural(item.strip(), lexicon).text)))
                if bare in self._clothes:
                    found.setdefault("uncovered", (f"not: {bare}", "negation"))
                elif bare in self._grown:
                    found.setdefault("made_young", (f"not: {bare}", "negation"))
                elif bare in self._garment and bare not in garments:
                    garments.append(bare)
            # A list without commas is read by its words, and only if it is nothing else.
            words = words_of(fold(text))
            if (
                1 < len(words) < 8
                and not self._clothes.isdisjoint(words)
                and all(word in self._clothes | self._garment for word in words)
            ):
                found.setdefault("uncovered", (f"not: {' '.join(words)}", "negation"))
        if len(garments) >= _SEVERAL:
            found.setdefault("uncovered", (f"not: {', '.join(garments[:5])}", "negation"))
        return found


def opposite(name: str) -> Missing:
    """What a network of this name does with a negative weight."""
    plain = fold(name).replace("_", " ").replace("-", " ")
    found: Missing = {}
    if _CLOTHES.search(plain) and not _UNCOVERING_SAFE.search(plain.replace(" ", "")):
        found["uncovered"] = (f"less: {plain[:60]}", "network")
    if _AGE.search(plain):
        found["made_young"] = (f"less: {plain[:60]}", "network")
    return found
