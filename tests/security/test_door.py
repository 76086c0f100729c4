"""Hosts, origins, content types, sizes: what another web site could try through the owner's browser."""

from __future__ import annotations

from pathlib import Path

import pytest
from starlette.testclient import TestClient

from backend.settings import Settings
from tests.unit.webui.fakes import FakeDesk, picture
from webui.app import api_app

HOST = "127.0.0.1:7860"
JSON = {"content-type": "application/json"}


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "evil.example:7860",
        "127.0.0.1.evil.example",
        "localhost.evil.example",
        "evil@127.0.0.1",
        "127.0.0.1@evil.example",
        "127.0.0.1, evil.example",
        "127.0.0.1:80:80",
        "0.0.0.0:7860",
        "192.168.0.2",
        "[::2]",
        "localhost.",
        "",
        " ",
    ],
)
@pytest.mark.parametrize("path", ["/", "/ui/", "/api/v1/health", "/api/v1/records", "/signet/app.js"])
def test_a_foreign_host_name_gets_nothing(api: TestClient, host: str, path: str) -> None:
    reply = api.get(path, headers={"host": host}, follow_redirects=False)
    assert reply.status_code == 403 and reply.json()["code"] == "not-allowed"


@pytest.mark.parametrize("host", ["127.0.0.1", "127.0.0.1:1", "localhost:7860", "LOCALHOST", "[::1]:7860"])
def test_loopback_names_are_served(api: TestClient, host: str) -> None:
    assert api.get("/api/v1/health", headers={"host": host}).status_code == 200


def test_the_owner_may_name_more_hosts(tmp_path: Path) -> None:
    desk = FakeDesk(tmp_path, Settings(data=tmp_path, allowed_hosts=("studio.lan",)))
    client = TestClient(api_app(desk), base_url="http://studio.lan:7860")
    assert client.get("/api/v1/health").status_code == 200


FOREIGN = [
    "http://evil.example",
    "null",
    "http://localhost:7860",
    "http://127.0.0.1:9999",
    "https://127.0.0.1",
    "",
    "file://",
]


@pytest.mark.parametrize("origin", FOREIGN)
def test_no_other_origin_changes_anything(api: TestClient, desk: FakeDesk, origin: str) -> None:
    record = desk.keep(desk.request("a"))
    asked = len(desk.asked)
    headers = {"origin": origin, **JSON}
    tries = [
        api.post("/api/v1/jobs", json={"prompt": "x"}, headers=headers),
        api.post("/api/v1/jobs/j1/resume", json={}, headers=headers),
        api.request("DELETE", "/api/v1/jobs/j1", headers=headers),
        api.request("DELETE", f"/api/v1/records/{record.id}", headers=headers),
        api.patch(f"/api/v1/records/{record.id}", json={"rating": 5}, headers=headers),
        api.post("/api/v1/verify", content=picture(1), headers={"origin": origin, "content-type": "image/png"}),
        api.post(
            "/api/v1/verify", files={"file": ("x", picture(1))}, headers={"origin": origin, "x-requested-with": "x"}
        ),
        api.post("/ui/gradio_api/run/predict", json={}, headers=headers),
    ]
    assert {reply.status_code for reply in tries} == {403}
    assert len(desk.asked) == asked and not desk.verified and desk.record(record.id).rating == 0


def test_our_own_page_may(api: TestClient) -> None:
    headers = {"origin": f"http://{HOST}", "sec-fetch-site": "same-origin"}
    assert api.post("/api/v1/jobs", json={"prompt": "x"}, headers=headers).status_code == 202


@pytest.mark.parametrize("site", ["cross-site", "same-site"])
@pytest.mark.parametrize("path", ["/api/v1/records", "/api/v1/health", "/signet/app.js"])
def test_nothing_is_embedded_elsewhere(api: TestClient, site: str, path: str) -> None:
    embedded = api.get(path, headers={"sec-fetch-site": site, "sec-fetch-mode": "no-cors"})
    assert embedded.status_code == 403
    followed = api.get("/", headers={"sec-fetch-site": site, "sec-fetch-mode": "navigate"}, follow_redirects=False)
    assert followed.status_code == 307


@pytest.mark.parametrize(
    "kind",
    ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", "", "application/jsonx"],
)
@pytest.mark.parametrize("path", ["/api/v1/jobs", "/api/v1/jobs/j1/resume"])
def test_only_json_changes_state(api: TestClient, desk: FakeDesk, kind: str, path: str) -> None:
    reply = api.post(path, content=b'{"prompt": "x"}', headers={"content-type": kind})
    assert reply.status_code == 415 and not desk.asked


def test_a_form_for_verify_must_show_where_it_comes_from(api: TestClient, desk: FakeDesk) -> None:
    files = {"file": ("x.png", picture(1))}
    assert api.post("/api/v1/verify", files=files).status_code == 403
    assert api.post("/api/v1/verify", files=files, headers={"origin": f"http://{HOST}"}).status_code == 200
    assert api.post("/api/v1/verify", content=b"x", headers={"content-type": "text/plain"}).status_code == 415


def test_only_named_origins_may_read_answers(tmp_path: Path) -> None:
    desk = FakeDesk(tmp_path, Settings(data=tmp_path, allowed_origins=("http://friend.example",)))
    client = TestClient(api_app(desk), base_url=f"http://{HOST}")
    asks = {"access-control-request-method": "POST", "access-control-request-headers": "content-type"}
    friend = client.options("/api/v1/jobs", headers={"origin": "http://friend.example", **asks})
    assert friend.headers["access-control-allow-origin"] == "http://friend.example"
    assert "access-control-allow-credentials" not in friend.headers
    stranger = client.options("/api/v1/jobs", headers={"origin": "http://evil.example", **asks})
    assert "access-control-allow-origin" not in stranger.headers
    posted = client.post("/api/v1/jobs", json={"prompt": "x"}, headers={"origin": "http://friend.example"})
    assert posted.status_code == 202
    for origin in ("http://evil.example", "http://localhost:3000", "null"):
        reply = client.get("/api/v1/health", headers={"origin": origin, "sec-fetch-site": "same-origin"})
        assert "access-control-allow-origin" not in reply.headers


@pytest.mark.parametrize("length", ["99999999", "9" * 30])
def test_a_large_body_is_refused_before_it_is_read(api: TestClient, length: str) -> None:
    reply = api.post("/api/v1/jobs", content=b"{}", headers={**JSON, "content-length": length})
    assert reply.status_code == 413


@pytest.mark.parametrize("path", ["/", "/api/v1/health", "/api/v1/nothing", "/signet/app.js", "/api/v1/openapi.json"])
def test_every_reply_carries_the_headers(api: TestClient, path: str) -> None:
    headers = api.get(path, follow_redirects=False).headers
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["referrer-policy"] == "no-referrer"
    assert "frame-ancestors 'self'" in headers["content-security-policy"]
    assert headers["cross-origin-resource-policy"] == "same-origin"
    assert "http" not in headers["content-security-policy"]


def test_refusals_carry_the_headers_too(api: TestClient) -> None:
    assert api.get("/", headers={"host": "evil.example"}).headers["x-content-type-options"] == "nosniff"
