"""Identifiers: short, sortable by time, safe in file names and URLs."""

from __future__ import annotations

import secrets
import time

_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"  # Crockford's base 32: no i, l, o, u


def new_id() -> str:
    """18 characters: milliseconds since 1970 (9) and 45 random bits (9)."""
    return _base32(time.time_ns() // 1_000_000, 9) + _base32(secrets.randbits(45), 9)


def _base32(number: int, length: int) -> str:
    return "".join(_ALPHABET[number >> 5 * place & 31] for place in reversed(range(length)))
