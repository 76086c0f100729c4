"""The small parts that the audit log is made of: one way to write JSON, keyed hashes, commitments, heads."""

from __future__ import annotations

import hmac
import json
import re
from datetime import UTC, datetime
from typing import Any

FIRST = "0" * 64
"""Stands where the hash before the first entry would be."""
_HEAD = re.compile(r"([1-9][0-9]{0,17}):([0-9a-f]{64})")

Row = tuple[int, str, str, str]
"""An entry as it is kept: number, body, hash of the entry before, own hash."""
TextRow = tuple[int, str, bytes, bytes | None]
"""A text as it is kept: number of its entry, name, salt, UTF-8; None where only the commitment is kept."""


def canonical(value: Any) -> str:
    """The one way to write a JSON value here. Raises TypeError or ValueError for what is not plain JSON."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)


def commitment(salt: bytes, name: str, text: bytes) -> str:
    """What the chain holds of a text: HMAC-SHA256 under its salt, which says nothing without the salt."""
    return hmac.digest(salt, name.encode() + b"\0" + text, "sha256").hex()


def head_of(number: int, digest: str) -> str:
    """ "number:hash", as Passports and anchors quote it; "" for an empty log."""
    return f"{number}:{digest}" if number else ""


def read_head(head: str) -> tuple[int, str] | None:
    """The two parts of a head, None if it is none."""
    found = _HEAD.fullmatch(head)
    return (int(found[1]), found[2]) if found else None


def digest(key: bytes, previous: str, body: str) -> str:
    """HMAC-SHA256 over the hash of the entry before and this one's bytes, in hex."""
    return hmac.digest(key, (previous + body).encode("utf-8", "surrogateescape"), "sha256").hex()


def stamp(when: datetime) -> str:
    """A moment in UTC as the log writes it; such texts sort like the moments."""
    return when.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
