"""What the backend asks of the other rooms, as small protocols; the composition root hands in the implementations."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Protocol

from backend.types import (
    CheckedImage,
    Decision,
    GenerationRequest,
    HistoryPage,
    HistoryQuery,
    Job,
    JobState,
    Pixels,
    Principal,
    RawImage,
    Record,
    SealedImage,
    SourceLook,
    Verdict,
    VerifyReport,
)


class JobStore(Protocol):
    """The journal of jobs. `move` keeps to the table of legal moves in backend.queue."""

    def add(self, job: Job) -> None: ...

    def get(self, job_id: str) -> Job | None: ...

    def move(self, job_id: str, state: JobState, *, problem: Mapping[str, Any] | None = None) -> Job:
        """Change the state in one transaction; a move to "running" counts an attempt. Raises Conflict if not legal."""
        ...

    def unfinished(self) -> tuple[Job, ...]:
        """Jobs that are queued, running or sealing, oldest first."""
        ...

    def recent(self, principal_id: str, limit: int = 20) -> tuple[Job, ...]:
        """Newest first."""
        ...


class HistoryStore(Protocol):
    """Pictures that exist. Every commit is one transaction."""

    def intend(self, record: Record) -> None:
        """Note durably that the file of `record` is about to be written (replaces an earlier intent of the same id)."""
        ...

    def intents(self) -> tuple[Record, ...]: ...

    def forget(self, record_id: str) -> None:
        """Drop an intent whose file never came to be."""
        ...

    def commit(self, record: Record, *, last: bool) -> None:
        """Insert the record, drop its intent, and with `last` move the job to done: all or nothing.

        A record that is already there is left as it is, so that a repeat is harmless.
        """
        ...

    def get(self, record_id: str) -> Record | None: ...

    def page(self, query: HistoryQuery) -> HistoryPage: ...

    def by_sha256(self, sha256: str) -> Record | None: ...

    def marks(self) -> Iterable[tuple[str, int]]:
        """(record id, 48-bit mark id) of every picture."""
        ...

    def of_job(self, job_id: str) -> tuple[Record, ...]:
        """In order of index."""
        ...

    def rate(self, record_id: str, rating: int) -> Record: ...

    def delete(self, record_id: str) -> Record:
        """Remove the row and return what it was, so that storage can remove the file."""
        ...

    def choices(self) -> Mapping[str, tuple[str, ...]]:
        """Distinct values for the filters: {"model": (...), "sampler": (...)}."""
        ...


class Admission(Protocol):
    """Before the queue: request -> Verdict, or raises Refused."""

    def admit(self, request: GenerationRequest, principal: Principal) -> Verdict: ...


class SafetyDesk(Protocol):
    """In the engine process: the only door from pixels to bytes. Raises rather than let something pass unchecked."""

    def inspect(self, raw: RawImage) -> CheckedImage: ...

    def seal(self, checked: CheckedImage) -> SealedImage: ...

    def harmless(self, pixels: Pixels, verdict: Verdict) -> bool:
        """Whether a preview may be seen as it is; in doubt it may not."""
        ...


class Verifier(Protocol):
    """Any picture -> what can be said about it."""

    def verify(self, data: bytes, media_type: str, pixels: Pixels | None, infotext: str | None) -> VerifyReport:
        """`pixels` is None for a picture too damaged to decode, whose credentials can still be read."""
        ...


class AuditLog(Protocol):
    """The append-only record of decisions. An entry that cannot be written stops what it is about."""

    def append(
        self, event: str, principal: Principal, facts: Mapping[str, Any], texts: Mapping[str, str] | None = None
    ) -> str:
        """Write one entry durably and return the new head, "number:hash".

        `event` is one of backend.auditing.EVENTS, `facts` plain JSON values. `texts` (prompts, notes) are personal:
        they stand beside the chain, which holds only their salted commitments, so that they can be erased.
        Raises StorageFull or a SignetError: then nothing was written.
        """
        ...

    def head(self) -> str:
        """The newest entry, "" in an empty log."""
        ...


class Reviews(Protocol):
    """What the owner decided about pictures that were flagged or withheld."""

    def waiting(self, before: str | None = None, limit: int = 50) -> HistoryPage:
        """Pictures that are blurred or withheld and not decided, newest first."""
        ...

    def decide(self, record_id: str, decision: Decision, who: str, note: str) -> Record:
        """Raises NotFound. A later decision replaces an earlier one; the audit log keeps both."""
        ...


class SourceLooks(Protocol):
    """Looks at pictures that people bring, before anything is made from them."""

    def look(self, sha256: str) -> SourceLook:
        """Never raises: what cannot be looked at says so in `problem`."""
        ...
