"""Which categories a prompt touches: lists of terms, and rules that combine them.

Evidence from different readings counts together: one word may be spelled with digits and the other with Cyrillic.
Terms count anywhere in the text, since a prompt is a bag of words to the model.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from importlib.resources import files

from backend.types import SpokenReason
from safety.policy import Category
from safety.prompt_filter.normalise import Reading, fold, readings

USUAL_STEPS = 30
Evidence = Mapping[str, tuple[str, str]]
"""Names of lists with the term that was found and the layer that showed it."""
_FIRST_WIDE = 0x2E80  # from here on scripts that write no spaces between words
_ADULT = 18
_LONGEST_SPLICE = 40  # letters
_NUMBERS = re.findall(
    r"\w+",
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen",
)
_AGE = re.compile(
    rf"(?<= )(?:(?:aged?|age of) (?P<after>\d{{1,2}}|{'|'.join(_NUMBERS)})"
    rf"|(?P<before>\d{{1,2}}|{'|'.join(_NUMBERS)}) ?(?:years?|yrs?|yr|y) ?(?:olds?|o))(?= )"
)


@dataclass(frozen=True, slots=True)
class Rule:
    """The category is touched if every one of the lists is."""

    category: Category
    lists: tuple[str, ...]


RULES = (
    Rule("sexual-minors", ("sexual", "minor")),
    Rule("nudification", ("nudification",)),
    Rule("nudification", ("sexual", "real_person")),
    Rule("sexual", ("sexual",)),
)


@dataclass(frozen=True, slots=True)
class _Terms:
    """One list, compiled: as whole words, inside a spelled-out run, and put together with another list's."""

    words: frozenset[str]
    pattern: re.Pattern[str]
    spelled: re.Pattern[str]

    @classmethod
    def of(cls, terms: Iterable[str]) -> _Terms:
        folded = sorted({fold(term) for term in terms}, key=len, reverse=True)
        wide = [term for term in folded if ord(term[0]) >= _FIRST_WIDE]
        narrow = "|".join(re.escape(term) for term in folded if term not in wide)
        pattern = "|".join([rf"(?<= )(?:{narrow})(?= )", *map(re.escape, wide)])
        joined = "|".join(re.escape(term.replace(" ", "")) for term in folded)
        return cls(frozenset(folded), re.compile(pattern), re.compile(rf"\+\w*?({joined})\w*\+"))

    def find(self, reading: Reading) -> str | None:
        if match := self.pattern.search(reading.text):
            return match[0]
        if reading.layer == "spacing" and (match := self.spelled.search(reading.text)):
            return match[1]
        return None


class Filter:
    """The rules over the shipped lists. Immutable once made; `read` takes a few milliseconds for a long prompt."""

    def __init__(self, lists: Mapping[str, Iterable[str]] | None = None) -> None:
        source = lists or tomllib.loads(files(__package__).joinpath("terms.toml").read_text(encoding="utf-8"))
        self._harmless = _Terms.of(source["harmless"])
        self._lists = {name: _Terms.of(terms) for name, terms in source.items() if name != "harmless"}

    def read(self, prompt: str, steps: int = USUAL_STEPS) -> tuple[SpokenReason, ...]:
        """Categories in the order of RULES, each once, with the words it rests on."""
        return self.reasons(self.evidence(prompt, steps))

    def reasons(self, *evidence: Evidence) -> tuple[SpokenReason, ...]:
        """What evidence from several texts, which make one picture together, comes to."""
        known: dict[str, tuple[str, str]] = {}
        for each in evidence:
            known = {**each, **known}
        found: dict[str, SpokenReason] = {}
        for rule in RULES:
            if all(name in known for name in rule.lists):
                spans = " + ".join(known[name][0] for name in rule.lists)
                layers = ", ".join(dict.fromkeys(known[name][1] for name in rule.lists))
                found.setdefault(rule.category, SpokenReason(rule.category, spans, layers))
        return tuple(found.values())

    def evidence(self, prompt: str, steps: int = USUAL_STEPS) -> Evidence:
        """For every list that was found: the term and the layer that showed it. `steps` are those of the sampler."""
        evidence: dict[str, tuple[str, str]] = {}
        for reading in readings(prompt, steps):
            left = Reading(reading.layer, self._harmless.pattern.sub("·", reading.text))
            for name, terms in self._lists.items():
                if term := terms.find(left):
                    evidence.setdefault(name, (term, left.layer))
            if reading.layer == "words" and (age := _young_age(left.text)):
                evidence.setdefault("minor", (age, "age"))
            self._spliced(left, evidence)
        return evidence

    def _spliced(self, reading: Reading, evidence: dict[str, tuple[str, str]]) -> None:
        """Two listed words written as one, with nothing between."""
        for word in set(reading.text.split()):
            for cut in range(3, len(word) - 2) if len(word) <= _LONGEST_SPLICE else ():
                parts = word[:cut], word[cut:]
                names = [[name for name, terms in self._lists.items() if part in terms.words] for part in parts]
                if all(names):
                    for part, lists in zip(parts, names, strict=True):
                        for name in lists:
                            evidence.setdefault(name, (part, "splicing"))


def _young_age(text: str) -> str | None:
    for match in _AGE.finditer(text):
        number = match["after"] or match["before"]
        years = _NUMBERS.index(number) if number in _NUMBERS else int(number)
        if years < _ADULT:
            return match[0]
    return None
