"""Registers extensions and calls their hooks, one extension at a time, so that a failure has a name and an end."""

from __future__ import annotations

import logging
import queue
import threading
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any

import pluggy

from backend.errors import NotFound, SignetError, Unavailable
from backend.types import Job, Principal, Record
from backend.types.plans import Axis, ExtensionState, Fields, Plan, PlanKind
from extensions.context import Context, Door, Extension, Names
from extensions.hookspecs import PROJECT, HookSpecs

_LOG = logging.getLogger(__name__)
MAX_FAILURES = 3
"""After so many an extension is switched off until the next start."""
_MOST_EVENTS = 1000
_FAILED = object()


@dataclass(slots=True)
class _Loaded:
    """An extension in use. Mutable: `state` follows its failures. The lock of the manager guards it."""

    plugin: Any
    about: Extension
    context: Context
    state: ExtensionState


class Manager:
    """Thread-safe. `plugins` are registered in order; `names` lists what requests may refer to."""

    def __init__(self, plugins: Iterable[Any], names: Names) -> None:
        self._hooks = pluggy.PluginManager(PROJECT)
        self._hooks.add_hookspecs(HookSpecs)
        self._lock = threading.Lock()
        self._loaded: dict[str, _Loaded] = {}
        self._axes: Mapping[str, Axis] = MappingProxyType({})
        self._plans: Mapping[str, tuple[str, PlanKind]] = MappingProxyType({})
        for plugin in plugins:
            self._register(plugin, names)
        self._collect()
        self._events: queue.Queue[tuple[str, dict[str, Any]] | None] = queue.Queue(_MOST_EVENTS)
        self._teller = threading.Thread(target=self._tell, name="extension events", daemon=True)
        self._hears = any(self._may("events", one) for one in self._loaded.values())
        if self._hears:
            self._teller.start()

    def _register(self, plugin: Any, names: Names) -> None:
        about: Extension = plugin.EXTENSION
        if about.name in self._loaded:
            _LOG.error("there is a second extension called %s; it is left out", about.name)
            return
        state = ExtensionState(about.name, about.title, about.version, about.about, tuple(sorted(about.doors)))
        context = Context(about.name, about.doors, _names=names)
        self._loaded[about.name] = _Loaded(plugin, about, context, state)
        try:
            self._hooks.register(plugin, about.name)
            self._hooks.check_pending()
        except Exception as error:  # noqa: BLE001 - whatever a stranger's module does to pluggy
            if self._hooks.has_plugin(about.name):
                self._hooks.unregister(name=about.name)
            self._failed(about.name, "registering", error, fatal=True)

    def _collect(self) -> None:
        """The plans and axes of all; contexts learn the axes. The first to take a name has it."""
        axes: dict[str, Axis] = {}
        plans: dict[str, tuple[str, PlanKind]] = {}
        for name in self._loaded:
            for axis in self._list(name, "signet_axes"):
                axes.setdefault(axis.name, axis)
            for plan in self._list(name, "signet_plans"):
                plans.setdefault(plan.name, (name, plan))
        self._axes, self._plans = MappingProxyType(axes), MappingProxyType(plans)
        for one in self._loaded.values():
            one.context = replace(one.context, axes=self._axes)

    def _list(self, name: str, hook: str) -> tuple[Any, ...]:
        if not self._may("plans", self._loaded[name]):
            return ()
        found = self._call(name, hook)
        return tuple(found or ()) if found is not _FAILED else ()

    # ---- what the front desk asks

    def changed_fields(self, fields: Fields, principal: Principal) -> Fields:
        """The request as the extensions want it. Raises a SignetError where one of them says no."""
        for name, one in self._loaded.items():
            if self._may("prompt", one):
                changed = self._call(name, "signet_changed_fields", fields=fields, principal=principal)
                if changed is _FAILED or changed is None:
                    continue
                if not isinstance(changed, Mapping):
                    self._failed(name, "signet_changed_fields", TypeError("it did not give the fields of a request"))
                    continue
                fields = changed
        return fields

    def picture_kept(self, record: Record) -> None:
        self._put("signet_picture_kept", {"record": record})

    def job_ended(self, job: Job) -> None:
        self._put("signet_job_ended", {"job": job})

    def plans(self) -> Mapping[str, PlanKind]:
        """By name: those of extensions that are switched on."""
        return {name: plan for name, (owner, plan) in self._plans.items() if self._loaded[owner].state.on}

    def axes(self) -> Mapping[str, Axis]:
        return self._axes

    def make(self, kind: str, fields: Fields, arguments: Mapping[str, Any]) -> Plan:
        """Raises NotFound, a SignetError that names the argument at fault, or Unavailable if the extension breaks."""
        owner, plan = self._plans.get(kind, ("", None))
        if plan is None or not self._loaded[owner].state.on:
            raise NotFound("plan", kind)
        try:
            return plan.make(fields, arguments, self._loaded[owner].context)
        except SignetError:
            raise
        except Exception as error:
            self._failed(owner, f"the plan {kind}", error)
            detail = f'The extension "{self._loaded[owner].about.title}" failed: {type(error).__name__}.'
            raise Unavailable(detail, "The log under data/logs has the details.") from error

    def states(self) -> tuple[ExtensionState, ...]:
        with self._lock:
            return tuple(one.state for one in self._loaded.values())

    def close(self) -> None:
        """Tell the events that are still to be told, for five seconds at most."""
        if self._hears and self._teller.is_alive():
            try:
                self._events.put(None, timeout=1)
            except queue.Full:
                return
            self._teller.join(5)

    # ---- calling

    def _put(self, hook: str, what: dict[str, Any]) -> None:
        if not self._hears:
            return
        try:
            self._events.put_nowait((hook, what))
        except queue.Full:
            _LOG.warning("extensions are too slow: %s is not told", hook)

    def _tell(self) -> None:
        while (event := self._events.get()) is not None:
            hook, what = event
            for name, one in self._loaded.items():
                if self._may("events", one):
                    self._call(name, hook, **what)

    def _may(self, door: Door, one: _Loaded) -> bool:
        return one.state.on and door in one.context.doors

    def _call(self, name: str, hook: str, **given: Any) -> Any:
        """What one extension answers; None if it has nothing to say, _FAILED if it raised."""
        others = [one.plugin for other, one in self._loaded.items() if other != name]
        try:
            answers = self._hooks.subset_hook_caller(hook, others)(context=self._loaded[name].context, **given)
        except SignetError as error:
            if hook == "signet_changed_fields":
                raise  # it says no, in words
            self._failed(name, hook, error)
            return _FAILED
        except Exception as error:  # noqa: BLE001 - the edge towards extensions: named, counted, and the job goes on
            self._failed(name, hook, error)
            return _FAILED
        return answers[0] if answers else None

    def _failed(self, name: str, where: str, error: Exception, *, fatal: bool = False) -> None:
        with self._lock:
            one = self._loaded[name]
            failures = one.state.failures + 1
            on = one.state.on and not fatal and failures < MAX_FAILURES
            problem = f"{where}: {type(error).__name__}: {error}"[:300]
            one.state = replace(one.state, failures=failures, on=on, problem=problem)
        _LOG.error("the extension %s failed in %s (%d of %d)", name, where, failures, MAX_FAILURES, exc_info=error)
        if not on:
            _LOG.error("the extension %s is switched off until the next start", name)
