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
from typing import Any, Literal, TypeVar, get_args

from backend.errors import InvalidParameter
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

PREVIEWS: tuple[Previews, ...] = ("show", "blur", "none")
"""What may be seen while a picture forms, the mildest first."""

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

IN_WORDS: Mapping[Action, str] = MappingProxyType(
    {
        "allow": "made, and not mentioned",
        "note": "made, and noted in the Passport",
        "blur": "made, and covered until somebody asks to see it",
        "withhold": "made, and kept back until the owner has decided",
        "refuse": "not made",
    }
)
PREVIEWS_IN_WORDS: Mapping[Previews, str] = MappingProxyType(
    {
        "show": "the picture is seen while it forms",
        "blur": "only a blur is seen while it forms",
        "none": "nothing is seen before it is finished and inspected",
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
        if self.previews not in PREVIEWS:
            raise ValueError(f"the policy {self.name} knows no previews called {self.previews}")
        if self.flag_from is not None and not 0 < self.flag_from < 1:
            raise ValueError(f"the policy {self.name} flags from a score that is not between 0 and 1")

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
            previews=max(self.previews, other.previews, key=PREVIEWS.index),
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

_HARMS: tuple[Category, ...] = (
    "sexual", "violence", "self-harm", "hate", "illegal", "deception", "privacy", "copyright",
)  # fmt: skip
SHARED = Policy(
    "shared",
    1,
    {
        **dict.fromkeys(_HARMS, "refuse"),
        **dict.fromkeys(("public-figure", "living-artist", "adversarial"), "note"),
        "likeness": "refuse",  # unless their consent is declared
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

ABOUT: Mapping[str, str] = MappingProxyType(
    {
        "personal": "Your own machine: what is found is noted and goes on, flagged pictures are covered.",
        "shared": "Others use it too: what harms people is refused, what looks explicit is covered early.",
        "classroom": "Minors, kiosks, exhibitions: nothing doubtful is made, flagged pictures wait for you.",
    }
)
"""The profiles in a sentence each."""

CLOSED = Policy("closed", 1, dict.fromkeys(CATEGORIES, "refuse"), flagged="withhold", flag_from=0.3, previews="none")
"""In force while the owner's own policy cannot be read. Nobody chooses it."""

OWN = "+own"
"""After the name of a profile: the owner has changed it in places."""


def flat(policy: Policy) -> dict[str, Any]:
    """Everything a policy says except its name and number, by name, as plain values; what is allowed is left out."""
    tables = {"actions": policy.actions, **{f"roles.{role}": table for role, table in policy.roles.items()}}
    said = {
        f"{name}.{category}": action
        for name, table in tables.items()
        for category, action in table.items()
        if action != "allow"
    }
    return {**said, "flagged": policy.flagged, "flag_from": policy.flag_from, "previews": policy.previews}


def edited(policy: Policy, edit: Mapping[str, Any], *, version: int) -> Policy:
    """`policy` as the owner wants it: `edit` may name a `profile` to start anew from, `actions` (category to action),
    `roles` (role to such a table), `flagged`, `flag_from` (None: the detectors' own) and `previews`; the rest stays.

    Raises InvalidParameter that names the field, also for anything that would loosen what is always refused.
    """
    if strange := [str(name) for name in edit if name not in _EDITS]:
        raise InvalidParameter(strange[0][:40], "A policy has no such part.", f"It has: {', '.join(_EDITS)}.")
    start = policy
    if (profile := edit.get("profile")) is not None:
        start = PROFILES[_chosen("profile", profile, tuple(PROFILES))]
    actions = {**start.actions, **_table("actions", edit.get("actions"))}
    roles = {role: dict(table) for role, table in start.roles.items()}
    for role, table in _mapping("roles", edit.get("roles")).items():
        known = _chosen("roles", role, ROLES)
        roles[known] = {**roles.get(known, {}), **_table(f"roles.{known}", table)}
    limit = edit.get("flag_from", start.flag_from)
    if limit is not None and (isinstance(limit, bool) or not isinstance(limit, int | float) or not 0 < limit < 1):
        raise InvalidParameter("flag_from", "The score to flag from is a number between 0 and 1, or nothing.")
    changed = replace(
        start,
        version=version,
        actions=actions,
        roles={role: table for role, table in roles.items() if table},
        flagged=_chosen("flagged", _given(edit, "flagged", start.flagged), ("blur", "withhold")),
        flag_from=None if limit is None else float(limit),
        previews=_chosen("previews", _given(edit, "previews", start.previews), PREVIEWS),
    )
    base = start.name.removesuffix(OWN)
    same = base in PROFILES and flat(changed) == flat(PROFILES[base])
    return replace(changed, name=base if same else base + OWN)


_Word = TypeVar("_Word", bound=str)
_EDITS = ("profile", "actions", "roles", "flagged", "flag_from", "previews")


def _given(edit: Mapping[str, Any], name: str, otherwise: Any) -> Any:
    return otherwise if edit.get(name) is None else edit[name]


def _chosen(field: str, value: object, choices: tuple[_Word, ...]) -> _Word:
    for choice in choices:
        if choice == value:
            return choice
    raise InvalidParameter(field, f'"{str(value)[:40]}" is none of the choices.', f"Choose: {', '.join(choices)}.")


def _mapping(field: str, value: object) -> Mapping[Any, Any]:
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        raise InvalidParameter(field, "This must be a table of names and values.")
    return value


def _table(field: str, value: object) -> dict[Category, Action]:
    """Category to action, as somebody wrote it."""
    table: dict[Category, Action] = {}
    for name, action in _mapping(field, value).items():
        category = _chosen(field, name, CATEGORIES)
        table[category] = _chosen(f"{field}.{category}", action, LADDER)
        if category in NEVER and table[category] != "refuse":
            said = f"{MEANING[category].capitalize()} is refused under every policy; nobody can change that."
            raise InvalidParameter(f"{field}.{category}", said)
    return table
