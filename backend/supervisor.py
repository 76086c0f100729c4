"""Starts an engine process, watches it, and starts it again with growing pauses when it dies."""

from __future__ import annotations

import logging
import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from typing import Protocol

from backend.wire import (
    Cancel,
    Crashed,
    Ended,
    EngineConfig,
    FromEngine,
    GaveUp,
    Invert,
    Inverted,
    Ready,
    Stop,
    ToEngine,
    Train,
    Unload,
    Work,
)

_LOG = logging.getLogger(__name__)

FIRST_PAUSE, LONGEST_PAUSE = 0.5, 30.0
"""Seconds before the first restart, doubled each time up to the longest."""
GIVE_UP_AFTER = 5
"""Crashes in a row without a finished start before the studio says that the engine has failed."""
PATIENCE = 600.0
"""Seconds without a word from an engine that has work to do, or that starts, before it is taken for hung and killed."""


STOP_PATIENCE = 10.0
"""Seconds that an engine has to end after it was told to, before it is killed."""
POLL = 1.0
"""Seconds between looks at whether a silent engine is hung."""


class EngineLink(Protocol):
    """How the service reaches an engine; tests put a fake behind it."""

    def start(self, on_message: Callable[[FromEngine], None]) -> None: ...

    def submit(self, work: Work) -> None: ...

    def train(self, order: Train) -> None: ...

    def invert(self, order: Invert) -> None: ...

    def cancel(self, job_id: str) -> None: ...

    def unload(self, model_id: str) -> None: ...

    def close(self) -> None: ...


class Supervisor:
    """One engine process. `on_message` is called from one thread of ours, in the order of what the engine sent.

    A message sent while no engine is up is dropped: whoever sent it learns of the crash by a Crashed message, and hands
    out work only after Ready.
    """

    def __init__(self, config: EngineConfig, patience: float = PATIENCE) -> None:
        self._config = config
        self._context = multiprocessing.get_context("spawn")
        self._lock = threading.Lock()
        self._closing = threading.Event()
        self._connection: Connection | None = None
        self._thread: threading.Thread | None = None
        self._process: BaseProcess | None = None
        self._patience = patience
        self._busy: set[str] = set()

    @property
    def process_id(self) -> int | None:
        """Of the engine that is up now."""
        process = self._process
        return process.pid if process else None

    def start(self, on_message: Callable[[FromEngine], None]) -> None:
        # torch's OpenMP threads spin when they wait, which starves every other process on a small machine.
        os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
        # The sealers' small matrix products gain nothing from threads, and fight the denoiser for the cores.
        os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
        self._thread = threading.Thread(target=self._watch, args=(on_message,), name="supervisor", daemon=True)
        self._thread.start()

    def submit(self, work: Work) -> None:
        self._busy.add(work.job_id)
        self._send(work)

    def train(self, order: Train) -> None:
        self._busy.add(order.job_id)
        self._send(order)

    def invert(self, order: Invert) -> None:
        self._busy.add(order.ask_id)
        self._send(order)

    def cancel(self, job_id: str) -> None:
        self._send(Cancel(job_id))

    def unload(self, model_id: str) -> None:
        self._send(Unload(model_id))

    def close(self) -> None:
        """Stop the engine, by force if it must be; what it was doing is lost, and the journal knows."""
        self._closing.set()
        self._send(Stop())
        if self._thread:
            self._thread.join(STOP_PATIENCE)
            if self._thread.is_alive() and self._process:
                self._process.kill()
                self._thread.join(STOP_PATIENCE)

    def _send(self, message: ToEngine) -> None:
        with self._lock:
            if self._connection is None:
                return
            try:
                self._connection.send(message)
            except OSError:
                _LOG.info("the engine is gone; its watcher will report it")

    def _watch(self, on_message: Callable[[FromEngine], None]) -> None:
        if hasattr(signal, "pthread_sigmask"):
            # Children inherit this: Ctrl+C at the terminal is for the studio, which then stops the engine in order.
            signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        crashes = 0
        while not self._closing.is_set():
            # The default model may be what takes the engine down at its start: the next one goes without it.
            came_up, detail = self._run_once(replace(self._config, warm=None) if crashes else self._config, on_message)
            if self._closing.is_set():
                return
            crashes = 1 if came_up else crashes + 1
            _LOG.error("engine: %s", detail)
            on_message(Crashed(detail))
            if crashes >= GIVE_UP_AFTER:
                on_message(GaveUp(detail))
            self._closing.wait(min(FIRST_PAUSE * 2 ** (crashes - 1), LONGEST_PAUSE))

    def _run_once(self, config: EngineConfig, on_message: Callable[[FromEngine], None]) -> tuple[bool, str]:
        """One life of the engine: (whether it got ready, why it ended)."""
        ours, theirs = self._context.Pipe()
        process = self._context.Process(target=_engine_main, args=(theirs, config), name="engine", daemon=True)
        process.start()
        theirs.close()
        with self._lock:
            self._connection, self._process = ours, process
        if self._closing.is_set():  # `close` came while the process was being started and could not reach it
            self._send(Stop())
        came_up, reason = self._listen(ours, process, on_message)
        with self._lock:
            self._connection, self._process = None, None
        self._busy.clear()
        ours.close()
        process.join(STOP_PATIENCE)
        if process.is_alive():
            process.kill()
            process.join()
        return came_up, reason or f"The engine process ended unexpectedly (exit code {process.exitcode})."

    def _listen(
        self, ours: Connection, process: BaseProcess, on_message: Callable[[FromEngine], None]
    ) -> tuple[bool, str]:
        """Pass on what the engine says until its end of the pipe closes; kill it if it hangs."""
        came_up, reason, heard = False, "", time.monotonic()
        while True:
            try:
                if not ours.poll(POLL):
                    if came_up and not self._busy:
                        heard = time.monotonic()  # nothing to say is no silence
                    elif time.monotonic() - heard > self._patience:
                        reason = f"The engine gave no sign of life for {self._patience / 60:g} minutes."
                        process.kill()
                    continue
                message: FromEngine = ours.recv()
            except (EOFError, OSError):
                return came_up, reason
            heard = time.monotonic()
            match message:
                case Crashed(detail):
                    reason = detail
                    continue
                case Ready():
                    came_up = True
                case Ended(job_id) | Inverted(ask_id=job_id):
                    self._busy.discard(job_id)
            on_message(message)


def _engine_main(connection: Connection, config: EngineConfig) -> None:
    from backend.engine.process import main

    main(connection, config)
