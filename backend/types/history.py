"""Pictures that exist, how they are looked up, and what can be said about any file."""

from __future__ import annotations

from collections.abc import Mapping
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
    dates are inclusive UTC, `rating` is the least number of stars, `handling` how pictures may be shown now.
    """

    text: str = ""
    model: str | None = None
    sampler: str | None = None
    rating: int | None = None
    handling: Handling | None = None
    since: datetime | None = None
    until: datetime | None = None
    before: str | None = None
    limit: int = 50


class HistoryPage(Shape):
    records: tuple[Record, ...]
    next: str | None


class IngredientReport(Shape):
    """A picture or a model that went in, by the word of whoever signed. `state` is that of its own credentials, as far
    as they were carried over; `digital_source_type` what they, or those of a picture it was made from, declare. `ident`
    is the ingredient's own id, such as "sha256:..." of a model's file."""

    title: str
    relation: str
    state: Literal["valid", "invalid", "absent"]
    generator: str | None = None
    digital_source_type: str | None = None
    kind: Literal["file", "model"] = "file"
    ident: str | None = None


class CredentialReport(Shape):
    """What a file's Content Credentials say. `failures` are C2PA validation codes; `relation` of an ingredient is
    C2PA's own word ("parentOf", "inputTo", "componentOf"). `trusted` means that the signer stands under an authority
    of the owner's trust list, `time_stamp` is what a time-stamp authority vouched for, None without one;
    `when` only what the signer's own clock said. `ident` is the title, with us the id of the record; `training_use` is
    "allowed", "notAllowed" or "constrained" where that is stated."""

    state: Literal["valid", "invalid", "absent"]
    trusted: bool = False
    ours: bool = False
    actions: tuple[str, ...] = ()
    digital_source_type: str | None = None
    generator: str | None = None
    signer: str | None = None
    failures: tuple[str, ...] = ()
    ingredients: tuple[IngredientReport, ...] = ()
    time_stamp: str | None = None
    time_stamp_trusted: bool = False
    generator_version: str | None = None
    spec_version: str | None = None
    when: str | None = None
    ident: str | None = None
    training_use: str | None = None


class WatermarkReport(Shape):
    """What was read from the pixels. `p_value` is corrected for everything that was tried; 1.0 means no evidence.
    With `tested` False the picture could not be looked at in this way; `detail` says why."""

    found: bool
    record_id: str | None = None
    p_value: float = 1.0
    method: str | None = None
    tested: bool = True
    detail: str = ""


class LabelReport(Shape):
    """A declaration in plain metadata, which anybody can write or remove. `source_type` is IPTC's DigitalSourceType,
    `aigc` the fields of China's implicit label (GB 45438-2025)."""

    where: str
    source_type: str | None = None
    aigc: Mapping[str, str] = {}


class RecoveredCredential(Shape):
    """Credentials found again: those of the stored picture to which the mark in a bare copy leads.

    `likeness` tells whether this file shows that picture: "same" in whole, "part" a cut-out, "changed" the same scene
    with a `changed` share of it (0..1) different, "different" something else under a pasted mark, "unknown" where the
    pixels could not be compared. `psnr_db` compares the two at the same size, None without a comparison.
    """

    record_id: str
    credentials: CredentialReport
    likeness: Literal["same", "part", "changed", "different", "unknown"] = "unknown"
    psnr_db: float | None = None
    changed: float | None = None


class HistoryMatch(Shape):
    match: Literal["exact", "watermark", "none"]
    record_id: str | None = None


class VerifyReport(Shape):
    """The honest answer about any file. `more_marks` are those of further readers, such as the mark in the noise."""

    c2pa: CredentialReport
    watermark: WatermarkReport
    infotext: str | None
    history: HistoryMatch
    summary: str
    recovered: RecoveredCredential | None = None
    labels: tuple[LabelReport, ...] = ()
    more_marks: tuple[WatermarkReport, ...] = ()
