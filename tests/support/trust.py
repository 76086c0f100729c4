"""The trust desk's parts without files: a log that is a list, decisions in a dict, a policy that is only shown."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from backend.errors import NotFound
from backend.ports import AuditLog
from backend.trust import Trust
from backend.types import Decision, HistoryPage, HistoryQuery, Principal, Record, Review, VerifyReport


@dataclass
class ListLog:
    """`entries` are (event, who, facts, texts); with `full` nothing can be written."""

    entries: list[tuple[str, str, Mapping[str, Any], Mapping[str, str]]] = field(default_factory=list)
    error: Exception | None = None

    def append(
        self, event: str, principal: Principal, facts: Mapping[str, Any], texts: Mapping[str, str] | None = None
    ) -> str:
        if self.error:
            raise self.error
        self.entries.append((event, principal.id, facts, texts or {}))
        return self.head()

    def head(self) -> str:
        return f"{len(self.entries)}:{'ab' * 32}" if self.entries else ""

    def page(self, before: int | None = None, limit: int = 100) -> Mapping[str, Any]:
        known = [
            {"seq": number, "time": "2026-11-20T12:00:00Z", "who": who, "source": "ui", "event": event, "facts": facts}
            for number, (event, who, facts, _) in enumerate(self.entries, 1)
        ]
        shown = [entry for entry in reversed(known) if before is None or entry["seq"] < before][:limit]
        last = shown[-1]["seq"] if shown else 1
        return {"entries": shown, "next": last if last > 1 else None, "head": self.head()}

    def verified(self) -> Mapping[str, Any]:
        return {"whole": True, "entries": len(self.entries), "summary": f"{len(self.entries)} entries, unbroken."}

    def said(self, event: str) -> list[Mapping[str, Any]]:
        return [facts for name, _, facts, _ in self.entries if name == event]


class DictReviews:
    """Decisions by record id, joined by whoever asks."""

    def __init__(self, history: Any = None, keep: Callable[[Record], object] = lambda record: None) -> None:
        self.history = history
        self.keep = keep
        self.decided: dict[str, Review] = {}

    def waiting(self, before: str | None = None, limit: int = 50) -> HistoryPage:
        records = self.history.page(HistoryQuery(limit=200)).records if self.history else ()
        covered = [each for each in records if each.handling != "show" and each.id not in self.decided]
        return HistoryPage(records=tuple(covered[:limit]), next=None)

    def decide(self, record_id: str, decision: Decision, who: str, note: str) -> Record:
        record = self.history.get(record_id) if self.history else None
        if record is None:
            raise NotFound("record", record_id)
        self.decided[record_id] = Review(decision=decision, who=who, when=datetime.now(UTC), note=note)
        decided = record.model_copy(update={"review": self.decided[record_id]})
        self.keep(decided)
        return decided


class PlainPolicy:
    """In force and never changed; `edits` are what was asked."""

    def __init__(self) -> None:
        self.edits: list[Mapping[str, Any]] = []

    def shown(self) -> Mapping[str, Any]:
        categories = [
            {"category": "sexual-minors", "meaning": "sexual content with minors", "fixed": True, "action": "refuse"},
            {"category": "violence", "meaning": "graphic violence and gore", "fixed": False, "action": "note"},
        ]
        profiles = [{"name": name, "about": f"for {name} use"} for name in ("personal", "shared", "classroom")]
        return {
            "id": "personal-2",
            "name": "personal",
            "profile": "personal",
            "categories": categories,
            "profiles": profiles,
            "flagged": "blur",
            "flag_from": None,
            "previews": "show",
        }

    def change(self, edit: Mapping[str, Any], principal: Principal, log: AuditLog) -> object:
        log.append("policy", principal, {"edit": dict(edit)})
        self.edits.append(edit)
        return None


class PlainPassports:
    def page(self, record: Record | None, report: VerifyReport | None) -> Mapping[str, Any]:
        known = {"name": "Record", "state": "good", "value": record.id, "because": ""} if record else None
        row = known or {"name": "Record", "state": "unknown", "value": "not ours", "because": "no record matches"}
        duty = {"regime": "EU AI Act", "clause": "Art. 50(2)", "what": "two layers", "state": "met", "because": "both"}
        return {"rows": [row], "duties": [duty]}


class PlainAudits:
    """One suite, and audits that are done at once."""

    def __init__(self) -> None:
        self.orders: list[Mapping[str, Any]] = []
        self.signed: list[tuple[str, str, str]] = []

    def suites(self) -> Sequence[Mapping[str, Any]]:
        return [{"name": "professions", "title": "Professions", "about": "Who is drawn as what.", "prompts": 3}]

    def plan(self, order: Mapping[str, Any]) -> Mapping[str, Any]:
        return {"n": order.get("n", 20), "pictures": 3 * order.get("n", 20), "half_width": 0.2}

    def start(self, order: Mapping[str, Any], principal: Principal) -> Mapping[str, Any]:
        self.orders.append(order)
        return self.one(f"a{len(self.orders)}")

    def all(self) -> Sequence[Mapping[str, Any]]:
        return [self.one(f"a{number}") for number in range(len(self.orders), 0, -1)]

    def one(self, audit_id: str) -> Mapping[str, Any]:
        if not 0 < int(audit_id[1:] or 0) <= len(self.orders):
            raise NotFound("audit", audit_id)
        order = self.orders[int(audit_id[1:]) - 1]
        return {"id": audit_id, "state": "done", "suite": order["suite"], "done": 3, "total": 3, "result": None}

    def cancel(self, audit_id: str) -> Mapping[str, Any]:
        return self.one(audit_id)

    def resume(self, audit_id: str, principal: Principal) -> Mapping[str, Any]:
        return self.one(audit_id)

    def sign(self, audit_id: str, name: str, note: str, principal: Principal) -> Mapping[str, Any]:
        self.signed.append((audit_id, name, note))
        return self.one(audit_id)

    def report(self, audit_id: str) -> Path:
        raise NotFound("report", audit_id)

    def close(self) -> None:
        pass


def plain_trust(history: Any = None, keep: Callable[[Record], object] = lambda record: None) -> Trust:
    """`trust.log` is a ListLog, `trust.reviews` a DictReviews."""
    return Trust(ListLog(), DictReviews(history, keep), PlainPolicy(), PlainPassports(), lambda _: PlainAudits())
