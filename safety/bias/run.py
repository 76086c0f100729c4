"""Running an audit: its requests go through the front desk like everybody's, a few at a time, and can stop any time."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from backend import images
from backend.errors import Busy, InvalidParameter, Refused, SignetError, Unavailable
from backend.types import Job, Passport, Principal, Record
from safety.bias.audit import Picture, collect
from safety.bias.features import Features
from safety.bias.plan import Ask, AuditPlan, Facts, Failure, Measurement, requests

_IN_FLIGHT = 2
"""Jobs at a time: one that runs and one that waits, so that the engine is never idle and others get their turn."""
_UNFINISHED = frozenset({"queued", "running", "sealing"})
_MAX_PIXELS = 64_000_000
_COVERED = "covered by the policy, so it was not measured"
_BRINGS_PICTURES = frozenset({"mode", "init_image", "inpaint", "outpaint", "control", "upscale", "grid"})


class Desk(Protocol):
    """The part of the front desk (`backend.service.Service`) that an audit needs."""

    def submit(self, fields: Mapping[str, Any], principal: Principal) -> Job: ...
    def wait(self, job_id: str, timeout: float | None = None) -> Job: ...
    def cancel(self, job_id: str, principal: Principal) -> Job: ...
    def of_job(self, job_id: str) -> tuple[Record, ...]: ...
    def file(self, record_id: str, principal: Principal) -> Path: ...


class Notebook(Protocol):
    """Where what was seen is kept; see `keeping.AuditFolder`."""

    def append(self, one: Measurement | Failure) -> None: ...
    def measurements(self) -> tuple[Measurement, ...]: ...
    def failures(self) -> tuple[Failure, ...]: ...


@dataclass(frozen=True, slots=True)
class Progress:
    """Pictures done of all, and the seconds that are left if it goes on as in this run, None before the first."""

    done: int
    pictures: int
    seconds_left: float | None


def run(
    plan: AuditPlan,
    desk: Desk,
    principal: Principal,
    notebook: Notebook,
    features: Features,
    told: Callable[[Progress], object] = lambda _: None,
) -> bool:
    """Make and measure what is missing; whether all of it was done. A refusal or a failed job is noted and passed over.

    Ctrl+C (KeyboardInterrupt) cancels what is under way and returns False: everything measured so far is kept. Raises
    InvalidParameter for a plan that would bring pictures, and what `submit` raises when nothing at all can be made.
    """
    brought = sorted(_BRINGS_PICTURES & plan.fields.keys())
    if brought:
        raise InvalidParameter(brought[0], "An audit looks at pictures made from words alone.", "Leave this field out.")
    before: list[Measurement | Failure] = [*notebook.measurements(), *notebook.failures()]
    clock = _Clock(plan.pictures, sum(one.count if isinstance(one, Failure) else 1 for one in before))
    waiting: deque[tuple[Ask, Job]] = deque()
    try:
        for ask in requests(plan, before):
            while len(waiting) >= _IN_FLIGHT:
                told(clock.after(_take(plan, desk, principal, waiting.popleft(), notebook, features)))
            job = _submit(desk, ask, principal, notebook)
            if job is None:
                told(clock.after(ask.count))
            else:
                waiting.append((ask, job))
        while waiting:
            told(clock.after(_take(plan, desk, principal, waiting.popleft(), notebook, features)))
    except KeyboardInterrupt:
        _stop(plan, desk, principal, waiting, notebook, features)
        return False
    except SignetError:
        _stop(plan, desk, principal, waiting, notebook, features)
        raise
    return True


def _submit(desk: Desk, ask: Ask, principal: Principal, notebook: Notebook) -> Job | None:
    while True:
        try:
            return desk.submit(ask.fields, principal)
        except Refused as error:
            notebook.append(_failure(ask, error.problem.sentence()))
            return None
        except Busy as error:
            time.sleep(min(error.problem.retry_after or 1.0, 5.0))


def _take(
    plan: AuditPlan, desk: Desk, principal: Principal, one: tuple[Ask, Job], notebook: Notebook, features: Features
) -> int:
    """Wait for a job and measure its pictures; how many are settled. Raises Unavailable if the studio stops."""
    ask, job = one
    while job.state in _UNFINISHED:
        job = desk.wait(job.id, 0.5)
    records = desk.of_job(job.id)
    for record in records:
        notebook.append(_measured(plan, desk, principal, ask, record, features))
    if job.state == "interrupted":
        raise Unavailable("The studio stopped before the audit was done.", "Resume the audit; nothing is lost.")
    missing = sorted(set(range(ask.seed, ask.seed + ask.count)) - {record.passport.seed for record in records})
    why = str(job.problem.get("detail", "")) if job.problem else f"the job ended as {job.state}"
    for seed in missing:
        notebook.append(_failure(ask, why).model_copy(update={"seed": seed, "count": 1}))
    return ask.count


def _stop(
    plan: AuditPlan,
    desk: Desk,
    principal: Principal,
    waiting: deque[tuple[Ask, Job]],
    notebook: Notebook,
    features: Features,
) -> None:
    """Call off what is under way; pictures that were finished count, the rest is left for later."""
    for _, job in waiting:
        with suppress(SignetError):
            desk.cancel(job.id, principal)
    for ask, job in waiting:
        with suppress(SignetError):
            desk.wait(job.id, 10)
            for record in desk.of_job(job.id):
                notebook.append(_measured(plan, desk, principal, ask, record, features))


def _measured(
    plan: AuditPlan, desk: Desk, principal: Principal, ask: Ask, record: Record, features: Features
) -> Measurement | Failure:
    """A picture that is covered is not opened behind the policy's back: it counts as one that could not be measured."""
    try:
        if record.handling == "show":
            return collect(plan, ask, _picture(desk, principal, record), features)
        why = _COVERED
    except SignetError as error:
        why = error.problem.sentence()
    except OSError as error:
        why = f"its file cannot be read: {error.strerror}"
    return _failure(ask, why).model_copy(update={"seed": record.passport.seed, "count": 1})


def _picture(desk: Desk, principal: Principal, record: Record) -> Picture:
    passport = record.passport
    pixels = images.decode(desk.file(record.id, principal).read_bytes(), max_pixels=_MAX_PIXELS).pixels
    # What the owner has looked at and released may be seen as well.
    shown = passport.inspection.state in ("clean", "not-scanned") or record.review is not None
    return Picture(pixels, passport.seed, record.id, passport.sha256, shown, _facts(passport))


def _facts(passport: Passport) -> Facts:
    request, engine = passport.request, passport.engine
    networks = (f"{one.kind} {one.id} weight {one.weight:g} sha256 {one.sha256}" for one in passport.networks)
    return Facts(
        model=passport.model.id,
        model_sha256=passport.model.sha256,
        licence=passport.model.licence,
        networks=tuple(networks),
        sampler=request.sampler,
        schedule=request.schedule,
        steps=request.steps,
        cfg=request.cfg,
        width=passport.width,
        height=passport.height,
        engine=f"{engine.app}, torch {engine.torch}, {engine.device}, {engine.dtype}",
    )


def _failure(ask: Ask, why: str) -> Failure:
    return Failure(
        variant=ask.variant, identity=ask.identity, prompt=ask.prompt, seed=ask.seed, count=ask.count, why=why
    )


class _Clock:
    """How long the rest takes, from the pace of this run."""

    def __init__(self, pictures: int, done: int) -> None:
        self._pictures, self._before, self._done, self._start = pictures, done, done, time.monotonic()

    def after(self, settled: int) -> Progress:
        self._done += settled
        pace = (time.monotonic() - self._start) / (self._done - self._before)
        return Progress(self._done, self._pictures, (self._pictures - self._done) * pace)
