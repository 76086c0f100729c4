"""The part of the composition root that is about trust: log, policy, review, gate and what they are opened from."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from backend.errors import SignetError
from backend.ids import new_id
from backend.latents import LatentDesk
from backend.library import LibraryDesk
from backend.settings import Settings
from backend.storage import Storage
from backend.trust import Trust
from backend.types import Pixels, Principal, Record, VerifyReport
from backend.version import VERSION
from db.audits import SqlAuditLog
from db.engine import Database
from db.history import SqlHistory
from db.reviews import SqlReviews
from safety.admit import Gate
from safety.anchors import AnchorFile
from safety.audit_log import Chain, audit_keys
from safety.bias.desk import AuditDesk
from safety.compliance import duties
from safety.keys import open_keys
from safety.passport_page import rows
from safety.policy_store import PolicyDesk
from safety.prompt_filter.reading import Opening
from safety.sources import Sources
from safety.watermark.latent_desk import LatentReader, Recovered, open_latent_reader

_LOG = logging.getLogger(__name__)


_SECONDS_FOR_NOISE = 60
_STATES: Mapping[str, str] = {"green": "good", "amber": "warn", "grey": "unknown"}


class _Pages:
    """Implements backend.trust.Passports."""

    def page(self, record: Record | None, report: VerifyReport | None) -> Mapping[str, Any]:
        passport = record.passport if record else None
        shown = [
            {"name": row.title, "state": _STATES[row.colour], "value": row.value, "because": row.reason}
            for row in rows(passport, report)
        ]
        return {"rows": shown, "duties": [asdict(duty) for duty in duties(passport, report)]}


@dataclass(frozen=True, slots=True)
class Kept:
    """Implements safety.verify.Lookups: the history, and the sealed files it speaks of."""

    history: SqlHistory
    storage: Storage

    def by_sha256(self, sha256: str) -> Record | None:
        return self.history.by_sha256(sha256)

    def marks(self) -> Iterable[tuple[str, int]]:
        return self.history.marks()

    def sealed(self, record_id: str) -> bytes | None:
        record = self.history.get(record_id)
        try:
            return self.storage.path(record.path).read_bytes() if record else None
        except (OSError, SignetError):
            return None


@dataclass(frozen=True, slots=True)
class Opened:
    """The trust desk's parts, and the log by its own name, since starting and closing it is not the desk's business."""

    desk: Trust
    log: SqlAuditLog


def open_trust(settings: Settings, database: Database, history: SqlHistory, policy: PolicyDesk) -> Opened:
    """Everything the trust desk is made of. Opens the keys; writes nothing."""
    keys = audit_keys(open_keys(settings.keys))
    anchors = AnchorFile(settings.data / "audit" / "anchors.jsonl", keys)
    log = SqlAuditLog(database, Chain(keys), anchors, keep_texts=settings.audit_texts, witnesses=history.audit_heads)
    desk = Trust(
        log=log,
        reviews=SqlReviews(database),
        policy=policy,
        passports=_Pages(),
        open_audits=lambda desk: AuditDesk(settings.audits, desk, log, settings.data / "suites", new_id),
    )
    return Opened(desk, log)


def open_gate(settings: Settings, library: LibraryDesk, policy: PolicyDesk) -> Gate:
    """Admission by the policy in force. What it reads with is opened on first use; where a part is missing, nothing is
    admitted."""
    sources = Sources(lambda sha256: library.input(sha256).path.read_bytes(), settings.upload_limit_mpx * 1_000_000)
    return Gate(policy.current, Opening(settings.opt_out_file), sources)


def open_readers(
    settings: Settings, history: SqlHistory, library: LibraryDesk, latents: LatentDesk
) -> tuple[LatentReader, ...]:
    """Readers of marks in the noise. None where no picture ever got such a mark: reading runs a model backwards."""
    if settings.latent_mark == "off" and not history.latent_seeds():
        return ()

    def recover(pixels: Pixels) -> Sequence[Recovered]:
        return latents.of_loaded(pixels, library.catalog.find, _SECONDS_FOR_NOISE)

    return (open_latent_reader(settings.keys, recover, history.latent_seeds),)


def begin_log(log: SqlAuditLog, settings: Settings, principal: Principal, policy: PolicyDesk, stack: ExitStack) -> None:
    """The studio has started: put that on record, with whether the end of the log is where it was left."""
    holds = log.tail_holds()
    if not holds:
        _LOG.error("the end of the audit log does not fit its newest anchor; run: python3 launch.py audit verify")
    tail = "holds" if holds else "broken"
    log.append("start", principal, {"app": VERSION, "policy": policy.current().id, "tail": tail})
    if settings.audit_text_days:
        log.erase(principal, before=datetime.now(UTC) - timedelta(days=settings.audit_text_days))
    log.watch()
    stack.callback(log.close)
