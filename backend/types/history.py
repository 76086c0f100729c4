"""Pictures that exist, how they are looked up, and what can be said about any file."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from backend.types.pictures import Handling, Passport
from backend.types.request import Shape

Decision = Literal["released", "withheld", "false-alarm"]


class Review(Shape):
    """What the owner decided about a flagged or withheld picture. "false-alarm" releases it and counts against the
    detector."""

    decision: Decision
    who: str
    when: datetime
    note: str = ""


class Record(Shape):
    """One picture of the history. `path` is relative to the outputs folder."""

    id: str
    job_id: str
    index: int
    path: str
    thumbnail_path: str | None = None
    passport: Passport
    infotext: str
    rating: int = 0
    tags: tuple[str, ...] = ()
    review: Review | None = None

    @property
    def handling(self) -> Handling:
        """How it may be shown now: as it was sealed, unless the owner has decided otherwise."""
        if self.review:
            return "withhold" if self.review.decision == "withheld" else "show"
        if self.passport.handling == "show" and self.passport.inspection.state == "flagged":
            return "blur"  # sealed before handling was written down
        return self.passport.handling


class HistoryQuery(Shape):
    """A page of history, newest first.

    `text` searches prompts word by word (the last word as a prefix), `before` is the cursor of the previous page,
    dates are inclusive UTC, `rating` is the least number of stars.
    """

    text: str = ""
    model: str | None = None
    sampler: str | None = None
    rating: int | None = None
    since: datetime | None = None
    until: datetime | None = None
    before: str | None = None
    limit: int = 50


class HistoryPage(Shape):
    records: tuple[Record, ...]
    next: str | None


class IngredientReport(Shape):
    """A picture that went in, by the word of whoever signed. `state` is that of its own credentials, as far as they
    were carried over; `digital_source_type` what they, or those of a picture it was made from, declare."""

    title: str
    relation: str
    state: Literal["valid", "invalid", "absent"]
    generator: str | None = None
    digital_source_type: str | None = None


class CredentialReport(Shape):
    """What a file's Content Credentials say. `failures` are C2PA validation codes; `relation` of an ingredient is
    C2PA's own word ("parentOf", "inputTo", "componentOf")."""

    state: Literal["valid", "invalid", "absent"]
    trusted: bool = False
    ours: bool = False
    actions: tuple[str, ...] = ()
    digital_source_type: str | None = None
    generator: str | None = None
    signer: str | None = None
    failures: tuple[str, ...] = ()
    ingredients: tuple[IngredientReport, ...] = ()


class WatermarkReport(Shape):
    """What was read from the pixels. `p_value` is corrected for everything that was tried; 1.0 means no evidence."""

    found: bool
    record_id: str | None = None
    p_value: float = 1.0
    method: str | None = None


class HistoryMatch(Shape):
    match: Literal["exact", "watermark", "none"]
    record_id: str | None = None


class VerifyReport(Shape):
    """The honest answer about any file."""

    c2pa: CredentialReport
    watermark: WatermarkReport
    infotext: str | None
    history: HistoryMatch
    summary: str
