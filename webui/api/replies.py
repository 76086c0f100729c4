"""JSON that never fails to encode, and RFC 9457 problem replies."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

from fastapi.responses import JSONResponse

from backend.errors import Problem, SignetError
from webui.messages import as_mapping


def _finite(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, Mapping):
        return {str(key): _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return value


class Reply(JSONResponse):
    """ASCII JSON: lone surrogates are escaped instead of raising, NaN and infinities become null."""

    def __init__(self, content: Any, status_code: int = 200, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(content, status_code, {"Cache-Control": "no-store", **(headers or {})})

    def render(self, content: Any) -> bytes:
        try:
            text = json.dumps(content, allow_nan=False, separators=(",", ":"))
        except ValueError:
            text = json.dumps(_finite(content), separators=(",", ":"))
        return text.encode("ascii")


class ProblemReply(Reply):
    """A Problem after RFC 9457, with Retry-After where waiting helps."""

    media_type = "application/problem+json"

    def __init__(self, problem: Problem) -> None:
        headers = {} if problem.retry_after is None else {"Retry-After": str(max(1, math.ceil(problem.retry_after)))}
        super().__init__(as_mapping(problem), problem.status, headers)


def http_problem(status: int, detail: str = "", *, field: str | None = None, hint: str | None = None) -> SignetError:
    """Faults of HTTP itself, which no other face can have."""
    titles = {
        400: ("bad-request", "This is not a valid request"),
        403: ("not-allowed", "Not allowed"),
        404: ("not-found", "Nothing is here"),
        405: ("method-not-allowed", "This address does not take that method"),
        413: ("too-large", "Too large"),
        415: ("unsupported-media-type", "Wrong content type"),
    }
    code, title = titles.get(status, ("http-error", "The request failed"))
    return SignetError(Problem(code, title, detail or title + ".", status, field, hint))
