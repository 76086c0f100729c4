"""What the audit log in the database asks of the chain and of the file of anchors.

Both are handed in (safety.audit_log, safety.anchors): rooms beside each other do not know each other.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any, Protocol

from backend.types import Principal

Row = tuple[int, str, str, str]
"""An entry as it is kept: number, body, hash of the entry before, own hash."""
TextRow = tuple[int, str, bytes, bytes | None]
"""A text as it is kept: number of its entry, name, salt, UTF-8; None where only the commitment is kept."""


class Link(Protocol):
    """A new entry; see safety.audit_log.Link."""

    @property
    def row(self) -> Row: ...
    @property
    def texts(self) -> tuple[TextRow, ...]: ...


class Report(Protocol):
    """See safety.audit_log.Report."""

    def plain(self) -> dict[str, Any]: ...


class Chain(Protocol):
    """See safety.audit_log.Chain."""

    def link(
        self,
        last: tuple[int, str] | None,
        when: datetime,
        principal: Principal,
        event: str,
        facts: Mapping[str, Any],
        texts: Mapping[str, str] | None = None,
        *,
        keep_texts: bool = False,
    ) -> Link: ...

    def check(self, rows: Iterable[Row], texts: Iterable[TextRow] = (), witnesses: Iterable[str] = ()) -> Report: ...

    def covers(self, rule: Mapping[str, Any], body: str) -> bool: ...


class Heads(Protocol):
    """What a file of anchors holds; see safety.anchors.Anchors."""

    @property
    def heads(self) -> tuple[str, ...]: ...
    @property
    def problem(self) -> str | None: ...


class Anchors(Protocol):
    """See safety.anchors.AnchorFile."""

    def passed(self, number: int, digest: str) -> None: ...
    def write(self, number: int, digest: str) -> bool: ...
    def read(self) -> Heads: ...
