"""What is allowed for whom, as data. One policy now: the owner's own machine.

A policy says what to do with a request of some category (safety.admit asks), and from which score a picture counts as
flagged. Categories are found by safety.prompt_filter, which decides nothing. Under "personal" a flagged picture is
sealed and kept like any other, with its flag: faces show it blurred until somebody asks to see it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

Category = Literal["sexual-minors", "nudification", "sexual"]
Action = Literal["note", "refuse"]

NEVER: frozenset[Category] = frozenset({"sexual-minors", "nudification"})
"""Refused under every policy; no setting, role or source changes it."""


@dataclass(frozen=True, slots=True)
class Policy:
    """`actions` per category; `nsfw_threshold` is an OpenNSFW score, 0..1. Categories without an action are ignored.

    Raises ValueError for a policy that does not refuse what must always be refused.
    """

    name: str
    version: int
    actions: Mapping[str, Action] = field(hash=False)
    nsfw_threshold: float = 0.8

    def __post_init__(self) -> None:
        if lax := [category for category in sorted(NEVER) if self.actions.get(category) != "refuse"]:
            raise ValueError(f"the policy {self.name} does not refuse {lax[0]}")

    @property
    def id(self) -> str:
        """What a Verdict and a Passport quote."""
        return f"{self.name}-{self.version}"


PERSONAL = Policy("personal", 1, {"sexual-minors": "refuse", "nudification": "refuse", "sexual": "note"})
