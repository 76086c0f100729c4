"""Hooks: who is asked what, and what becomes of an extension that breaks."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import pytest

from backend.errors import NotAllowed, NotFound, Refused, Unavailable
from backend.types import Principal
from backend.types.plans import Axis, Draft, Plan, PlanKind
from extensions.context import Context, Door, Extension
from extensions.hookspecs import hookimpl
from extensions.manager import MAX_FAILURES, Manager
from extensions.opening import open_extensions

OWNER = Principal()


class Plugin:
    def __init__(self, name: str = "test", *doors: Door) -> None:
        self.EXTENSION = Extension(name, name.title(), "1.0", "", frozenset(doors))


class Adds(Plugin):
    """Adds a word to every prompt."""

    def __init__(self, name: str, word: str, *doors: Door) -> None:
        super().__init__(name, *(doors or ("prompt",)))
        self.word = word

    @hookimpl
    def signet_changed_fields(self, fields: Mapping[str, Any]) -> Mapping[str, Any]:
        return {**fields, "prompt": f"{fields['prompt']} {self.word}"}


class Breaks(Plugin):
    @hookimpl
    def signet_changed_fields(self, fields: Mapping[str, Any]) -> Any:
        raise RuntimeError("no such luck")


class Hears(Plugin):
    def __init__(self, name: str = "hears", *doors: Door) -> None:
        super().__init__(name, *doors)
        self.heard: list[Any] = []
        self.told = threading.Event()

    @hookimpl
    def signet_job_ended(self, job: Any, context: Context) -> None:
        self.heard.append((job, threading.current_thread().name, context.extension))
        self.told.set()


class Plans(Plugin):
    @hookimpl
    def signet_plans(self, context: Context) -> list[PlanKind]:
        def make(fields: Any, arguments: Any, context: Any) -> Plan:
            if arguments.get("break"):
                raise ZeroDivisionError
            return Plan((Draft(fields),))

        return [PlanKind("once", "Once", "", (), make)]

    @hookimpl
    def signet_axes(self) -> list[Axis]:
        return [Axis("Moon", "whole", lambda fields, value: {**fields, "moon": value})]


@contextmanager
def managing(*plugins: Any) -> Iterator[Manager]:
    manager = Manager(plugins, lambda kind: ())
    try:
        yield manager
    finally:
        manager.close()


def test_each_extension_gets_the_request_as_the_one_before_left_it() -> None:
    with managing(Adds("one", "1"), Adds("two", "2")) as manager:
        assert manager.changed_fields({"prompt": "a"}, OWNER) == {"prompt": "a 1 2"}


def test_an_extension_is_asked_only_behind_the_doors_it_was_granted() -> None:
    hears = Hears("deaf", "prompt")
    with managing(Adds("shut", "1", "events"), hears) as manager:
        assert manager.changed_fields({"prompt": "a"}, OWNER) == {"prompt": "a"}
        manager.job_ended("job")  # type: ignore[arg-type]
    assert hears.heard == []


def test_one_that_raises_is_named_the_job_goes_on_and_the_third_time_switches_it_off(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with managing(Breaks("bad", "prompt"), Adds("good", "1")) as manager, caplog.at_level(logging.ERROR):
        for failures in range(1, MAX_FAILURES + 3):
            assert manager.changed_fields({"prompt": "a"}, OWNER) == {"prompt": "a 1"}
            bad, good = manager.states()
            assert (bad.failures, bad.on) == (min(failures, MAX_FAILURES), failures < MAX_FAILURES)
        assert bad.problem == "signet_changed_fields: RuntimeError: no such luck"
        assert (good.failures, good.on) == (0, True)
    assert caplog.text.count("the extension bad failed in signet_changed_fields") == MAX_FAILURES
    assert "the extension bad is switched off" in caplog.text


def test_an_answer_that_is_no_request_is_a_failure() -> None:
    class Odd(Plugin):
        @hookimpl
        def signet_changed_fields(self) -> Any:
            return 3

    with managing(Odd("odd", "prompt")) as manager:
        assert manager.changed_fields({"prompt": "a"}, OWNER) == {"prompt": "a"}
        assert manager.states()[0].failures == 1


def test_an_extension_may_say_no_in_words() -> None:
    class Strict(Plugin):
        @hookimpl
        def signet_changed_fields(self) -> Any:
            raise Refused("Not on a Sunday.")

    with managing(Strict("strict", "prompt")) as manager:
        with pytest.raises(Refused, match="Sunday"):
            manager.changed_fields({"prompt": "a"}, OWNER)
        assert manager.states()[0].failures == 0


def test_events_are_told_in_order_in_a_thread_of_their_own() -> None:
    hears = Hears("hears", "events")
    with managing(hears) as manager:
        for job in ("one", "two", "three"):
            manager.job_ended(job)  # type: ignore[arg-type]
        assert hears.told.wait(5)
    assert hears.heard == [(job, "extension events", "hears") for job in ("one", "two", "three")]


def test_an_event_hook_that_raises_keeps_nobody_from_hearing() -> None:
    class Deaf(Plugin):
        @hookimpl
        def signet_job_ended(self) -> None:
            raise OSError

    hears = Hears("hears", "events")
    with managing(Deaf("deaf", "events"), hears) as manager:
        for _ in range(MAX_FAILURES):
            manager.job_ended("job")  # type: ignore[arg-type]
    assert len(hears.heard) == MAX_FAILURES
    assert not manager.states()[0].on


def test_plans_and_axes_of_an_extension_are_there_while_it_is_on() -> None:
    with managing(Plans("plans", "plans")) as manager:
        assert list(manager.plans()) == ["once"] and list(manager.axes()) == ["Moon"]
        assert manager.make("once", {"prompt": "a"}, {}).drafts == (Draft({"prompt": "a"}),)
        for _ in range(MAX_FAILURES):
            with pytest.raises(Unavailable, match='"Plans" failed: ZeroDivisionError'):
                manager.make("once", {}, {"break": True})
        assert not manager.plans()
        with pytest.raises(NotFound):
            manager.make("once", {}, {})


def test_the_plot_varies_axes_of_other_extensions_too() -> None:
    from extensions.builtin import xyz_plot

    with managing(xyz_plot, Plans("plans", "plans")) as manager:
        plan = manager.make("xyz", {"prompt": "a"}, {"x": {"axis": "moon", "values": "1, 2"}})
        assert [draft.fields["moon"] for draft in plan.drafts] == [1, 2]


def test_a_hook_that_takes_what_it_is_not_given_keeps_the_extension_out() -> None:
    class Wrong(Plugin):
        @hookimpl
        def signet_plans(self, contxt: Any) -> Any: ...

    class Unknown(Plugin):
        @hookimpl
        def signet_nothing(self) -> Any: ...

    with managing(Wrong("wrong", "plans"), Unknown("unknown"), Adds("good", "1")) as manager:
        assert [state.on for state in manager.states()] == [False, False, True]
        assert "PluginValidationError" in manager.states()[0].problem
        assert manager.changed_fields({"prompt": "a"}, OWNER) == {"prompt": "a 1"}


def test_the_second_of_a_name_is_left_out() -> None:
    with managing(Adds("same", "1"), Adds("same", "2")) as manager:
        assert manager.changed_fields({"prompt": "a"}, OWNER) == {"prompt": "a 1"}


def test_names_are_behind_a_door() -> None:
    with pytest.raises(NotAllowed, match="models:read"):
        Context("test", frozenset()).names("sampler")
    assert Context("test", frozenset({"models:read"}), _names=lambda kind: (kind,)).names("sampler") == ("sampler",)


def test_all_of_our_own_extensions_start() -> None:
    manager = open_extensions(lambda kind: ())
    assert all(state.on and not state.failures for state in manager.states())
    assert set(manager.plans()) == {"xyz", "matrix", "batch"}
    manager.close()
