"""What a text comes to under a policy: the four layers together, on one scale.

A classifier's score is moved so that 0.5 is the threshold of its category; rules speak on the same scale. Layers only
ever add to each other. An odd or disguised text lowers the thresholds of the classifier a little, and so does the name
of a living person for what would harm that person. What a category leads to is the policy's word, not this module's.

Models that read text better may be added as `Guard`s: anything with a name and scores per category on this scale.
Nothing is read without the classifier: if its files are missing, `opened` raises Unavailable and nothing is admitted.
"""

from __future__ import annotations

import copy
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Protocol

from backend.errors import Unavailable
from safety.policy import Category, Policy
from safety.prompt_filter.classifier import TextClassifier
from safety.prompt_filter.decoding import Natural
from safety.prompt_filter.moments import moments
from safety.prompt_filter.names import Names, opted_out
from safety.prompt_filter.negation import Absence, inverted
from safety.prompt_filter.normalise import naturals
from safety.prompt_filter.rules import USUAL_STEPS, Evidence, Filter
from safety.prompt_filter.weighing import SURE, Judgement, Read, Seen, calibrated, offered, seen, shifted, weighed

_RARE = 0.01
_HARDER = 0.9  # added to the log-odds of the classifier's categories when a text is odd or was disguised
_DISGUISES = frozenset(
    {
        "homoglyphs", "digits", "spacing", "run together", "repetition", "reversed", "rot13",
        "base64", "hex", "binary", "numbers",
    }
)  # fmt: skip
_LONGEST_SPAN = 100


class Classifier(Protocol):
    """`thresholds` are the scores from which a category counts as touched."""

    @property
    def thresholds(self) -> Mapping[Category, float]: ...

    def scores(self, text: str) -> Mapping[Category, float]: ...


class Guard(Protocol):
    """Another reader of text, that the owner brings. Its scores count from 0.5 on; it can add, not take away."""

    name: str

    def scores(self, text: str) -> Mapping[Category, float]: ...


class Reader:
    """The layers, loaded. Safe to share between threads if the classifier is."""

    def __init__(
        self,
        classifier: Classifier,
        commonness: Callable[[str], float] | None = None,
        *,
        names: Names | None = None,
        rules: Filter | None = None,
        guards: Sequence[Guard] = (),
    ) -> None:
        """`commonness` gives the share of people's own prompts that are at least as oddly written, 0..1."""
        self._classifier, self._commonness, self._guards = classifier, commonness, tuple(guards)
        self._names, self._rules = names or Names(), rules or Filter()
        self._lexicon = self._rules.lexicon
        self._absence = Absence(*(self._rules.terms_of(name) for name in ("clothes", "garment", "grown")))

    def read(self, text: str, steps: int = USUAL_STEPS, field: str = "prompt", *, name: bool = False) -> Read:
        """One text that will be drawn. A `name` (of a network, a label) is too short for the classifier."""
        if not text.strip():
            return Read(field=field)
        scheduled = moments(text, steps)
        plain = naturals(text, scheduled, self._lexicon)
        evidence = self._rules.evidence(text, steps, plain, scheduled)
        named = tuple(dict.fromkeys(found for each in plain for found in self._names.found(each.text)))
        words = len(plain[0].text.split())
        if name:
            return Read(evidence, {}, named, field=field, words=words)
        odd = max(map(self._oddness, plain), default=0.0)
        scores: dict[Category, Seen] = {}
        for each in plain:
            layer = "classifier" if not each.layers else f"classifier, {each.layer}"
            harder = _HARDER * ((odd >= SURE) + (not _DISGUISES.isdisjoint(each.layers)))
            sources: list[tuple[str, Mapping[Category, float]]] = [
                (layer, calibrated(self._classifier.scores(each.text), self._classifier.thresholds))
            ]
            sources += [(guard.name, guard.scores(each.text)) for guard in self._guards]
            for who, found in sources:
                for category, score in found.items():
                    moved = shifted(score, harder)
                    if category not in scores or moved > scores[category].score:
                        scores[category] = Seen(moved, _cut(each.text), who, field)
        return Read(evidence, scores, named, odd, field, words)

    def renamed(self, names: Names) -> Reader:
        """The same with other names; nothing is loaded again."""
        other = copy.copy(self)
        other._names = names
        return other

    def _oddness(self, plain: Natural) -> float:
        """0..1, and 0.5 for what one prompt in a hundred reaches."""
        common = self._commonness(plain.text) if self._commonness else 1.0
        return _RARE / (_RARE + common)

    def absent(self, negative: str, prompt: str = "", steps: int = USUAL_STEPS) -> Evidence:
        """What it says that the negative prompt, and what has a negative weight in the prompt, must not be seen."""
        found: dict[str, tuple[str, str]] = {}
        for text in (negative, inverted(prompt)):
            if text.strip():
                found = {**self._absence.of(text, steps, self._lexicon), **found}
        return found


def judged(
    text: str,
    policy: Policy,
    roles: Iterable[str] = (),
    *,
    negative: str = "",
    reader: Reader | None = None,
) -> Judgement:
    """One prompt under a policy, as the gate would judge it without pictures or networks. Raises Unavailable."""
    reader = reader or shipped()
    reads = (reader.read(text), reader.read(inverted(negative), field="negative"))
    return weighed(seen(reads, reader.absent(negative, text)), policy, roles, offered(reads))


def _cut(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= _LONGEST_SPAN else line[: _LONGEST_SPAN - 1].rstrip() + "…"


@cache
def shipped() -> Reader:
    """The reader with the shipped classifier and without a list of people who opted out. Raises Unavailable."""
    return opened()


def opened(opt_out: Path | None = None, guards: Sequence[Guard] = ()) -> Reader:
    """Everything loaded: some tenths of a second. Raises Unavailable if a part is missing: then nothing is admitted."""
    classifier = TextClassifier.shipped()
    return Reader(classifier, classifier.fluency.oddness, names=_names(opt_out), guards=guards)


class Opening:
    """A Reader on demand: opened at the first call, and with new names when the list of those who opted out changes.

    Calls raise Unavailable as long as something is missing or the list cannot be read. Thread-safe.
    """

    def __init__(self, opt_out: Path | None = None, guards: Sequence[Guard] = ()) -> None:
        self._opt_out, self._guards = opt_out, tuple(guards)
        self._lock = threading.Lock()
        self._reader: Reader | None = None
        self._stamp: tuple[int, int] | None = None

    def __call__(self) -> Reader:
        with self._lock:
            stamp = _stamp(self._opt_out)
            if self._reader is None:
                self._reader = opened(self._opt_out, self._guards)
            elif stamp != self._stamp:
                self._reader = self._reader.renamed(_names(self._opt_out))
            self._stamp = stamp
            return self._reader


def _names(opt_out: Path | None) -> Names:
    try:
        return Names(opted_out(opt_out))
    except ValueError as error:
        detail = f"The list of people who do not want to be depicted cannot be used: {error}."
        raise Unavailable(detail, "Put the file right or remove it; nothing is admitted without it.") from error


def _stamp(path: Path | None) -> tuple[int, int] | None:
    try:
        stat = path.stat() if path else None
    except OSError:
        return None
    return (stat.st_mtime_ns, stat.st_size) if stat else None
