"""A real engine process: it comes up, is missed when it dies, is started again, and never outlives the studio."""

from __future__ import annotations

import os
import queue
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import psutil
import pytest

from backend.settings import ROOT
from backend.supervisor import Supervisor
from backend.wire import Crashed, Ended, EngineConfig, FromEngine, GaveUp, Loaded, Ready, Sealed
from tests.support.bench import Bench, make_work
from tests.support.desk import die_at_once, never_open, open_desk, pixels_of
from tests.support.models import Shelf, shelf

__all__ = ["shelf"]

PATIENCE = 90
CONFIG = EngineConfig(open_desk, device="cpu", threads=1, offline=True)


class Studio:
    """A supervisor and what it says."""

    def __init__(self, config: EngineConfig) -> None:
        self.said: queue.Queue[FromEngine] = queue.Queue()
        self.heard: list[FromEngine] = []
        self.supervisor = Supervisor(config)
        self.supervisor.start(self.said.put)

    def until(self, wanted: Callable[[FromEngine], bool]) -> FromEngine:
        deadline = time.monotonic() + PATIENCE
        while True:
            message = self.said.get(timeout=max(0.0, deadline - time.monotonic()))
            self.heard.append(message)
            if wanted(message):
                return message

    def hear(self, kind: type) -> FromEngine:
        return self.until(lambda message: isinstance(message, kind))


def opened(config: EngineConfig) -> Iterator[Studio]:
    studio = Studio(config)
    yield studio
    studio.supervisor.close()


@pytest.fixture
def studio(shelf: Shelf) -> Iterator[Studio]:
    yield from opened(EngineConfig(open_desk, warm=shelf.info("one"), device="cpu", threads=1, offline=True))


def gone(process_id: int, within: float = 30) -> bool:
    deadline = time.monotonic() + within
    while psutil.pid_exists(process_id) and psutil.Process(process_id).status() != psutil.STATUS_ZOMBIE:
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


def test_an_engine_comes_up_works_dies_comes_back_and_is_closed(studio: Studio, shelf: Shelf):
    assert studio.hear(Loaded) == Loaded(("one",))
    ready = studio.hear(Ready)
    assert isinstance(ready, Ready)
    assert ready.device == "cpu (1 threads)"
    work = make_work("job", shelf.info("one"), steps=2, bucket=2)
    studio.supervisor.submit(work)
    sealed = studio.hear(Sealed)
    assert isinstance(sealed, Sealed)
    assert studio.hear(Ended) == Ended("job")

    bench = Bench()
    assert np.allclose(pixels_of(sealed.image).astype(int), bench.picture(work), atol=1)
    bench.close()

    first = studio.supervisor.process_id
    assert first is not None
    studio.supervisor.submit(make_work("lost", shelf.info("one"), steps=140))
    os.kill(first, signal.SIGKILL)
    crashed = studio.hear(Crashed)
    assert isinstance(crashed, Crashed)
    assert "exit code -9" in crashed.detail
    studio.hear(Ready)
    second = studio.supervisor.process_id
    assert second not in (None, first)
    assert not any(isinstance(message, Ended) and message.job_id == "lost" for message in studio.heard)

    studio.supervisor.submit(make_work("long", shelf.info("one"), steps=150, count=8))
    studio.supervisor.cancel("long")
    assert studio.hear(Ended) == Ended("long", cancelled=True)

    began = time.monotonic()
    studio.supervisor.close()
    assert time.monotonic() - began < 15
    assert gone(second)
    assert studio.supervisor.process_id is None


def test_closing_right_after_the_start_leaves_no_engine_behind():
    studio = Studio(CONFIG)
    studio.supervisor.close()
    assert studio.supervisor.process_id is None
    assert not any(isinstance(message, Crashed) for message in studio.said.queue)


def test_an_engine_that_never_comes_up_is_given_up_and_still_tried(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("backend.supervisor.FIRST_PAUSE", 0.01)
    monkeypatch.setattr("backend.supervisor._engine_main", die_at_once)
    studio = Studio(CONFIG)
    gave_up = studio.hear(GaveUp)
    assert isinstance(gave_up, GaveUp)
    assert "exit code 3" in gave_up.detail
    assert sum(isinstance(message, Crashed) for message in studio.heard) == 5
    studio.hear(GaveUp)
    studio.supervisor.close()


def test_an_engine_ends_by_itself_when_the_studio_is_killed():
    script = """
import sys, time
from backend.supervisor import Supervisor
from backend.wire import EngineConfig, Ready
from tests.support.desk import open_desk

if __name__ == "__main__":
    supervisor = Supervisor(EngineConfig(open_desk, device="cpu", threads=1))
    supervisor.start(lambda message: isinstance(message, Ready) and print(supervisor.process_id, flush=True))
    time.sleep(600)
"""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    studio = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, cwd=ROOT, env=environment)
    try:
        assert studio.stdout is not None
        engine = int(studio.stdout.readline())
        assert psutil.pid_exists(engine)
    finally:
        studio.kill()
        studio.wait()
        studio.stdout.close()
    assert gone(engine)


def test_the_studio_side_needs_no_torch():
    code = "import sys, backend.supervisor, backend.service; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=Path(ROOT), check=False).returncode == 0


def test_an_engine_that_hangs_is_killed_and_the_reason_is_told():
    said: queue.Queue[FromEngine] = queue.Queue()
    supervisor = Supervisor(EngineConfig(never_open, device="cpu", threads=1, offline=True), patience=0.5)
    supervisor.start(said.put)
    try:
        message = said.get(timeout=PATIENCE)
        assert isinstance(message, Crashed)
        assert "no sign of life" in message.detail
    finally:
        supervisor.close()
