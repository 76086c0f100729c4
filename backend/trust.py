"""The front desk's part about trust: who may see a picture, what the owner decides, what is in force and on record.

Nothing here looks at pixels. A picture that is covered is handed out only to somebody who asks for it in so many words,
a withheld one only to the owner; both leave an entry in the audit log first.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, get_args

from backend.errors import InvalidParameter, NotAllowed, NotFound, Refused
from backend.ports import AuditLog, HistoryStore, Reviews
from backend.storage import Storage
from backend.types import Decision, HistoryPage, Principal, Record, VerifyReport

DECISIONS: tuple[Decision, ...] = get_args(Decision)
LONGEST_NOTE = 2000


class PolicyDesk(Protocol):
    """The policy in force. safety.policy_store has it."""

    def shown(self) -> Mapping[str, Any]:
        """What is in force, in plain values and plain words."""
        ...

    def change(self, edit: Mapping[str, Any], principal: Principal, log: AuditLog) -> object:
        """Raises NotAllowed for anybody but the owner, InvalidParameter for what means nothing."""
        ...


class Passports(Protocol):
    """What can be said about a picture, row by row, and which duties it meets. safety has it."""

    def page(self, record: Record | None, report: VerifyReport | None) -> Mapping[str, Any]:
        """{"rows": [...], "duties": [...]}; without a record what is unknown says so."""
        ...


class AuditBook(AuditLog, Protocol):
    """The audit log as people read it."""

    def page(self, before: int | None = None, limit: int = 100) -> Mapping[str, Any]:
        """{"entries": [...], "next", "head"}, newest first."""
        ...

    def verified(self) -> Mapping[str, Any]:
        """Whether the whole chain holds, and what is wrong first if it does not."""
        ...


class Audits(Protocol):
    """Bias audits: ordinary jobs, measured and written up. safety.bias has it. All values are plain JSON."""

    def suites(self) -> Sequence[Mapping[str, Any]]:
        """{"name", "title", "about", "prompts"} for each."""
        ...

    def plan(self, order: Mapping[str, Any]) -> Mapping[str, Any]:
        """What an order comes to, before it is started: {"n", "pictures", "half_width"}. Raises as `start`."""
        ...

    def start(self, order: Mapping[str, Any], principal: Principal) -> Mapping[str, Any]:
        """Begin an audit in the background. Raises InvalidParameter, Refused or Conflict."""
        ...

    def all(self) -> Sequence[Mapping[str, Any]]:
        """Newest first, without results."""
        ...

    def one(self, audit_id: str) -> Mapping[str, Any]:
        """With its result as far as there is one. Raises NotFound."""
        ...

    def cancel(self, audit_id: str) -> Mapping[str, Any]:
        """Stop it; what was made stays, and it can go on with `resume`."""
        ...

    def resume(self, audit_id: str, principal: Principal) -> Mapping[str, Any]: ...

    def sign(self, audit_id: str, name: str, note: str, principal: Principal) -> Mapping[str, Any]:
        """A reviewer accepts the report; goes into the audit log first."""
        ...

    def report(self, audit_id: str) -> Path:
        """The report as one HTML file. Raises NotFound."""
        ...

    def close(self) -> None: ...


@dataclass(frozen=True, slots=True)
class Trust:
    """Everything the desk is made of. `open_audits` takes the front desk, whose jobs the audits are."""

    log: AuditBook
    reviews: Reviews
    policy: PolicyDesk
    passports: Passports
    open_audits: Callable[[Any], Audits]


class Covered(Refused):
    """The picture is blurred or withheld, and nobody asked to see it all the same."""

    def __init__(self, record: Record) -> None:
        withheld = record.handling == "withhold"
        detail = f"This picture is {'withheld' if withheld else 'covered'}: {why_covered(record)}."
        hint = "The owner decides in Review." if withheld else "Ask for it with reveal=1 to see it all the same."
        super().__init__(detail, hint, None)


def why_covered(record: Record) -> str:
    """In words: a decision, a detector, or what admission found."""
    passport = record.passport
    if record.review:
        return "the owner decided so"
    flagged = [each for each in passport.inspection.detectors if each.state == "flagged"]
    if flagged:
        scores = ", ".join(f"{each.name} {each.score:.2f}" for each in flagged if each.score is not None)
        return f"flagged by {scores or 'a detector'}"
    found = ", ".join(dict.fromkeys(reason.category for reason in passport.reasons))
    if not found and passport.sources:
        return "a picture that it was made from was covered"
    return f"the prompt was found to touch {found}" if found else f"the policy {passport.policy} asks for it"


class TrustDesk:
    """Thread-safe, like all that it is made of."""

    def __init__(self, trust: Trust, history: HistoryStore, storage: Storage) -> None:
        self._trust = trust
        self._history = history
        self._storage = storage

    # ---- pictures that are covered

    def uncovered(self, record: Record, principal: Principal, *, reveal: bool) -> Path:
        """The file of a picture, if this caller may have it. Raises Covered."""
        if record.handling == "withhold" or (record.handling == "blur" and not reveal):
            raise Covered(record)
        if record.handling == "blur":
            self._trust.log.append("reveal", principal, {"record": record.id})
        return self._storage.path(record.path)

    def thumbnail(self, record: Record) -> Path:
        """A small picture: a blurred one while the picture is covered. Raises Covered where there is none to show."""
        small = record.thumbnail_path and self._storage.path(record.thumbnail_path)
        if record.handling == "show":
            made_open = record.passport.handling == "show"
            return small if small and made_open and small.is_file() else self._storage.path(record.path)
        if record.handling == "blur" and record.passport.handling == "blur" and small and small.is_file():
            return small
        raise Covered(record)

    def check_brought(self, sha256: str) -> None:
        """Raises Covered if a picture that somebody brought along is one of ours that has been withheld."""
        record = self._history.by_sha256(sha256)
        if record is not None and record.handling == "withhold":
            raise Covered(record)

    def check_deletion(self, record: Record, principal: Principal) -> None:
        """Raises NotAllowed for anybody but the owner if the picture is withheld: it waits for a decision."""
        if record.handling == "withhold":
            _owner(principal, "delete pictures that are withheld")

    def waiting(self, before: str | None, limit: int) -> HistoryPage:
        """Covered pictures that nobody has decided about."""
        return self._trust.reviews.waiting(before, limit)

    def reviewed_file(self, record_id: str, principal: Principal) -> Path:
        """Any picture, for the owner in the review."""
        _owner(principal, "see pictures that are withheld")
        record = self._found(record_id)
        if record.handling != "show":
            self._trust.log.append("reveal", principal, {"record": record.id, "in": "review"})
        return self._storage.path(record.path)

    def decide(self, record_id: str, decision: str, note: str, principal: Principal) -> Record:
        """Raises NotAllowed, NotFound or InvalidParameter."""
        _owner(principal, "decide about pictures")
        found = next((each for each in DECISIONS if each == decision), None)
        if found is None:
            raise InvalidParameter("decision", f'"{decision[:40]}" is no decision.', f"Choose: {', '.join(DECISIONS)}.")
        if len(note) > LONGEST_NOTE:
            raise InvalidParameter("note", f"The note has {len(note)} characters; {LONGEST_NOTE} are the most.")
        record = self._found(record_id)
        facts = {"record": record.id, "decision": found, "was": record.handling}
        self._trust.log.append("review", principal, facts, {"note": note} if note else None)
        return self._trust.reviews.decide(record.id, found, principal.id, note)

    # ---- what is in force and on record

    def policy(self) -> Mapping[str, Any]:
        return self._trust.policy.shown()

    def change_policy(self, edit: Mapping[str, Any], principal: Principal) -> Mapping[str, Any]:
        self._trust.policy.change(edit, principal, self._trust.log)
        return self._trust.policy.shown()

    def passport(self, record: Record | None, report: VerifyReport | None) -> Mapping[str, Any]:
        return self._trust.passports.page(record, report)

    def log_page(self, before: int | None, limit: int, principal: Principal) -> Mapping[str, Any]:
        _owner(principal, "read the audit log")
        return self._trust.log.page(before, limit)

    def log_verified(self, principal: Principal) -> Mapping[str, Any]:
        _owner(principal, "check the audit log")
        return self._trust.log.verified()

    def record(
        self, event: str, principal: Principal, facts: Mapping[str, Any], texts: Mapping[str, str] | None = None
    ) -> str:
        """Write an entry; what it is about may only happen if this returns."""
        return self._trust.log.append(event, principal, facts, texts)

    def head(self) -> str:
        return self._trust.log.head()

    def _found(self, record_id: str) -> Record:
        record = self._history.get(record_id)
        if record is None:
            raise NotFound("record", record_id)
        return record


def _owner(principal: Principal, what: str) -> None:
    if "owner" not in principal.roles:
        raise NotAllowed(f"Only the owner may {what}.")
