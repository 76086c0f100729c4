"""The API's description is a promise: a change shows up as a difference in openapi.json.

After a wanted change: python -m tests.contract.test_openapi
"""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

from starlette.testclient import TestClient

from backend.settings import Settings
from tests.unit.webui.fakes import FakeDesk
from webui.app import api_app

SNAPSHOT = Path(__file__).parent / "openapi.json"


def described() -> dict[str, Any]:
    folder = Path(tempfile.gettempdir())
    schema: dict[str, Any] = api_app(FakeDesk(folder, Settings(data=folder))).openapi()
    return schema


def test_the_description_is_the_one_checked_in() -> None:
    assert described() == json.loads(SNAPSHOT.read_text(encoding="utf-8"))


def test_it_is_served_without_a_documentation_page_from_elsewhere(api: TestClient) -> None:
    assert api.get("/api/v1/openapi.json").json()["info"]["title"] == "Signet API"
    assert api.get("/docs").status_code == 404 and api.get("/redoc").status_code == 404


def test_every_route_says_what_it_is_for() -> None:
    for path, methods in described()["paths"].items():
        assert path.startswith("/api/v1/")
        for method in methods.values():
            assert method["summary"] and "default" in method["responses"]


if __name__ == "__main__":
    SNAPSHOT.write_text(json.dumps(described(), indent=1, sort_keys=True, ensure_ascii=False) + "\n", encoding="utf-8")
