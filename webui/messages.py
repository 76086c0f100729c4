"""Problem -> what the user reads, and any exception -> Problem. The same words in every face."""

from __future__ import annotations

import logging
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from backend.errors import Broken, InvalidParameter, Problem, SignetError

log = logging.getLogger(__name__)

TYPE_PREFIX = "/problems/"


def clean(text: str, limit: int = 2000) -> str:
    """Text that any encoder takes: lone surrogates and NUL become the replacement character."""
    return "".join("\ufffd" if char == "\x00" or "\ud800" <= char <= "\udfff" else char for char in text[:limit])


def problem_of(error: Exception) -> Problem:
    """The Problem to show for any exception. The unexpected is logged with a trace number, which alone is shown."""
    if isinstance(error, SignetError):
        return error.problem
    trace_id = secrets.token_hex(4)
    log.error("trace %s", trace_id, exc_info=error)
    return Broken(trace_id).problem


def as_mapping(problem: Problem) -> dict[str, Any]:
    """The Problem after RFC 9457, without empty members; every text can be encoded."""
    members: dict[str, Any] = {"type": TYPE_PREFIX + problem.code, **asdict(problem)}
    return {
        key: clean(value) if isinstance(value, str) else value for key, value in members.items() if value is not None
    }


def from_validation(errors: Sequence[Mapping[str, Any]]) -> Problem:
    """The first complaint of pydantic as our own Problem. The rejected value itself is never repeated."""
    first = errors[0] if errors else {}
    path = [str(part) for part in first.get("loc", ()) if part not in ("body", "query", "path", "header")]
    field = clean(".".join(path), 80) or "request"
    return InvalidParameter(field, f"{field}: {clean(str(first.get('msg', 'not valid')), 200)}.").problem
