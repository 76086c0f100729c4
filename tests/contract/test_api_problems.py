"""Whatever is sent: a Problem after RFC 9457, never a trace, never a 500 that is not ours to blame."""

from __future__ import annotations

import json
import logging

import pytest
from starlette.testclient import TestClient

from backend.errors import Busy, Conflict, OutOfMemory, Refused, SignetError, StorageFull, Unavailable
from tests.unit.webui.fakes import FakeDesk

JSON = {"content-type": "application/json"}


def _problem(reply: object, status: int, code: str) -> dict[str, object]:
    assert reply.status_code == status, reply.text  # type: ignore[attr-defined]
    assert reply.headers["content-type"] == "application/problem+json"  # type: ignore[attr-defined]
    body: dict[str, object] = reply.json()  # type: ignore[attr-defined]
    assert body["code"] == code and body["status"] == status and body["type"] == f"/problems/{code}"
    assert body["title"] and body["detail"]
    return body


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({}, "prompt"),
        ({"prompt": ""}, "prompt"),
        ({"prompt": "   "}, "prompt"),
        ({"prompt": "a" * 10_000}, "prompt"),
        ({"prompt": "a\x00b"}, "prompt"),
        ({"prompt": 5}, "prompt"),
        ({"prompt": ["a"]}, "prompt"),
        ({"prompt": "a", "negative": "\x00"}, "negative"),
        ({"prompt": "a", "width": 100}, "width"),
        ({"prompt": "a", "height": 0}, "height"),
        ({"prompt": "a", "height": "tall"}, "height"),
        ({"prompt": "a", "steps": 0}, "steps"),
        ({"prompt": "a", "steps": 10_000}, "steps"),
        ({"prompt": "a", "steps": True}, "steps"),
        ({"prompt": "a", "cfg": {}}, "cfg"),
        ({"prompt": "a", "seed": -5}, "seed"),
        ({"prompt": "a", "count": 1000}, "count"),
        ({"prompt": "a", "sampler": "Eular"}, "sampler"),
        ({"prompt": "a", "schedule": "nope"}, "schedule"),
        ({"prompt": "a", "model": "nope"}, "model"),
        ({"prompt": "a", "promt": "b"}, "promt"),
        ({"prompt": "a", "mode": "painting"}, "mode"),
        ({"prompt": "a", "bucket": 3}, "bucket"),
        ({"prompt": "a", "client_extras": []}, "client_extras"),
    ],
)
def test_a_bad_value_names_its_field(api: TestClient, fields: dict[str, object], field: str) -> None:
    reply = api.post("/api/v1/jobs", json=fields)
    assert reply.status_code == 422, reply.text
    assert reply.json()["field"] == field


@pytest.mark.parametrize(
    "body",
    [
        '{"prompt": "a", "cfg": NaN}',
        '{"prompt": "a", "cfg": Infinity}',
        '{"prompt": "a", "steps": -Infinity}',
        '{"prompt": "a", "seed": 1e999}',
        '{"prompt": "a", "seed": ' + "9" * 400 + "}",
        '{"prompt": "a", "seed": ' + "9" * 5000 + "}",
        '{"prompt": "a", "width": 1.5}',
        '{"prompt": "\\ud800"}',
        '{"prompt": "a", "sampler": "\\udfff"}',
        '{"prompt": "a", "model": "\\ud800\\u0000"}',
        '{"prompt": "a", "\\ud800": 1}',
        '{"prompt": "a", "client_extras": {"x": NaN}}',
        '{"prompt": "a", "client_extras": {"x": "\\ud800"}}',
        '{"prompt": "a", "client_extras": {"x": "\\u0000"}}',
    ],
)
def test_what_json_allows_and_we_cannot_store_is_a_422(api: TestClient, body: str) -> None:
    reply = api.post("/api/v1/jobs", content=body, headers=JSON)
    assert reply.status_code == 422, reply.text
    assert json.loads(reply.content)["code"]


@pytest.mark.parametrize("body", ["", "{", "[]", "null", '"a"', "[" * 100_000, '{"prompt": "a"}}', "\ufeff{}", "\x00"])
def test_what_is_no_json_object_is_a_400(api: TestClient, body: str) -> None:
    _problem(api.post("/api/v1/jobs", content=body.encode(), headers=JSON), 400, "bad-request")


def test_bytes_that_are_no_text_are_a_400(api: TestClient) -> None:
    _problem(api.post("/api/v1/jobs", content=b'{"prompt": "\xff\xfe"}', headers=JSON), 400, "bad-request")


@pytest.mark.parametrize(
    ("error", "status", "code"),
    [
        (Refused("It asks for what the policy forbids."), 403, "refused"),
        (Busy("100 jobs wait already.", 2.2), 429, "busy"),
        (Conflict("Not now."), 409, "conflict"),
        (StorageFull(100 << 20, 1 << 20), 507, "storage-full"),
        (OutOfMemory(1 << 30, 1 << 20, "Make it smaller."), 507, "out-of-memory"),
        (Unavailable("The engine is down.", retry_after=0.2), 503, "unavailable"),
    ],
)
def test_each_expected_error_keeps_its_words(
    api: TestClient, desk: FakeDesk, error: SignetError, status: int, code: str
) -> None:
    desk.broken = error
    reply = api.post("/api/v1/jobs", json={"prompt": "a"})
    body = _problem(reply, status, code)
    assert body["detail"] == error.problem.detail and body.get("hint") == error.problem.hint
    wait = error.problem.retry_after
    assert reply.headers.get("retry-after") == (None if wait is None else str(max(1, -int(-wait // 1))))


def test_a_bug_of_ours_shows_a_trace_number_and_logs_the_trace(
    api: TestClient, desk: FakeDesk, caplog: pytest.LogCaptureFixture
) -> None:
    desk.broken = KeyError("a secret path")
    with caplog.at_level(logging.ERROR):
        body = _problem(api.post("/api/v1/jobs", json={"prompt": "a"}), 500, "broken")
    assert "secret" not in json.dumps(body)
    number = str(body["detail"]).split("trace ")[1][:8]
    assert number in caplog.text and "a secret path" in caplog.text


def test_unknown_addresses_and_methods_are_problems_too(api: TestClient) -> None:
    _problem(api.get("/api/v1/nothing"), 404, "not-found")
    _problem(api.get("/nothing"), 404, "not-found")
    _problem(api.put("/api/v1/jobs", json={}), 405, "method-not-allowed")


@pytest.mark.parametrize(
    "query", ["limit=0", "limit=x", "limit=1e400", "rating=9", "since=yesterday", "until=9999-99-99"]
)
def test_a_bad_query_names_its_field(api: TestClient, query: str) -> None:
    body = _problem(api.get(f"/api/v1/records?{query}"), 422, "invalid-parameter")
    assert body["field"] == query.split("=")[0]


@pytest.mark.parametrize("rating", ["6", "-1", "null", '"x"', "NaN", "1e400", "true1", "[]"])
def test_a_bad_rating_is_refused(api: TestClient, desk: FakeDesk, rating: str) -> None:
    record = desk.keep(desk.request("a"))
    reply = api.patch(f"/api/v1/records/{record.id}", content=f'{{"rating": {rating}}}', headers=JSON)
    assert reply.status_code in (400, 422), reply.text
    assert desk.record(record.id).rating == 0
