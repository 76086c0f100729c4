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


@dataclass(frozen=True, slots=True)
class Principal:
    """Who asks. Every call carries one; it is never read from a global."""

    id: str = "owner"
    roles: frozenset[str] = frozenset({"owner"})
    source: Source = "ui"


@dataclass(frozen=True, slots=True)
class SpokenReason:
    """Why admission spoke: `category`, the `span` of normalised text it rests on, and the `layer` that saw it."""

    category: str
    span: str
    layer: str


@dataclass(frozen=True, slots=True)
class Verdict:
    """What admission decided. Refusals are raised as `Refused`; a Verdict that exists lets the request pass."""

    action: Literal["allow", "note"]
    policy: str
    reasons: tuple[SpokenReason, ...] = ()


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
