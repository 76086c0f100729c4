"""Path forms on every route that takes a name. A canary outside must never come back, nor the database and the keys."""

from __future__ import annotations

import itertools
from pathlib import Path
from urllib.parse import quote

import pytest
from starlette.testclient import TestClient

from tests.unit.webui.fakes import FakeDesk

CANARY = b"canary-4711"
STEPS = ["..", "%2e%2e", "%252e%252e", ".%2e", "..%00", "..;", "%c0%ae%c0%ae", "..%5c", "....", "%uff0e%uff0e"]
TARGETS = ["canary.txt", "signet.db", "keys/signet.pem", "etc/passwd", "CANARY.TXT", "canary.txt::$DATA", "canary.txt."]
SLASHES = ["/", "%2f", "%5c", "//", "%252f"]
ROUTES = [
    "/api/v1/records/{}/file",
    "/api/v1/records/{}/thumbnail",
    "/api/v1/records/{}",
    "/api/v1/jobs/{}/preview",
    "/signet/{}",
    "/ui/assets/{}",
    "/ui/static/{}",
    "/ui/gradio_api/file={}",
    "/{}",
]


def _forms(folder: Path) -> list[str]:
    climbing = [
        slash.join([step] * depth + [target])
        for step, target, slash, depth in itertools.product(STEPS, TARGETS[:4], SLASHES, (1, 6))
    ]
    absolute = [f"{folder}/{target}" for target in TARGETS]
    encoded = [quote(path, safe="") for path in absolute]
    odd = ["C:\\canary.txt", "file:///etc/passwd", "\u2025/canary.txt", "a" * 5000, "canary.txt%00.png", "~/canary.txt"]
    return [*climbing, *absolute, *encoded, *odd]


@pytest.mark.parametrize("route", ROUTES)
def test_no_path_form_reaches_a_file_outside(api: TestClient, desk: FakeDesk, tmp_path: Path, route: str) -> None:
    (tmp_path / "keys").mkdir()
    for name in ("canary.txt", "signet.db", "keys/signet.pem"):
        (tmp_path / name).write_bytes(CANARY)
    for form in _forms(tmp_path):
        reply = api.get(route.format(quote(form, safe="%/\\:;=$~")))
        assert reply.status_code in (403, 404, 405), (form, reply.status_code)
        assert CANARY not in reply.content and b"root:" not in reply.content


def test_a_record_cannot_lead_out_by_its_name(api: TestClient, desk: FakeDesk, tmp_path: Path) -> None:
    record = desk.keep(desk.request("a"))
    for suffix in (".svg", ".html", ".txt"):
        (tmp_path / f"x{suffix}").write_bytes(CANARY)
        desk.history[record.id] = record.model_copy(update={"path": f"x{suffix}"})
        assert api.get(f"/api/v1/records/{record.id}/thumbnail").status_code == 404
    odd = record.passport.model_copy(update={"media_type": "image/svg+xml"})
    desk.history[record.id] = record.model_copy(update={"passport": odd})
    assert api.get(f"/api/v1/records/{record.id}/file").status_code == 404
