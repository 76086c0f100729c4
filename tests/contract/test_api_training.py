"""Trainings through the API, in front of a fake desk with the real bookkeeping of trainings."""

from __future__ import annotations

from typing import Any

import pytest
from starlette.testclient import TestClient

from backend import wire
from tests.unit.webui.fakes import FakeDesk, picture


def brought(api: TestClient, number: int = 0) -> str:
    reply = api.post("/api/v1/inputs", content=picture(number), headers={"content-type": "image/png"})
    return str(reply.json()["id"])


def asked(api: TestClient, **fields: Any) -> Any:
    images = [{"image": brought(api), "caption": "a red apple"}]
    return api.post("/api/v1/training", json={"name": "style", "model": "starter", "images": images, **fields})


def test_a_training_takes_its_defaults_from_the_model(api: TestClient, desk: FakeDesk) -> None:
    defaults = api.get("/api/v1/training/defaults?model=starter").json()
    reply = asked(api, steps=40, trigger="blueprint style")
    assert reply.status_code == 202
    body = reply.json()
    assert reply.headers["location"] == f"/api/v1/training/{body['id']}"
    assert (body["name"], body["model"], body["steps"], body["pictures"]) == ("style", "starter", 40, 1)
    settings = body["settings"]
    assert settings["trigger"] == "blueprint style" and settings["resolution"] == 256 == defaults["resolution"]
    assert settings["learning_rate"] == defaults["learning_rate"] and settings["sample_prompt"] == "a red apple"
    tall = api.get("/api/v1/training/defaults?model=tall").json()
    assert tall["resolution"] == 512 and tall["learning_rate"] < defaults["learning_rate"]


def test_a_word_is_trained_with_settings_of_its_own(api: TestClient, desk: FakeDesk) -> None:
    defaults = api.get("/api/v1/training/defaults?model=starter&kind=embedding").json()
    body = asked(api, kind="embedding", init_word="shiny", vectors=2).json()
    assert (body["kind"], body["name"]) == ("embedding", "style")
    assert body["settings"]["vectors"] == 2 and body["settings"]["init_word"] == "shiny"
    assert body["settings"]["learning_rate"] == defaults["learning_rate"]
    assert asked(api, name="other").json()["kind"] == "lora"
    assert api.get("/api/v1/training/defaults?model=starter&kind=checkpoint").status_code == 422


def test_its_course_can_be_watched_stopped_and_resumed(api: TestClient, desk: FakeDesk) -> None:
    ident = asked(api, steps=40).json()["id"]
    address = f"/api/v1/training/{ident}"
    assert api.get(address).json()["state"] == "waiting"
    desk.trainings.hear(wire.Ready("cpu"))
    (order,) = desk.trainer.orders
    assert order.job_id == ident and "/pictures" not in str(order.output)
    for step in (1, 2, 3):
        desk.trainings.hear(wire.Trained(ident, step, 0.5 / step, 0.4))
    now = api.get(address).json()
    assert (now["state"], now["step"], now["average"]) == ("running", 3, 0.4)
    assert now["losses"] == [[1, 0.5], [2, 0.25], [3, 0.166667]] and now["eta"] >= 0
    assert api.post(f"{address}/stop", json={}).status_code == 202 and desk.trainer.cancelled == [ident]
    assert api.delete(address).status_code == 409
    desk.trainings.hear(wire.Ended(ident, cancelled=True))
    assert api.get("/api/v1/training").json()[0]["state"] == "stopped"
    assert api.post(f"{address}/resume", json={}).json()["state"] == "running"
    desk.trainings.hear(wire.Ended(ident))
    assert api.delete(address).status_code == 204
    assert api.get(address).status_code == 404


def test_a_sample_that_was_not_made_tells_why(api: TestClient, desk: FakeDesk) -> None:
    ident = asked(api, steps=40, sample_every=1).json()["id"]
    desk.trainings.hear(wire.Ready("cpu"))
    desk.trainings.hear(wire.Trained(ident, 1, 0.5, 0.5, True))
    (sample,) = api.get(f"/api/v1/training/{ident}").json()["samples"]
    assert (sample["step"], sample["state"], sample["records"]) == (1, "refused", []) and sample["why"]


@pytest.mark.parametrize(
    ("fields", "status", "field"),
    [
        ({"name": "../x"}, 422, "name"),
        ({"steps": 0}, 422, "steps"),
        ({"learning_rate": 5}, 422, "learning_rate"),
        ({"targets": "everything"}, 422, "targets"),
        ({"kind": "checkpoint"}, 422, "kind"),
        ({"kind": "embedding", "vectors": 9}, 422, "vectors"),
        ({"colour": "red"}, 422, "colour"),
        ({"model": "none"}, 422, "model"),
        ({"images": []}, 422, "images"),
        ({"images": [{"image": "0" * 64, "caption": "x"}]}, 404, None),
        ({"images": [], "folder": "../.."}, 422, "folder"),
        ({"trigger": "forbidden"}, 403, "prompt"),
    ],
)
def test_what_is_wrong_is_named(
    api: TestClient, desk: FakeDesk, fields: dict[str, Any], status: int, field: str | None
) -> None:
    reply = asked(api, **fields)
    assert reply.status_code == status, reply.text
    assert reply.json().get("field") == field
    assert api.get("/api/v1/training").json() == []


@pytest.mark.parametrize("path", ["", "/stop", "/resume"])
def test_a_training_that_is_not_there_is_not_found(api: TestClient, path: str) -> None:
    reply = api.post(f"/api/v1/training/nothing{path}", json={}) if path else api.get("/api/v1/training/nothing")
    assert reply.status_code == 404


def test_the_state_line_knows_the_memory(api: TestClient) -> None:
    now = api.get("/api/v1/health").json()
    assert 0 < now["memory_used"] < now["memory_budget"]
