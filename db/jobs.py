"""The journal of jobs: what was asked, by whom, and how far it came."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Connection, Row, func, select

from backend.errors import NotFound
from backend.queue import UNFINISHED, check_move
from backend.types import GenerationRequest, Job, JobState, Principal, SpokenReason, Verdict
from db.engine import Database
from db.tables import jobs, records


def read_job(row: Row[Any]) -> Job:
    """A row of `jobs` as the shape everybody knows."""
    return Job(
        id=row.id,
        request=GenerationRequest.model_validate(row.request),
        principal=Principal(row.principal_id, frozenset(row.principal_roles), row.principal_source),
        state=row.state,
        created=row.created,
        updated=row.updated,
        verdict=_verdict(row.verdict),
        attempt=row.attempt,
        images=row.images,
        problem=row.problem,
    )


def _verdict(kept: Mapping[str, Any]) -> Verdict:
    """All that was decided, so that a job that is resumed is treated by the policy under which it was admitted."""
    reasons = tuple(SpokenReason(**reason) for reason in kept["reasons"])
    return Verdict(**{**kept, "reasons": reasons, "offers": tuple(kept.get("offers", ()))})


def move_within(
    connection: Connection, job_id: str, state: JobState, problem: Mapping[str, Any] | None = None
) -> Row[Any]:
    """Move a job as part of a larger transaction. Raises NotFound, or Conflict if the move is not legal."""
    found = connection.execute(select(jobs).where(jobs.c.id == job_id).with_for_update()).one_or_none()
    if found is None:
        raise NotFound("job", job_id)
    check_move(found.state, state)
    changes = {
        "state": state,
        "updated": datetime.now(UTC),
        "attempt": found.attempt + (state == "running"),
        "problem": None if problem is None else dict(problem),
    }
    connection.execute(jobs.update().where(jobs.c.id == job_id).values(**changes))
    return connection.execute(select(jobs).where(jobs.c.id == job_id)).one()


def count_images(connection: Connection, job_id: str) -> None:
    """Bring a job's number of pictures up to what the history holds."""
    there = select(func.count()).select_from(records).where(records.c.job_id == job_id).scalar_subquery()
    connection.execute(jobs.update().where(jobs.c.id == job_id).values(images=there))


class SqlJobs:
    """backend.ports.JobStore over the database. Every call is one short transaction."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def add(self, job: Job) -> None:
        """Write a new job down. Its id must be new."""
        row = {
            "id": job.id,
            "state": job.state,
            "principal_id": job.principal.id,
            "principal_roles": sorted(job.principal.roles),
            "principal_source": job.principal.source,
            "created": job.created,
            "updated": job.updated,
            "attempt": job.attempt,
            "images": job.images,
            "request": job.request.model_dump(mode="json"),
            "verdict": asdict(job.verdict),
            "problem": None if job.problem is None else dict(job.problem),
        }
        with self._database.writing() as connection:
            connection.execute(jobs.insert().values(row))

    def get(self, job_id: str) -> Job | None:
        with self._database.reading() as connection:
            row = connection.execute(select(jobs).where(jobs.c.id == job_id)).one_or_none()
        return None if row is None else read_job(row)

    def move(self, job_id: str, state: JobState, *, problem: Mapping[str, Any] | None = None) -> Job:
        """Change the state; a move to "running" counts an attempt, and the problem is replaced by what is given here.

        Raises NotFound, or Conflict if backend.queue does not allow the move.
        """
        with self._database.writing() as connection:
            return read_job(move_within(connection, job_id, state, problem))

    def unfinished(self) -> tuple[Job, ...]:
        """Jobs that are queued, running or sealing, oldest first."""
        question = select(jobs).where(jobs.c.state.in_(sorted(UNFINISHED))).order_by(jobs.c.seq)
        with self._database.reading() as connection:
            return tuple(read_job(row) for row in connection.execute(question))

    def recent(self, principal_id: str, limit: int = 20) -> tuple[Job, ...]:
        """The jobs of one principal, newest first."""
        question = select(jobs).where(jobs.c.principal_id == principal_id).order_by(jobs.c.seq.desc()).limit(limit)
        with self._database.reading() as connection:
            return tuple(read_job(row) for row in connection.execute(question))
