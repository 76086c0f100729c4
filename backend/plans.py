"""Plans through the queue: every request of a plan is checked and admitted before the first one is queued.

A plan's sheets are jobs of their own, queued last; each waits for the jobs whose pictures it shows (backend.line).
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any, Protocol

from backend.errors import Conflict, InvalidParameter, NotFound, SignetError
from backend.hooks import Hooks
from backend.ids import new_id
from backend.settings import Settings
from backend.types import Job, Principal
from backend.types.plans import Draft, ExtensionState, Fields, FilledAxis, NameList, Plan, PlanKind, Sheet

_REMEMBERED = 200
"""Tickets of so many plans are kept, while the studio runs."""


class Queue(Protocol):
    """What is asked of the front desk. `admit` checks and admits a request and gives its job, which `enqueue` queues
    with others: all of them or none."""

    def admit(self, fields: Fields, principal: Principal) -> Job: ...
    def enqueue(self, jobs: Sequence[Job]) -> None: ...
    def cancel(self, job_id: str, principal: Principal) -> Job: ...
    def job(self, job_id: str) -> Job: ...


@dataclass(frozen=True, slots=True)
class PlanTicket:
    """A plan under way. `labels` say what each of `jobs` varies, in the same order."""

    id: str
    kind: str
    jobs: tuple[Job, ...]
    grids: tuple[Job, ...]
    shape: tuple[int, ...] = ()
    labels: tuple[str, ...] = ()


class PlanDesk:
    """Thread-safe."""

    def __init__(
        self, queue: Queue, hooks: Hooks, names: Callable[[NameList], tuple[str, ...]], settings: Settings
    ) -> None:
        self._queue = queue
        self._hooks = hooks
        self._names = names
        self._settings = settings
        self._lock = threading.Lock()
        self._tickets: dict[str, PlanTicket] = {}

    # ---- what there is

    def kinds(self) -> tuple[PlanKind, ...]:
        return tuple(self._hooks.plans().values())

    def axes(self) -> tuple[FilledAxis, ...]:
        """What a plot can vary, with every name a choice can be."""
        return tuple(FilledAxis(axis, self._choices(axis.extra, axis.names)) for axis in self._hooks.axes().values())

    def _choices(self, extra: tuple[str, ...], lists: tuple[NameList, ...]) -> tuple[str, ...]:
        return tuple(dict.fromkeys((*extra, *(name for kind in lists for name in self._names(kind)))))

    def extensions(self) -> tuple[ExtensionState, ...]:
        return self._hooks.states()

    # ---- making

    def draft(self, kind: str, fields: Fields, arguments: Mapping[str, Any]) -> Plan:
        """What a plan would make; its requests are not checked yet. Raises as `submit`."""
        plan = self._hooks.make(kind, fields, arguments)
        number, most = len(plan.drafts) + len(plan.sheets), self._settings.max_waiting_jobs
        if number > most:
            detail = f"This plan makes {number} jobs; at most {most} may wait."
            raise InvalidParameter("arguments", detail, "Use fewer values, or raise the setting max_waiting_jobs.")
        return plan

    def submit(self, kind: str, fields: Fields, arguments: Mapping[str, Any], principal: Principal) -> PlanTicket:
        """Queue everything, or nothing.

        Raises NotFound for a kind that is not there, Busy, or the SignetError that says which picture cannot be made.
        """
        plan = self.draft(kind, fields, arguments)
        jobs = tuple(self._admitted(draft, principal) for draft in plan.drafts)
        grids = tuple(self._queue.admit(_grid(sheet, jobs, plan), principal) for sheet in plan.sheets)
        self._queue.enqueue((*jobs, *grids))
        ticket = PlanTicket(new_id(), kind, jobs, grids, plan.shape, tuple(draft.label for draft in plan.drafts))
        with self._lock:
            self._tickets[ticket.id] = ticket
            while len(self._tickets) > _REMEMBERED:
                del self._tickets[next(iter(self._tickets))]
        return ticket

    def _admitted(self, draft: Draft, principal: Principal) -> Job:
        try:
            return self._queue.admit(draft.fields, principal)
        except SignetError as error:
            if draft.label:
                error.problem = replace(error.problem, detail=f"{draft.label}: {error.problem.detail}")
                error.args = (error.problem.sentence(),)
            raise

    # ---- afterwards

    def ticket(self, plan_id: str) -> PlanTicket:
        """With its jobs as they are now. Raises NotFound, also for a plan of an earlier run of the studio."""
        with self._lock:
            ticket = self._tickets.get(plan_id)
        if ticket is None:
            raise NotFound("plan", plan_id)
        return self._now(ticket)

    def _now(self, ticket: PlanTicket) -> PlanTicket:
        jobs, grids = (tuple(self._queue.job(job.id) for job in part) for part in (ticket.jobs, ticket.grids))
        return replace(ticket, jobs=jobs, grids=grids)

    def cancel(self, plan_id: str, principal: Principal) -> PlanTicket:
        """Cancel all that is left: the sheets first, so that none is laid from what just then was there, and what
        would start next last. Raises NotFound."""
        ticket = self.ticket(plan_id)
        waiting = [job for job in reversed(ticket.jobs) if job.state == "queued"]
        others = [job for job in ticket.jobs if job.state in ("running", "sealing", "interrupted")]
        for job in (*ticket.grids, *waiting, *others):
            with suppress(Conflict):  # it has ended already
                self._queue.cancel(job.id, principal)
        return self._now(ticket)


def _grid(sheet: Sheet, jobs: Sequence[Job], plan: Plan) -> Fields:
    """The request for a sheet. It stands in the history under the words of its first picture."""
    first = jobs[sheet.cells[0]].request
    return {
        "mode": "grid",
        "model": first.model,
        "prompt": first.prompt,
        "negative": first.negative,
        "styles": first.styles,
        "seed": first.seed,
        "policy": first.policy,
        "grid": {
            "cells": tuple(jobs[cell].id for cell in sheet.cells),
            "columns": sheet.columns,
            "column_labels": sheet.column_labels,
            "row_labels": sheet.row_labels,
            "title": sheet.title,
            "margin": sheet.margin,
        },
    }
