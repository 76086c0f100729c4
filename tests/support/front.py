"""The API in front of a fake desk: no Gradio, no engine, milliseconds."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from backend.settings import Settings
from tests.unit.webui.fakes import FakeDesk
from webui.app import api_app

BASE = "http://127.0.0.1:7860"
SETTINGS = Settings(upload_limit_mb=1)


class _Library:
    """The library of whatever desk the front has just now."""

    def __init__(self, front: Front) -> None:
        self._front = front

    def __getattr__(self, name: str) -> Any:
        return getattr(self._front.desk.library, name)


class Front:
    """Stands before the desk of the test at hand, so that the application is built only once."""

    def __init__(self) -> None:
        self.settings = SETTINGS
        self.desk: Any = None
        self.library = _Library(self)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.desk, name)


@pytest.fixture(scope="session")
def client() -> Iterator[tuple[TestClient, Front]]:
    front = Front()
    with TestClient(api_app(front), base_url=BASE) as client:
        yield client, front


@pytest.fixture
def desk(tmp_path: Path) -> FakeDesk:
    return FakeDesk(tmp_path, SETTINGS)


@pytest.fixture
def api(desk: FakeDesk, client: tuple[TestClient, Front]) -> TestClient:
    found, front = client
    front.desk = desk
    return found
