"""The audit log in the database: entries that are only ever added, and the texts beside them, which may be erased.

How entries are linked and checked is the chain's business (safety.audit_log), which is handed in; here every entry is
one transaction, so that whoever writes at the same time, from whatever process, gets the next number.
"""

from __future__ import annotations

import logging
import sqlite3
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Self

from sqlalchemy import Connection, select, text

from backend.errors import InvalidParameter
from backend.types import Principal
from db import audit_rows
from db.audit_ports import Anchors, Chain, Row
from db.engine import Database
from db.tables import audit_entries, audit_texts, utc

MAX_PAGE = 500
_LOCK = 7_318_349_394_477_057
"""The advisory lock of PostgreSQL under which one entry is written at a time."""

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Erased:
    """How many texts were erased, of how many entries, and the entry that says so ("" if there were none)."""

    entries: int
    texts: int
    head: str


class SqlAuditLog:
    """backend.ports.AuditLog over the database. Thread-safe; several processes may share one log.

    With `keep_texts` what people wrote is kept until it is erased; else only commitments to it are, with their salts,
    by which somebody who has a text can show that it is the one. `witnesses` are heads from elsewhere, such as the
    Passports of the history.
    """

    def __init__(
        self,
        database: Database,
        chain: Chain,
        anchors: Anchors,
        *,
        keep_texts: bool = False,
        witnesses: Callable[[], Iterable[str]] = tuple,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._database = database
        self._chain = chain
        self._anchors = anchors
        self._keep_texts = keep_texts
        self._witnesses = witnesses
        self._clock = clock
        self._turn = threading.Lock()
        self._closing = threading.Event()
        self._hourly: threading.Thread | None = None

    def append(
        self, event: str, principal: Principal, facts: Mapping[str, Any], texts: Mapping[str, str] | None = None
    ) -> str:
        """Write one entry durably and return the new head, "number:hash".

        Raises StorageFull, Busy or another SignetError: then nothing was written, and what it is about must not happen.
        """
        with self._turn, self._writing() as connection:
            row = self._add(connection, event, principal, facts, texts)
        self._anchors.passed(row[0], row[3])
        return audit_rows.head(row)

    def head(self) -> str:
        """The newest entry, "" in an empty log."""
        with self._database.reading() as connection:
            last = audit_rows.last(connection)
        return f"{last[0]}:{last[1]}" if last else ""

    def page(self, before: int | None = None, limit: int = 100) -> Mapping[str, Any]:
        """{"entries": [...], "next", "head"}, newest first; `next` is the `before` of the following page, or None.

        Raises InvalidParameter for a bad limit.
        """
        if not 1 <= limit <= MAX_PAGE:
            raise InvalidParameter("limit", f"A page holds 1 to {MAX_PAGE} entries.")
        question = select(audit_entries).order_by(audit_entries.c.seq.desc()).limit(limit + 1)
        if before is not None:
            question = question.where(audit_entries.c.seq < min(before, 2**62))
        with self._database.reading() as connection:
            rows = connection.execute(question).all()
            shown = rows[:limit]
            numbers = [row.seq for row in shown]
            kept = connection.execute(select(audit_texts).where(audit_texts.c.seq.in_(numbers))).all()
            last = audit_rows.last(connection)
        texts = {(each.seq, each.name): each for each in kept}
        return {
            "entries": [audit_rows.shown(row.seq, row.body, row.hash, texts) for row in shown],
            "next": shown[-1].seq if len(rows) > limit else None,
            "head": f"{last[0]}:{last[1]}" if last else "",
        }

    def verified(self, witnesses: Iterable[str] = ()) -> Mapping[str, Any]:
        """Check the whole chain against every witness; see safety.audit_log.Report.plain. `anchors` counts the file's.

        Works beside a running studio: the chain is read as it stood at one moment, the witnesses before that.
        """
        anchored = self._anchors.read()
        known = [*anchored.heads, *filter(None, self._witnesses()), *witnesses]
        with self._database.reading() as connection:
            audit_rows.unchanging(connection)
            report = self._chain.check(audit_rows.rows(connection), audit_rows.texts(connection), known).plain()
        report["anchors"] = len(anchored.heads)
        if anchored.problem:
            # The chain itself may hold: but one of its witnesses was silenced, and that is no accident of a crash.
            report["whole"] = False
            if report["fault"] is None:
                report["fault"] = {"number": 0, "kind": "anchors", "detail": anchored.problem}
                report["summary"] = f"A witness was silenced: {anchored.problem}."
        return report

    def tail_holds(self) -> bool:
        """Whether the newest anchor names an entry that is there: a quick look for every start."""
        heads = self._anchors.read().heads
        if not heads:
            return True
        number, _, digest = heads[-1].partition(":")
        with self._database.reading() as connection:
            found = connection.scalar(select(audit_entries.c.hash).where(audit_entries.c.seq == int(number)))
        return bool(found == digest)

    def exported(self) -> Iterator[Mapping[str, Any]]:
        """Every entry as it is kept, with its texts: what a check needs, given the key. Oldest first."""
        with self._database.reading() as connection:
            audit_rows.unchanging(connection)
            beside = audit_rows.texts(connection)
            ahead = next(beside, None)
            for number, body, previous, digest in audit_rows.rows(connection):
                texts: dict[str, dict[str, str | None]] = {}
                while ahead is not None and ahead[0] <= number:
                    texts[ahead[1]] = {"salt": ahead[2].hex(), "text": None if ahead[3] is None else ahead[3].hex()}
                    ahead = next(beside, None)
                yield {"number": number, "body": body, "previous": previous, "hash": digest, "texts": texts}

    def erase(
        self,
        who: Principal,
        *,
        principal: str | None = None,
        job: str | None = None,
        record: str | None = None,
        before: datetime | None = None,
    ) -> Erased:
        """Erase texts and salts of all entries that fit what is named, in the transaction that writes this down.

        The entries stay, with what is in them: numbers, times, ids and facts. Copies of the database that were made
        before still hold the texts. Raises InvalidParameter if nothing is named.
        """
        moment = None if before is None else utc(before).isoformat(timespec="microseconds")
        named = {
            "principal": principal,
            "job": job,
            "record": record,
            "before": moment and moment.replace("+00:00", "Z"),
        }
        rule = {name: value for name, value in named.items() if value is not None}
        if not rule:
            raise InvalidParameter("principal", "Say whose texts to erase, or of what time.")
        with self._turn, self._writing() as connection:
            last = audit_rows.last(connection)
            rule["through"] = last[0] if last else 0  # type: ignore[assignment]
            found = [seq for seq, body in audit_rows.with_texts(connection) if self._chain.covers(rule, body)]
            if not found:
                return Erased(0, 0, "")
            texts = audit_rows.erased(connection, found)
            facts = {**rule, "entries": len(found), "texts": texts}
            row = self._add(connection, "erase", who, facts)
        self._anchors.passed(row[0], row[3])
        self._sweep()
        return Erased(len(found), texts, audit_rows.head(row))

    def anchor(self) -> None:
        """Write the newest head down outside the database."""
        with self._database.reading() as connection:
            last = audit_rows.last(connection)
        if last:
            self._anchors.write(*last)

    def watch(self, seconds: float = 3600.0) -> None:
        """Anchor now, and then every `seconds` until `close`, also when nothing happens for hours."""
        self.anchor()
        self._hourly = threading.Thread(target=self._anchor_again, args=(seconds,), name="audit-anchor", daemon=True)
        self._hourly.start()

    def close(self) -> None:
        """Anchor the newest entry and stop watching. For the end of the program, before the database is closed."""
        self._closing.set()
        if self._hourly:
            self._hourly.join(timeout=5)
        self.anchor()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _anchor_again(self, seconds: float) -> None:
        while not self._closing.wait(seconds):
            try:
                self.anchor()
            except Exception:  # noqa: BLE001 - a thread of its own: logged, and tried again
                _LOG.exception("the audit log could not be anchored")

    @contextmanager
    def _writing(self) -> Iterator[Connection]:
        """A transaction in which nobody else adds an entry."""
        with self._database.writing() as connection:
            if not self._database.sqlite:
                connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _LOCK})
            yield connection

    def _add(
        self,
        connection: Connection,
        event: str,
        principal: Principal,
        facts: Mapping[str, Any],
        texts: Mapping[str, str] | None = None,
    ) -> Row:
        last, when = audit_rows.last(connection), self._clock()
        link = self._chain.link(last, when, principal, event, facts, texts, keep_texts=self._keep_texts)
        seq, body, previous, digest = link.row
        connection.execute(audit_entries.insert().values(seq=seq, body=body, prev_hash=previous, hash=digest))
        for _, name, salt, words in link.texts:
            connection.execute(audit_texts.insert().values(seq=seq, name=name, salt=salt, text=words))
        return link.row

    def _sweep(self) -> None:
        """Let the bytes go too. SQLite keeps erased rows in free pages (which `_erased` overwrites) and in its log."""
        if not self._database.sqlite:
            return
        with self._database.engine.connect() as connection:
            raw = connection.connection.cursor()  # past SQLAlchemy, which would begin a transaction
            try:
                busy = raw.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0]
            except sqlite3.Error:
                busy = 1
            finally:
                raw.close()
        if busy:
            _LOG.info("erased texts leave the write-ahead log when the database is next at rest")
