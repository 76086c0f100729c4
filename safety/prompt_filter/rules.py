"""Layer one: terms in context. Lists of terms, and rules that combine them into categories.

Evidence from different readings counts together: one word may be spelled with digits and the other with Cyrillic.
Terms count anywhere in the text, since a prompt is a bag of words to the model.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files

from safety.policy import Category
from safety.prompt_filter.baring import baring
from safety.prompt_filter.decoding import Natural
from safety.prompt_filter.lexicon import Lexicon, lexicon
from safety.prompt_filter.moments import moments
from safety.prompt_filter.normalise import Reading, fold, naturals, readings, words_of
from safety.prompt_filter.phrases import Phrases

USUAL_STEPS = 30


Evidence = Mapping[str, tuple[str, str]]
"""Names of lists with the term that was found and the layer that showed it."""
_ADULT = 18
_LONGEST_SPLICE = 40  # letters
_NUMBERS = re.findall(
    r"\w+",
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen",
)
_YEARS = "|".join(
    map(fold, re.findall(r"\w+", "anos ans jahre jahrige anni лет года godzin lat let rokov yas yasinda"))
)
_AGE = re.compile(
    rf"(?<= )(?:(?:aged?|age of) (?P<after>\d{{1,2}}|{'|'.join(_NUMBERS)})"
    rf"|(?P<before>\d{{1,2}}|{'|'.join(_NUMBERS)}) ?(?:years?|yrs?|yr|y) ?(?:olds?|o)"
    rf"|(?P<abroad>\d{{1,2}}) (?:{_YEARS})|(?P<east>\d{{1,2}}) ?(?:歳|岁|歲|살))(?= |[^\W\d])"
)


@dataclass(frozen=True, slots=True)
class Rule:
    """The category is touched, as surely as `score` says, if every one of `lists` is, and none of `unless`."""

    category: Category
    lists: tuple[str, ...]
    score: float = 0.95
    unless: tuple[str, ...] = ()


RULES = (
    Rule("sexual-minors", ("sexual", "minor")),
    Rule("sexual-minors", ("nude", "minor")),
    Rule("sexual-minors", ("alluring", "minor"), 0.8),
    Rule("sexual-minors", ("uncovered", "minor"), 0.9),
    Rule("sexual-minors", ("sexual", "made_young"), 0.9),
    Rule("sexual-minors", ("nude", "made_young"), 0.9),
    Rule("nudification", ("nudification",)),
    *(
        Rule("nudification", (what, who), score)
        for what, score, whom in (
            ("sexual", 0.95, ("source", "named", "real_person")),
            ("nude", 0.95, ("source", "named", "real_person")),
            ("uncovered", 0.9, ("source", "named", "real_person")),
            ("baring", 0.8, ("source", "named", "real_person")),
            ("alluring", 0.8, ("source", "named")),
            ("suggestive", 0.75, ("source",)),
        )
        for who in whom
    ),
    Rule("nudification", ("uncover", "body"), 0.75),
    Rule("sexual", ("sexual",), 0.9),
    Rule("sexual", ("uncovered", "person"), 0.6, unless=("source",)),
    Rule("sexual", ("nude",), 0.6, unless=("art",)),
    Rule("sexual", ("nude",), 0.4),
    Rule("sexual", ("alluring",), 0.36),
    *(Rule("deception", (what, "named"), 0.7) for what in ("crime", "harm", "election", "deceit")),
)
"""From the surest to the least sure of each category. A mere note begins below 0.5, a refusal does not."""


@dataclass(frozen=True, slots=True)
class Finding:
    """What a rule found: `span` is the terms it rests on, `layer` how they were written."""

    category: Category
    score: float
    span: str
    layer: str


class Filter:
    """The rules over the shipped lists. Immutable once made; `evidence` takes a millisecond for a usual prompt."""

    def __init__(self, lists: Mapping[str, Iterable[str]] | None = None) -> None:
        source = dict(lists or tomllib.loads(files(__package__).joinpath("terms.toml").read_text(encoding="utf-8")))
        self._harmless = Phrases({"harmless": source.pop("harmless", ())})
        self._phrases = Phrases(source)
        self._source = {name: tuple(terms) for name, terms in source.items()}

    @property
    def lexicon(self) -> Lexicon:
        """English and the words of the lists."""
        return lexicon(*sorted(self._phrases.words))

    def terms_of(self, name: str) -> tuple[str, ...]:
        """The terms of one list, as written."""
        return self._source.get(name, ())

    def evidence(
        self,
        prompt: str,
        steps: int = USUAL_STEPS,
        plain: Sequence[Natural] | None = None,
        scheduled: Sequence[str] | None = None,
    ) -> dict[str, tuple[str, str]]:
        """For every list that was found: the term and the layer that showed it. `steps` are those of the sampler.

        `plain` and `scheduled` are its natural readings and its moments, where they are known already.
        """
        evidence: dict[str, tuple[str, str]] = {}
        scheduled = moments(prompt, steps) if scheduled is None else scheduled
        plain = naturals(prompt, scheduled, self.lexicon) if plain is None else plain
        decoded = [Reading(each.layer, f" {_words(each.text)} ") for each in plain if each.layers]
        told = any("spacing" in each.layers for each in plain)  # then word ends are known, and "between" hides nobody
        # Of a reversed text it is not always clear whether the order of its words was reversed too.
        turned = [Reading(each.layer, f" {_backwards(each.text)} ") for each in decoded if "reversed" in each.layer]
        for reading in (*readings(prompt, scheduled), *decoded, *turned):
            words = self._harmless.blanked(reading.text.split())
            for name, term in self._phrases.find(words):
                evidence.setdefault(name, (term, reading.layer))
            if reading.layer == "spacing" and not told:
                for run in (word for word in words if word[0] == word[-1] == "+"):
                    for name, term in self._phrases.find_in_run(run.strip("+")):
                        evidence.setdefault(name, (term, reading.layer))
            if reading.layer == "words" and (age := _young_age(f" {' '.join(words)} ")):
                evidence.setdefault("minor", (age, "age"))
            self._spliced(words, evidence)
        for layer, text in [(each.layer, each.text) for each in plain] + [(each.layer, each.text) for each in turned]:
            if phrase := baring(text):
                evidence.setdefault("baring", (phrase, layer))
        return evidence

    def _spliced(self, words: Sequence[str], evidence: dict[str, tuple[str, str]]) -> None:
        """Two listed words written as one, with nothing between."""
        for word in set(words):
            for cut in range(3, len(word) - 2) if len(word) <= _LONGEST_SPLICE else ():
                parts = word[:cut], word[cut:]
                names = [self._phrases.lists_of(part) for part in parts]
                if all(names):
                    for part, lists in zip(parts, names, strict=True):
                        for name in lists:
                            evidence.setdefault(name, (part, "splicing"))


def together(*evidence: Evidence) -> Evidence:
    """Evidence from several texts, which make one picture: that of the earlier ones first."""
    known: dict[str, tuple[str, str]] = {}
    for each in evidence:
        known = {**each, **known}
    return known


def findings(evidence: Evidence) -> Iterator[Finding]:
    """What the rules make of it; a category may come more than once."""
    for rule in RULES:
        if all(name in evidence for name in rule.lists) and not any(name in evidence for name in rule.unless):
            span = " + ".join(dict.fromkeys(evidence[name][0] for name in rule.lists))
            layer = ", ".join(dict.fromkeys(evidence[name][1] for name in rule.lists))
            yield Finding(rule.category, rule.score, span, layer)


def _words(text: str) -> str:
    return " ".join(words_of(fold(text)))


def _backwards(words: str) -> str:
    return " ".join(reversed(words.split()))


def _young_age(text: str) -> str | None:
    for match in _AGE.finditer(text):
        number = next(value for value in match.groupdict().values() if value)
        years = _NUMBERS.index(number) if number in _NUMBERS else int(number)
        if years < _ADULT:
            return match[0]
    return None
