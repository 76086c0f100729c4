"""A whole studio from its composition root, with stand-ins where a test needs a sure answer.

The scanners say what they are told to, and the reader's classifier knows one made-up word. Everything else is the
studio's own: gate, policy, audit log, history, storage, and the engine process unless there is a `Still` in its place.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Any
from unittest.mock import patch

from backend import wire
from backend.supervisor import Supervisor
from backend.types import Principal, SourceLook
from extensions.manager import Manager
from extensions.opening import BUILTIN
from safety.admit import Gate
from safety.desk import DeskConfig, open_desk
from safety.inspect import Detector
from safety.policy import Category
from safety.prompt_filter.names import Names
from safety.prompt_filter.reading import Reader
from tests.support import scanners as stand_ins
from tests.support.studio import FakeLink
from webui import compose
from webui.options import read_settings

WORD = "zorblax"
"""What the stand-in classifier takes for violence: noted by "personal", refused by "shared" and "classroom"."""
NAME = "Wendel Quimm"
"""Somebody who does not exist and asked not to be depicted: refused under every policy, in names too."""


class OneWord:
    """A classifier that knows `WORD`."""

    thresholds: Mapping[Category, float] = {"violence": 0.5}

    def scores(self, text: str) -> Mapping[Category, float]:
        return {"violence": 0.99 if WORD in text.casefold() else 0.01}


class NobodyThere:
    """Looks at brought pictures and sees no people."""

    def look(self, sha256: str) -> SourceLook:
        return SourceLook()


def reader() -> Reader:
    return Reader(OneWord(), names=Names((NAME,)))


class Tapped(Supervisor):
    """The engine's process; `said` is everything that came out of it, `works` what it was asked."""

    def __init__(self, config: wire.EngineConfig) -> None:
        super().__init__(config)
        self.said: list[wire.FromEngine] = []
        self.works: list[wire.Work] = []

    def start(self, on_message: Callable[[wire.FromEngine], None]) -> None:
        def both(message: wire.FromEngine) -> None:
            self.said.append(message)
            on_message(message)

        super().start(both)

    def submit(self, work: wire.Work) -> None:
        self.works.append(work)
        super().submit(work)


class Still(FakeLink):
    """No engine: whatever it is asked stays undone."""

    def __init__(self, config: wire.EngineConfig) -> None:
        super().__init__()

    def unload(self, model_id: str) -> None:
        return


@contextmanager
def guarded(
    data: Path,
    *,
    scanners: Callable[[DeskConfig], Sequence[Detector]] = stand_ins.everything,
    link: Callable[[wire.EngineConfig], Any] = Tapped,
    plugins: Sequence[Any] = (),
    opening: Callable[[], Reader] | None = None,
) -> Iterator[compose.Services]:
    """The studio on the folder `data`. `opening` gives the reader, and may raise Unavailable."""
    known = reader() if opening is None else opening
    with ExitStack() as stack:
        with ExitStack() as built:
            for name, value in {
                "open_gate": lambda settings, library, policy: Gate(policy.current, known, NobodyThere()),
                "open_desk": partial(open_desk, scanners=scanners),
                "open_extensions": lambda names: Manager((*BUILTIN, *plugins), names),
                "Supervisor": link,
            }.items():
                built.enter_context(patch.object(compose, name, value))
            services = stack.enter_context(
                compose.open_services(read_settings(data=data, offline=True, threads=1), principal_source="api")
            )
        yield services


def entries(services: compose.Services, event: str) -> list[Mapping[str, Any]]:
    """The audit log's entries of a kind, oldest first."""
    found: list[Mapping[str, Any]] = []
    before: int | None = None
    while True:
        page = services.service.trust.log_page(before, 200, Principal())
        found += [entry for entry in page["entries"] if entry["event"] == event]
        before = page["next"]
        if before is None:
            return found[::-1]
