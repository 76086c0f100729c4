"""What is allowed for whom, as data.

A policy says, for every category of a request and for every role, which action follows, what happens to a picture that
was flagged, and what previews may show. Categories are found by safety.prompt_filter, which decides nothing. Actions
form one ladder, and everything that combines policies takes the higher rung: a request may tighten what is in force,
and nobody can loosen it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Literal, get_args

from backend.types.jobs import LADDER, Action, Previews, stricter

Category = Literal[
    "sexual-minors",
    "nudification",
    "sexual",
    "violence",
    "self-harm",
    "hate",
    "illegal",
    "deception",
    "privacy",
    "copyright",
    "public-figure",
    "living-artist",
    "likeness",
    "adversarial",
]
CATEGORIES: tuple[Category, ...] = get_args(Category)
Role = Literal["owner", "operator", "user", "guest", "kiosk"]
ROLES: tuple[Role, ...] = get_args(Role)

NEVER: frozenset[Category] = frozenset({"sexual-minors", "nudification"})
"""Refused under every policy; no setting, role or source changes it."""

MEANING: Mapping[Category, str] = MappingProxyType(
    {
        "sexual-minors": "sexual content with minors",
        "nudification": "undressing or sexualising real people",
        "sexual": "nudity and sexual content",
        "violence": "graphic violence and gore",
        "self-harm": "suicide and self-injury",
        "hate": "hatred and degradation of groups",
        "illegal": "crime, drugs, weapons and terror as instructions or praise",
        "deception": "forgeries, fraud and made-up events with real people",
        "privacy": "spying on people and their private lives",
        "copyright": "protected characters, logos and works",
        "public-figure": "a known living person by name",
        "living-artist": "the manner of a living artist by name",
        "likeness": "a picture of a person as the starting point",
        "adversarial": "text that is not written for people, such as strings made to slip past a filter",
    }
)


@dataclass(frozen=True, slots=True)
class Policy:
    """`actions` per category for everybody; `roles` may be stricter for some. Categories without an action are allowed.

    `flagged` is what becomes of a picture that a detector flags, `flag_from` a score below the detectors' own
    thresholds from which it is (0..1, None leaves theirs), `previews` what may be seen while a picture forms.
    Raises ValueError for a policy that does not refuse what must always be refused, or that names what there is not.
    """

    name: str
    version: int
    actions: Mapping[Category, Action] = field(hash=False)
    roles: Mapping[Role, Mapping[Category, Action]] = field(default_factory=dict, hash=False)
    flagged: Action = "blur"
    flag_from: float | None = None
    previews: Previews = "show"

    def __post_init__(self) -> None:
        if lax := [category for category in sorted(NEVER) if self.actions.get(category) != "refuse"]:
            raise ValueError(f"the policy {self.name} does not refuse {lax[0]}")
        for table in (self.actions, *self.roles.values()):
            if unknown := [f"{key}: {value}" for key, value in table.items() if not _known(key, value)]:
                raise ValueError(f"the policy {self.name} says what means nothing ({unknown[0]})")
        if unknown_roles := [role for role in self.roles if role not in ROLES]:
            raise ValueError(f"the policy {self.name} knows no role {unknown_roles[0]}")
        if self.flagged not in ("blur", "withhold"):
            raise ValueError(f"the policy {self.name} lets flagged pictures through")

    @property
    def id(self) -> str:
        """What a Verdict and a Passport quote."""
        return f"{self.name}-{self.version}"

    def action(self, category: Category, roles: Iterable[str] = ()) -> Action:
        """What follows from the category for somebody with these roles: the general action, or a role's stricter one.

        Several roles give the mildest of what each gives: who is both owner and guest is the owner.
        """
        general = self.actions.get(category, "allow")
        each = [stricter(general, self.roles.get(role, {}).get(category, "allow")) for role in roles if role in ROLES]
        return min(each, key=LADDER.index) if each else general

    def tightened(self, other: Policy) -> Policy:
        """The stricter of the two in every respect."""
        merged = {
            category: stricter(self.actions.get(category, "allow"), other.actions.get(category, "allow"))
            for category in CATEGORIES
        }
        by_role = {
            role: {
                category: stricter(self.action(category, (role,)), other.action(category, (role,)))
                for category in CATEGORIES
            }
            for role in {*self.roles, *other.roles}
        }
        limits = [limit for limit in (self.flag_from, other.flag_from) if limit is not None]
        return replace(
            self,
            name=f"{self.name}+{other.name}" if other.name != self.name else self.name,
            actions=merged,
            roles=by_role,
            flagged=stricter(self.flagged, other.flagged),
            flag_from=min(limits, default=None),
            previews=max(self.previews, other.previews, key=("show", "blur", "none").index),
        )


def _known(category: str, action: str) -> bool:
    return category in CATEGORIES and action in LADDER


_ALWAYS: Mapping[Category, Action] = {"sexual-minors": "refuse", "nudification": "refuse"}

PERSONAL = Policy(
    "personal",
    2,
    {**dict.fromkeys(CATEGORIES, "note"), **_ALWAYS},
)
"""The owner's own machine: what is found is noted in the Passport and goes on."""

SHARED = Policy(
    "shared",
    1,
    {
        **dict.fromkeys(("sexual", "violence", "self-harm", "hate", "illegal", "deception", "privacy"), "refuse"),
        **dict.fromkeys(("copyright", "public-figure", "living-artist", "adversarial"), "note"),
        "likeness": "note",
        **_ALWAYS,
    },
    flagged="blur",
    flag_from=0.5,
    previews="blur",
)
"""A server that others use too: what harms people is refused, pictures that look explicit are blurred early."""

CLASSROOM = Policy(
    "classroom",
    1,
    {**dict.fromkeys(CATEGORIES, "refuse"), "copyright": "note", "living-artist": "note", **_ALWAYS},
    flagged="withhold",
    flag_from=0.3,
    previews="none",
)
"""Minors, kiosks and exhibitions: nothing doubtful is made, and a flagged picture waits for the owner."""

PROFILES: Mapping[str, Policy] = MappingProxyType({each.name: each for each in (PERSONAL, SHARED, CLASSROOM)})
