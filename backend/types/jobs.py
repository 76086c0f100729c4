"""Who asked, what was decided, how far it is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from backend.types.request import GenerationRequest

JobState = Literal["queued", "running", "sealing", "done", "cancelled", "refused", "failed", "interrupted"]
Phase = Literal[
    "queued",
    "loading",
    "encoding",
    "step",
    "decoding",
    "sealing",
    "image",
    "done",
    "cancelled",
    "failed",
    "interrupted",
]
Source = Literal["ui", "api", "cli", "mcp", "extension", "share"]
Action = Literal["allow", "note", "blur", "withhold", "refuse"]
LADDER: tuple[Action, ...] = ("allow", "note", "blur", "withhold", "refuse")
"""What may follow from a finding, the mildest first."""
Previews = Literal["show", "blur", "none"]


def stricter(one: Action, other: Action) -> Action:
    """The higher of two rungs."""
    return max(one, other, key=LADDER.index)


@dataclass(frozen=True, slots=True)
class Principal:
    """Who asks. Every call carries one; it is never read from a global."""

    id: str = "owner"
    roles: frozenset[str] = frozenset({"owner"})
    source: Source = "ui"


@dataclass(frozen=True, slots=True)
class SpokenReason:
    """Why admission spoke: `category`, the `span` of normalised text it rests on, the `layer` that saw it, how sure it
    is (`score`, 0..1), and which `field` of the request the text stood in."""

    category: str
    span: str
    layer: str
    score: float = 1.0
    field: str = "prompt"


@dataclass(frozen=True, slots=True)
class Verdict:
    """What admission decided. Refusals are raised as `Refused`; a Verdict that exists lets the request pass.

    "blur" and "withhold" say how its pictures will be handled, whatever they show. The rest of the policy travels with
    it, so that a picture is treated by the policy under which it was admitted: `flagged` for pictures that a detector
    flags, `flag_from` a score that flags below a detector's own threshold, `previews` for what is seen meanwhile.
    `score` is the highest of the reasons', 0 without one; `audit_head` the newest entry of the audit log, `offers`
    what could be written instead of what was noted.
    """

    action: Literal["allow", "note", "blur", "withhold"]
    policy: str
    reasons: tuple[SpokenReason, ...] = ()
    flagged: Action = "blur"
    flag_from: float | None = None
    previews: Previews = "show"
    score: float = 0.0
    audit_head: str = ""
    offers: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Job:
    """A request on its way. Times are UTC; `attempt` counts starts; `images` counts pictures already in the history."""

    id: str
    request: GenerationRequest
    principal: Principal
    state: JobState
    created: datetime
    updated: datetime
    verdict: Verdict
    attempt: int = 0
    images: int = 0
    problem: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class Event:
    """One thing that happened to a job. `seq` grows by one per job; replays start after a given `seq`.

    `fraction` is 0..1 of the whole job, `eta` seconds left, `preview` the version of the newest preview picture,
    `record_id` the picture that just entered the history, `position` the place in the queue (0 = next).
    """

    job_id: str
    seq: int
    phase: Phase
    step: int = 0
    steps: int = 0
    fraction: float | None = None
    eta: float | None = None
    preview: int | None = None
    position: int | None = None
    record_id: str | None = None
    message: str = ""
    problem: Mapping[str, Any] | None = None
