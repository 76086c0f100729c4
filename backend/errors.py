"""The exception tree. Every SignetError carries a Problem that is safe to show to anybody.

Each face (browser, native API, command line) renders the same Problem in its own dress; none invents a text of its own.
"""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Problem:
    """What a user is told when something is refused or fails (after RFC 9457).

    `code` is stable and machine-readable, `title` names the problem, `detail` says what was wrong this time,
    `hint` says what to do next, `field` names the input at fault, `retry_after` is in seconds.
    """

    code: str
    title: str
    detail: str
    status: int = 400
    field: str | None = None
    hint: str | None = None
    retry_after: float | None = None

    def sentence(self) -> str:
        """The whole problem as one line of plain text."""
        return " ".join(part for part in (self.detail, self.hint) if part)


class SignetError(Exception):
    """Base of all expected errors."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem.sentence())
        self.problem = problem

    def __reduce__(self) -> tuple[object, ...]:
        # Errors cross the pipe between engine and studio; subclasses have other signatures than Exception expects.
        return (_rebuild, (type(self), self.problem))


def _rebuild(kind: type[SignetError], problem: Problem) -> SignetError:
    error = kind.__new__(kind)
    SignetError.__init__(error, problem)
    return error


class BadRequest(SignetError):
    """The request cannot be carried out as written."""


class InvalidParameter(BadRequest):
    def __init__(self, field: str, detail: str, hint: str | None = None) -> None:
        super().__init__(Problem("invalid-parameter", "A value cannot be used", detail, 422, field, hint))


def _nearest(name: str, choices: Sequence[str]) -> str:
    folded = {choice.casefold(): choice for choice in choices}
    close = difflib.get_close_matches(name.casefold(), folded, n=3, cutoff=0.4)
    named = ", ".join(f'"{folded[match]}"' for match in close)
    return f"Did you mean {named}?" if close else "Choose one of: " + ", ".join(choices) + "."


class UnknownSampler(BadRequest):
    def __init__(self, name: str, choices: Sequence[str], field: str = "sampler") -> None:
        detail = f'There is no {field} called "{name[:80]}".'
        super().__init__(Problem("unknown-sampler", f"Unknown {field}", detail, 422, field, _nearest(name, choices)))


class UnknownModel(BadRequest):
    """`what` is the kind in words ("LoRA"), `folder` where such files belong below data/models."""

    def __init__(
        self, name: str, choices: Sequence[str], what: str = "model", field: str = "model", folder: str = "checkpoints"
    ) -> None:
        detail = f'There is no {what} called "{name[:80]}".'
        hint = _nearest(name, choices) if choices else f"Put one under data/models/{folder}."
        super().__init__(Problem("unknown-model", f"Unknown {what}", detail, 422, field, hint))


class UnreadableModel(BadRequest):
    """A model file is truncated, renamed, of a forbidden format or of an unknown architecture."""

    def __init__(self, name: str, detail: str, hint: str | None = None) -> None:
        super().__init__(Problem("unreadable-model", f'"{name}" cannot be loaded', detail, 422, "model", hint))


class UnreadableImage(BadRequest):
    def __init__(self, detail: str, hint: str = "Use a PNG, JPEG, WebP or AVIF file.") -> None:
        super().__init__(Problem("unreadable-image", "This picture cannot be read", detail, 422, "file", hint))


class NotFound(BadRequest):
    def __init__(self, what: str, ident: str) -> None:
        super().__init__(Problem("not-found", f"No such {what}", f"There is no {what} {ident[:80]}.", 404))


class Conflict(BadRequest):
    """The thing exists, but its state does not allow this."""

    def __init__(self, detail: str, hint: str | None = None) -> None:
        super().__init__(Problem("conflict", "Not possible now", detail, 409, hint=hint))


class Refused(SignetError):
    """The policy says no. `reasons` are shown; the prompt stays with the user."""

    def __init__(self, detail: str, hint: str | None = None, field: str | None = "prompt") -> None:
        super().__init__(Problem("refused", "Refused by the policy", detail, 403, field, hint))


class NotAllowed(SignetError):
    def __init__(self, detail: str, hint: str | None = None) -> None:
        super().__init__(Problem("not-allowed", "Not allowed", detail, 403, hint=hint))


class Busy(SignetError):
    def __init__(self, detail: str, retry_after: float) -> None:
        super().__init__(Problem("busy", "Too much waiting already", detail, 429, retry_after=retry_after))


class OutOfMemory(SignetError):
    """`free` are the bytes of memory that are left, None where the device does not tell."""

    def __init__(self, what: str, free: int | None, hint: str) -> None:
        detail = f"There is not enough memory for {what}"
        detail += "." if free is None else f": {free / 2**20:.0f} MiB are free."
        super().__init__(Problem("out-of-memory", "Not enough memory", detail, 507, hint=hint))


class StorageFull(SignetError):
    """`needed` and `free` are bytes. Nothing was half-written."""

    def __init__(self, needed: int, free: int) -> None:
        detail = f"The disk has {free / 2**20:.0f} MiB free and this needs {needed / 2**20:.0f} MiB."
        hint = "Free some space; the studio goes on without a restart."
        super().__init__(Problem("storage-full", "The disk is full", detail, 507, hint=hint))


class Unavailable(SignetError):
    """Something the request needs is down or missing on this machine."""

    def __init__(self, detail: str, hint: str | None = None, retry_after: float | None = None) -> None:
        super().__init__(Problem("unavailable", "Not available", detail, 503, hint=hint, retry_after=retry_after))


class EngineCrashed(SignetError):
    def __init__(self, detail: str) -> None:
        hint = "The engine is restarting by itself; run the request again."
        super().__init__(Problem("engine-crashed", "The engine stopped", detail, 500, hint=hint))


class Broken(SignetError):
    """Our bug. The user sees `trace_id`; the log holds the trace."""

    def __init__(self, trace_id: str) -> None:
        detail = f"Something in Signet broke (trace {trace_id})."
        hint = "The log under data/logs has the details; please report it with the trace number."
        super().__init__(Problem("broken", "Internal error", detail, 500, hint=hint))
