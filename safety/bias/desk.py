"""Audits behind the front desk: started, watched, stopped and signed from the browser. Implements backend.trust.Audits.

One audit runs at a time, in a thread of its own, as ordinary jobs. What was measured lies in its folder picture by
picture; a studio that stops in between offers to go on.
"""

from __future__ import annotations

import hashlib
import logging
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol

from backend.errors import Broken, Conflict, NotFound, Problem, SignetError
from backend.types import Principal
from safety.bias import run as running
from safety.bias.features import Features, open_features
from safety.bias.intervals import half_width
from safety.bias.keeping import AuditFolder, audits
from safety.bias.orders import order_of, plan_of
from safety.bias.plan import AuditPlan, SignOff
from safety.bias.suites import load_suite, suites
from safety.bias.writing import now, page, write_up

_LOG = logging.getLogger(__name__)
_SECONDS_TO_STOP = 20


class Front(running.Desk, Protocol):
    """The front desk, as far as audits need it."""

    @property
    def settings(self) -> Any: ...

    def thumbnail(self, record_id: str) -> Path: ...


class Log(Protocol):
    """The part of backend.ports.AuditLog that is needed here."""

    def append(
        self, event: str, principal: Principal, facts: Mapping[str, Any], texts: Mapping[str, str] | None = None
    ) -> str: ...


class _Running:
    """The audit under way. Stopping it looks to the run like Ctrl+C."""

    def __init__(self, plan: AuditPlan) -> None:
        self.plan = plan
        self.stopping = threading.Event()
        self.progress = running.Progress(0, plan.pictures, None)
        self.problem: Problem | None = None
        self.thread: threading.Thread | None = None

    def told(self, progress: running.Progress) -> None:
        self.progress = progress
        if self.stopping.is_set():
            raise KeyboardInterrupt


class AuditDesk:
    """Thread-safe. `root` is data/audits, `own` the folder of the user's own suites, `new_id` makes sortable ids."""

    def __init__(
        self,
        root: Path,
        desk: Front,
        log: Log,
        own: Path,
        new_id: Callable[[], str],
        features: Callable[[], Features] = open_features,
    ) -> None:
        self._root, self._desk, self._log, self._own, self._open = root, desk, log, own, features
        self._new_id = new_id
        self._lock = threading.Lock()
        self._running: _Running | None = None
        self._problems: dict[str, Problem] = {}
        self._pace: float | None = None
        self._told: dict[str, tuple[tuple[int, ...], Mapping[str, Any]]] = {}

    def suites(self) -> Sequence[Mapping[str, Any]]:
        found = []
        for name in suites(self._own):
            with suppress(SignetError):
                suite = load_suite(name, self._own)
                shown = {"name": suite.name, "title": suite.title, "about": suite.about, "kind": suite.kind}
                found.append({**shown, "prompts": len(suite.prompts), "identities": len(suite.identities)})
        return found

    def plan(self, order: Mapping[str, Any]) -> Mapping[str, Any]:
        plan = self._planned(order, "draft")
        seconds = None if self._pace is None else self._pace * plan.pictures
        size = {"n": plan.n, "pictures": plan.pictures, "half_width": half_width(plan.n), "seconds": seconds}
        return {**size, "measures": list(plan.measures), "prompts": [one.text for one in plan.suite.prompts]}

    def start(self, order: Mapping[str, Any], principal: Principal) -> Mapping[str, Any]:
        features = self._open()
        plan = self._planned(order, self._new_id()).model_copy(update={"features": features.name})
        with self._lock:
            self._check_free()
            folder = AuditFolder(self._root, plan.id)
            folder.create(plan)
            self._begin(plan, folder, features, principal)
        return self.one(plan.id)

    def resume(self, audit_id: str, principal: Principal) -> Mapping[str, Any]:
        folder = AuditFolder(self._root, audit_id)
        plan, features = folder.plan(), self._open()
        if plan.features != features.name:
            raise Conflict("The audit was begun with other features.", "Start a new one.")
        with self._lock:
            self._check_free()
            folder.forget_failures()
            self._begin(plan, folder, features, principal)
        return self.one(audit_id)

    def cancel(self, audit_id: str) -> Mapping[str, Any]:
        with self._lock:
            now = self._running
            if now and now.plan.id == audit_id:
                now.stopping.set()
        return self.one(audit_id)

    def all(self) -> Sequence[Mapping[str, Any]]:
        found = []
        for ident in audits(self._root):
            with suppress(SignetError):
                found.append(self._line(AuditFolder(self._root, ident)))
        return found

    def one(self, audit_id: str) -> Mapping[str, Any]:
        folder = AuditFolder(self._root, audit_id)
        line = self._line(folder)
        with suppress(NotFound):
            return {**line, "result": folder.result().model_dump(mode="json")}
        return {**line, "result": None}

    def sign(self, audit_id: str, name: str, note: str, principal: Principal) -> Mapping[str, Any]:
        folder = AuditFolder(self._root, audit_id)
        result = folder.result()
        if self._is_running(audit_id):
            raise Conflict("The audit is still running.", "Sign it when it is through.")
        if result.sign_off:
            raise Conflict(
                f"The report was signed off by {result.sign_off.who}.", "A second name needs a second audit."
            )
        signed = result.model_copy(update={"sign_off": SignOff(who=name[:200], when=now(), note=note[:2000])})
        html = page(signed, self._desk.thumbnail)
        digest = hashlib.sha256(html.encode()).hexdigest()
        facts = {"audit": audit_id, "complete": result.complete, "report_sha256": digest}
        self._log.append("sign-off", principal, facts, {"name": name[:200], "note": note[:2000]})
        folder.write_result(signed)
        folder.write_report(html)
        return self.one(audit_id)

    def report(self, audit_id: str) -> Path:
        path = AuditFolder(self._root, audit_id).path / "report.html"
        if not path.is_file():
            raise NotFound("report", audit_id)
        return path

    def close(self) -> None:
        now = self._running
        if now and now.thread:
            now.stopping.set()
            now.thread.join(_SECONDS_TO_STOP)

    # ---- inside

    def _planned(self, order: Mapping[str, Any], ident: str) -> AuditPlan:
        given = {key: value for key, value in order.items() if value is not None}
        if lora := given.pop("lora", None):
            given["loras"] = [each for each in str(lora).split(",") if each.strip()]
        asked = order_of(given)
        return plan_of(asked, load_suite(asked.suite, self._own), ident, self._desk.settings.default_model, now())

    def _check_free(self) -> None:
        if self._running:
            title = self._running.plan.suite.title
            raise Conflict(f'The audit "{title}" is running.', "Stop it, or wait until it is through.")

    def _begin(self, plan: AuditPlan, folder: AuditFolder, features: Features, principal: Principal) -> None:
        facts = {"audit": plan.id, "suite": plan.suite.name, "models": [one.model for one in plan.variants]}
        self._log.append("audit", principal, {**facts, "pictures": plan.pictures})
        self._problems.pop(plan.id, None)
        now = self._running = _Running(plan)
        now.progress = replace(now.progress, done=_settled(folder))
        now.thread = threading.Thread(
            target=self._work, args=(now, folder, features, principal), name="bias-audit", daemon=True
        )
        now.thread.start()

    def _work(self, now: _Running, folder: AuditFolder, features: Features, principal: Principal) -> None:
        begun, before = datetime.now(UTC), now.progress.done
        try:
            running.run(now.plan, self._desk, principal, folder, features, now.told)
        except SignetError as error:
            self._problems[now.plan.id] = error.problem
        except Exception:  # noqa: BLE001 - the edge of a thread: what breaks here is told, and nothing else stops
            trace = self._new_id()[-8:]
            _LOG.exception("trace %s", trace)
            self._problems[now.plan.id] = Broken(trace).problem
        try:
            write_up(now.plan, folder, features, self._desk.thumbnail)
        except (SignetError, OSError) as error:
            _LOG.error("the result of audit %s cannot be written: %s", now.plan.id, error)
        if (made := _settled(folder) - before) > 0:
            self._pace = (datetime.now(UTC) - begun).total_seconds() / made
        with self._lock:
            self._running = None

    def _line(self, folder: AuditFolder) -> Mapping[str, Any]:
        ident, facts = folder.path.name, self._facts(folder)
        now, problem = self._running, self._problems.get(ident)
        mine = now if now and now.plan.id == ident else None
        done = mine.progress.done if mine else facts["done"]
        state = "running" if mine else "failed" if problem else "done" if done >= facts["total"] else "stopped"
        return {
            **facts,
            "state": state,
            "done": done,
            "seconds_left": mine.progress.seconds_left if mine else None,
            "problem": asdict(problem) if problem else None,
        }

    def _facts(self, folder: AuditFolder) -> Mapping[str, Any]:
        """What its files say of an audit, read again only when they have changed: the page asks every few seconds."""
        ident, stamp = folder.path.name, folder.stamp()
        known = self._told.get(ident)
        if known is None or known[0] != stamp:
            plan, signed = folder.plan(), ""
            with suppress(SignetError):
                signed = sign.who if (sign := folder.result().sign_off) else ""
            facts = {
                "id": ident,
                "title": f"{plan.suite.title}: {' against '.join(one.name for one in plan.variants)}",
                "suite": plan.suite.name,
                "created": plan.created,
                "done": _settled(folder),
                "total": plan.pictures,
                "signed": signed,
            }
            known = self._told[ident] = (stamp, facts)
        return known[1]

    def _is_running(self, audit_id: str) -> bool:
        return self._running is not None and self._running.plan.id == audit_id


def _settled(folder: AuditFolder) -> int:
    return len(folder.measurements()) + sum(one.count for one in folder.failures())
