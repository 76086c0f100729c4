"""Jobs through the native API."""

from __future__ import annotations

import json
import threading
import time
from typing import Any

import pytest
from starlette.testclient import TestClient

from backend.types import Event
from tests.unit.webui.fakes import FakeDesk


def _events(text: str) -> list[dict[str, Any]]:
    blocks = [block for block in text.split("\n\n") if "data: " in block]
    return [json.loads(block.split("data: ", 1)[1]) for block in blocks]


def _ids(text: str) -> list[int]:
    return [int(line[4:]) for line in text.splitlines() if line.startswith("id: ")]


def test_a_job_is_accepted_with_its_address(api: TestClient, desk: FakeDesk) -> None:
    reply = api.post("/api/v1/jobs", json={"prompt": "a red apple", "seed": 7, "count": 2})
    assert reply.status_code == 202
    job = reply.json()
    assert reply.headers["location"] == f"/api/v1/jobs/{job['id']}"
    assert job["request"]["prompt"] == "a red apple" and job["request"]["cfg"] == 4.0
    assert desk.asked[0][1].source == "api"
    found = api.get(reply.headers["location"]).json()
    assert found["state"] == "done" and len(found["records"]) == 2 and found["last_seq"] == 7


def test_own_jobs_are_listed_newest_first(api: TestClient) -> None:
    first, second = (api.post("/api/v1/jobs", json={"prompt": word}).json()["id"] for word in ("one", "two"))
    assert [job["id"] for job in api.get("/api/v1/jobs").json()["jobs"]] == [second, first]
    assert len(api.get("/api/v1/jobs?limit=1").json()["jobs"]) == 1


def test_a_job_is_cancelled_once(api: TestClient, desk: FakeDesk) -> None:
    desk.instant = False
    job = api.post("/api/v1/jobs", json={"prompt": "x"}).json()["id"]
    assert api.delete(f"/api/v1/jobs/{job}").json()["state"] == "cancelled"
    again = api.delete(f"/api/v1/jobs/{job}")
    assert again.status_code == 409 and again.json()["code"] == "conflict"


def test_an_interrupted_job_is_dismissed(api: TestClient, desk: FakeDesk) -> None:
    desk.instant = False
    job = api.post("/api/v1/jobs", json={"prompt": "x"}).json()["id"]
    desk.move(job, state="interrupted")
    assert api.delete(f"/api/v1/jobs/{job}").json()["state"] == "cancelled"


def test_an_interrupted_job_runs_again(api: TestClient, desk: FakeDesk) -> None:
    desk.instant = False
    job = api.post("/api/v1/jobs", json={"prompt": "x"}).json()["id"]
    assert api.post(f"/api/v1/jobs/{job}/resume", json={}).status_code == 409
    desk.move(job, state="interrupted")
    again = api.post(f"/api/v1/jobs/{job}/resume", headers={"content-type": "application/json"})
    assert again.status_code == 202 and again.json()["state"] == "queued"


def test_events_are_replayed_from_the_start(api: TestClient) -> None:
    job = api.post("/api/v1/jobs", json={"prompt": "x"}).json()["id"]
    reply = api.get(f"/api/v1/jobs/{job}/events")
    assert reply.headers["content-type"].startswith("text/event-stream")
    assert reply.headers["cache-control"] == "no-store"
    assert _ids(reply.text) == [1, 2, 3, 4, 5, 6]
    events = _events(reply.text)
    assert [event["phase"] for event in events] == ["queued", "step", "step", "step", "image", "done"]
    assert events[0]["position"] == 0 and events[1]["preview"] == 1 and events[4]["record_id"]


def test_a_replay_starts_after_what_was_seen(api: TestClient) -> None:
    job = api.post("/api/v1/jobs", json={"prompt": "x"}).json()["id"]
    assert _ids(api.get(f"/api/v1/jobs/{job}/events?after=4").text) == [5, 6]
    assert _ids(api.get(f"/api/v1/jobs/{job}/events", headers={"last-event-id": "5"}).text) == [6]
    newer = api.get(f"/api/v1/jobs/{job}/events?after=1", headers={"last-event-id": "4"})
    assert _ids(newer.text) == [5, 6]


@pytest.mark.parametrize("after", ["", "x", "-1", "1e9", "\u0661", "9" * 400, "%00", "%f0%28"])
def test_a_senseless_starting_point_is_harmless(api: TestClient, after: str) -> None:
    job = api.post("/api/v1/jobs", json={"prompt": "x"}).json()["id"]
    assert api.get(f"/api/v1/jobs/{job}/events?after={after}").status_code == 200


def test_a_stream_that_has_seen_the_end_ends(api: TestClient) -> None:
    job = api.post("/api/v1/jobs", json={"prompt": "x"}).json()["id"]
    assert [event["phase"] for event in _events(api.get(f"/api/v1/jobs/{job}/events?after=6").text)] == ["done"]


def test_events_of_an_earlier_run_of_the_studio_tell_how_it_ended(api: TestClient, desk: FakeDesk) -> None:
    desk.instant = False
    job = api.post("/api/v1/jobs", json={"prompt": "x"}).json()["id"]
    desk.happened[job] = []
    desk.move(job, state="interrupted")
    assert [event["phase"] for event in _events(api.get(f"/api/v1/jobs/{job}/events?after=3").text)] == ["interrupted"]


def test_a_job_that_is_done_before_its_log_says_so_loses_no_picture(
    api: TestClient, desk: FakeDesk, monkeypatch: pytest.MonkeyPatch
) -> None:
    desk.instant = False
    job = api.post("/api/v1/jobs", json={"prompt": "x"}).json()["id"]
    desk.move(job, state="done", images=1)
    record = desk.keep(desk.job(job).request, job)
    polls = iter(range(12))
    events = desk.events

    def lagging(job_id: str, after: int = 0) -> tuple[Event, ...]:
        if (poll := next(polls, None)) == 6:
            desk.happen(job, phase="image", record_id=record.id)
        elif poll == 9:
            desk.happen(job, phase="done")
        return events(job_id, after)

    monkeypatch.setattr(desk, "events", lagging)
    text = api.get(f"/api/v1/jobs/{job}/events").text
    assert _ids(text) == [1, 2, 3]
    assert [event["phase"] for event in _events(text)] == ["queued", "image", "done"]
    assert _events(text)[1]["record_id"] == record.id


def test_a_job_that_runs_again_has_not_ended_with_its_interruption(api: TestClient, desk: FakeDesk) -> None:
    desk.instant = False
    job = api.post("/api/v1/jobs", json={"prompt": "x"}).json()["id"]
    desk.happen(job, phase="interrupted")
    desk.move(job, state="interrupted")
    desk.resume(job, desk.job(job).principal)
    desk.finish(job)
    phases = [event["phase"] for event in _events(api.get(f"/api/v1/jobs/{job}/events").text)]
    assert phases == ["queued", "queued", "step", "step", "step", "image", "done"]


def test_the_stream_follows_a_running_job(api: TestClient, desk: FakeDesk) -> None:
    desk.instant = False
    job = api.post("/api/v1/jobs", json={"prompt": "x"}).json()["id"]

    def later() -> None:
        time.sleep(0.3)
        desk.finish(job)

    thread = threading.Thread(target=later)
    thread.start()
    assert _ids(api.get(f"/api/v1/jobs/{job}/events").text) == [1, 2, 3, 4, 5, 6]
    thread.join()


def test_the_preview_is_a_jpeg_that_nobody_stores(api: TestClient, desk: FakeDesk) -> None:
    desk.instant = False
    job = api.post("/api/v1/jobs", json={"prompt": "x"}).json()["id"]
    assert api.get(f"/api/v1/jobs/{job}/preview").status_code == 404
    desk.happen(job, phase="step", step=1, steps=2, preview=1)
    reply = api.get(f"/api/v1/jobs/{job}/preview")
    assert reply.headers["content-type"] == "image/jpeg" and reply.headers["cache-control"] == "no-store"
    assert reply.content.startswith(b"\xff\xd8\xff")


@pytest.mark.parametrize(
    "ident", ["nope", "..", "%2e%2e", "a%00b", "a" * 65, "%f0%9f%98%80", "a b", "..%2f..%2fsignet.db"]
)
@pytest.mark.parametrize("tail", ["", "/events", "/preview"])
def test_an_unknown_job_is_a_404_in_words(api: TestClient, ident: str, tail: str) -> None:
    reply = api.get(f"/api/v1/jobs/{ident}{tail}")
    assert reply.status_code == 404
    assert reply.headers["content-type"] == "application/problem+json"
