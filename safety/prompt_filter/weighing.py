"""From what the layers saw to what follows from it: findings of several texts together, then the policy's word on them.

All scores are on one scale, on which 0.5 is where a category counts as touched.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from backend.types import SpokenReason
from backend.types.jobs import LADDER, Action
from safety.policy import CATEGORIES, Category, Policy
from safety.prompt_filter.names import Named
from safety.prompt_filter.rules import Evidence, findings, together

SURE = 0.5
"""From this score a category is touched."""
MENTIONED = 0.35
"""From this score a rule is mentioned where the policy asks for no more than a note."""
_BLURRING = LADDER.index("blur")
_SOFT: frozenset[Category] = frozenset({"copyright", "public-figure", "living-artist", "likeness", "adversarial"})
_SOFT_WEIGHT = 0.49  # what a soft category adds to the ranking where the policy does not act on it
_NAMED_HARDER = 0.7  # the same for what would harm a person who is named, or seen in a picture
_HARMS: tuple[Category, ...] = ("violence", "hate", "illegal", "deception", "self-harm")
_NAME_SCORE = 0.6
_SOMEBODY = frozenset({"source", "named", "real_person", "nudification", "baring"})
_WHO = ("source", "named", "real_person")


@dataclass(frozen=True, slots=True)
class Seen:
    """A category that a layer saw: how surely, on what, and in which field."""

    score: float
    span: str
    layer: str
    field: str = "prompt"
    ruled: bool = False


@dataclass(frozen=True, slots=True)
class Read:
    """All that one text says before any policy. `scores` are the classifier's and the guards'."""

    evidence: Evidence = field(default_factory=dict, hash=False)
    scores: Mapping[Category, Seen] = field(default_factory=dict, hash=False)
    named: tuple[Named, ...] = ()
    odd: float = 0.0
    field: str = "prompt"
    words: int = 0


@dataclass(frozen=True, slots=True)
class Judgement:
    """What follows from a text. `score`, 0..1, ranks texts: 0.5 and more where the policy does more than note.

    `reasons` are the categories that lead to something, the gravest first, each with its own action in `actions`;
    `offers` say what could be written instead.
    """

    action: Action
    score: float
    reasons: tuple[SpokenReason, ...] = ()
    actions: tuple[Action, ...] = ()
    offers: tuple[str, ...] = ()


def seen(reads: Sequence[Read], extra: Evidence | None = None) -> dict[Category, Seen]:
    """Every category that these texts, which make one picture together, touch with any sureness.

    `extra` is evidence from elsewhere: "source" for a picture of a person, "uncovered" and "made_young" from a negative
    prompt, "body" for a mask on a body.
    """
    evidence = dict(together(*(read.evidence for read in reads), extra or {}))
    figures = [(named, read.field) for read in reads for named in read.named if named.kind != "living-artist"]
    if figures:
        evidence.setdefault("named", (figures[0][0].name, "names"))
    places = {term: read.field for read in reversed(reads) for term in read.evidence.values()}
    found: dict[Category, Seen] = {}
    for read in reads:
        for category, this in read.scores.items():
            _keep(found, category, this)
    _harm_to_people(found, evidence)
    for rule in findings(evidence):
        # Where a rule and the classifier agree, they are surer together.
        agreed = found[rule.category].score if rule.category in found else 0.0
        score = rule.score + (1 - rule.score) * 0.9 * agreed if rule.score >= SURE else rule.score
        where = next((place for term, place in places.items() if term[0] in rule.span), "prompt")
        where = "negative" if rule.span.startswith("not: ") else where
        _keep(found, rule.category, Seen(score, rule.span, rule.layer, where, True))
    for read in reads:
        for named in read.named:
            kind: Category = "living-artist" if named.kind == "living-artist" else "public-figure"
            layer, sure = ("opt-out", 0.95) if named.kind == "opt-out" else ("names", _NAME_SCORE)
            _keep(found, kind, Seen(sure, named.name, layer, read.field, True))
    odd = max(reads, key=lambda read: read.odd, default=None)
    if odd is not None and odd.odd > 0.05:
        _keep(found, "adversarial", Seen(odd.odd, "the way it is written", "fluency", odd.field))
    return found


def _harm_to_people(found: dict[Category, Seen], evidence: Evidence) -> None:
    """The classifier's findings, with who is concerned: sexual content and a minor, or somebody who exists."""
    if "nudification" in found and _SOMEBODY.isdisjoint(evidence):
        # Nobody who exists is meant, so nobody is undressed: the policy decides as about other sexual content.
        _keep(found, "sexual", found.pop("nudification"))
    sexual = found.get("sexual")
    young = evidence.get("minor") or evidence.get("made_young")
    if sexual and young:
        _keep(found, "sexual-minors", Seen(sexual.score, young[0], f"{sexual.layer} + {young[1]}", sexual.field))
    if sexual and (who := next((evidence[name] for name in _WHO if name in evidence), None)):
        score = shifted(sexual.score, _NAMED_HARDER)
        _keep(found, "nudification", Seen(score, who[0], f"{sexual.layer} + {who[1]}", sexual.field))
    if who := evidence.get("named"):
        for category in _HARMS:
            if harm := found.get(category):
                score = shifted(harm.score, _NAMED_HARDER)
                _keep(found, "deception", Seen(score, who[0], f"{harm.layer} + names", harm.field))


def _keep(found: dict[Category, Seen], category: Category, new: Seen) -> None:
    if category not in found or new.score > found[category].score:
        found[category] = new


def weighed(
    found: Mapping[Category, Seen], policy: Policy, roles: Iterable[str] = (), offers: Sequence[str] = ()
) -> Judgement:
    """What the policy makes of it. A name on the owner's list of those who opted out is refused under every policy."""
    roles = tuple(roles)
    reasons: list[tuple[Action, SpokenReason]] = []
    rank = 0.0
    for category, this in found.items():
        action = "refuse" if this.layer == "opt-out" else policy.action(category, roles)
        acts = LADDER.index(action) >= _BLURRING
        rank = max(rank, this.score if acts or category not in _SOFT else _SOFT_WEIGHT * this.score)
        touched = this.score >= SURE or (this.ruled and this.score >= MENTIONED and not acts)
        if touched and action != "allow":
            score = round(this.score, 4)
            reasons.append((action, SpokenReason(category, this.span, this.layer, score, this.field)))
    reasons.sort(key=lambda each: (-LADDER.index(each[0]), CATEGORIES.index(each[1].category)))
    actions = tuple(action for action, _ in reasons)
    return Judgement(
        actions[0] if actions else "allow",
        round(rank, 6),
        tuple(reason for _, reason in reasons),
        actions,
        tuple(offers),
    )


def offered(reads: Iterable[Read]) -> tuple[str, ...]:
    """For every living artist whose name stands in the texts, what may be written instead."""
    named = dict.fromkeys(named for read in reads for named in read.named if named.offer)
    return tuple(f'Instead of "{each.name}" you can describe the technique: {each.offer}.' for each in named)


def calibrated(scores: Mapping[Category, float], thresholds: Mapping[Category, float]) -> dict[Category, float]:
    """Probabilities moved on the scale of log-odds, so that every category's threshold comes to lie at 0.5."""
    return {category: shifted(score, -_log_odds(thresholds.get(category, SURE))) for category, score in scores.items()}


def shifted(score: float, by: float) -> float:
    """A probability with `by` added to its log-odds."""
    return score if by == 0 else 1 / (1 + math.exp(-(_log_odds(score) + by)))


def _log_odds(score: float) -> float:
    bounded = min(max(score, 1e-6), 1 - 1e-6)
    return math.log(bounded / (1 - bounded))
