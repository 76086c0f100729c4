"""The real studio with the starter model in a child process, and a real browser before it."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("playwright", reason="playwright is not installed")

from playwright.sync_api import Browser

from tests.unit.webui.live import Watch, chromium

ROOT = Path(__file__).resolve().parents[2]
START_SECONDS = 180


@dataclass
class Studio:
    """A studio that can be stopped and started again on the same data folder and port."""

    data: Path
    port: int
    process: subprocess.Popen[bytes] | None = None

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def get(self, path: str) -> Any:
        with urllib.request.urlopen(f"{self.address}/api/v1{path}", timeout=10) as reply:
            return json.load(reply)

    def start(self) -> None:
        command = [sys.executable, "-m", "webui.cli", "serve", "--no-browser", "--data", str(self.data)]
        with (self.data / "server.log").open("ab") as log:
            self.process = subprocess.Popen([*command, "--port", str(self.port)], cwd=ROOT, stdout=log, stderr=log)
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline:
            assert self.process.poll() is None, (self.data / "server.log").read_text()
            try:
                if self.get("/health")["engine"] == "ready":
                    return
            except OSError:
                pass
            time.sleep(0.3)
        raise AssertionError("the studio did not become ready: " + (self.data / "server.log").read_text())

    def stop(self, *, kill: bool = False) -> None:
        if self.process and self.process.poll() is None:
            self.process.kill() if kill else self.process.terminate()
            try:
                self.process.wait(30)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait(10)


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


@pytest.fixture(scope="session")
def studio(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Studio]:
    if not (ROOT / "models" / "starter" / "model_index.json").is_file():
        pytest.skip("the starter model is not there")
    found = Studio(tmp_path_factory.mktemp("data"), _free_port())
    try:
        found.start()
        yield found
    finally:
        found.stop()


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    # Not for the session: Playwright keeps an event loop running, which other tests must not meet.
    with chromium() as found:
        yield found


@pytest.fixture
def watch(browser: Browser, studio: Studio) -> Iterator[Watch]:
    context = browser.new_context(viewport={"width": 1280, "height": 900}, accept_downloads=True)
    found = Watch(context, studio.address)
    yield found
    context.close()


SHOTS = os.environ.get("SIGNET_SCREENSHOTS")
"""A folder for screenshots of every tab; nothing is written without it."""
