"""Plans, extensions and presets through the native API, in front of a fake desk."""

from __future__ import annotations

from typing import Any

import pytest
from starlette.testclient import TestClient

from tests.support.front import api, client, desk
from tests.unit.webui.fakes import FakeDesk

__all__ = ["api", "client", "desk"]
FIELDS = {"prompt": "a red apple", "seed": 7}
PLOT = {"x": {"axis": "Steps", "values": "4, 8, 12"}, "y": {"axis": "Seed", "values": "1-2"}}


def _post(api: TestClient, kind: str = "xyz", arguments: Any = PLOT, **fields: Any) -> Any:
    return api.post(f"/api/v1/plans/{kind}", json={"fields": {**FIELDS, **fields}, "arguments": arguments})


def test_every_plan_describes_its_form(api: TestClient) -> None:
    found = api.get("/api/v1/plans").json()
    assert [plan["name"] for plan in found["plans"]] == ["xyz", "matrix", "batch"]
    assert [argument["name"] for argument in found["plans"][0]["arguments"]][:3] == ["x", "y", "z"]
    axes = {axis["name"]: axis for axis in found["axes"]}
    assert axes["Checkpoint"]["choices"] == ["starter", "tall"] and "Euler a" in axes["Sampler"]["choices"]
    assert axes["Steps"]["choices"] == [] and axes["Steps"]["example"]


def test_a_plan_is_queued_as_jobs_with_their_sheet_last(api: TestClient, desk: FakeDesk) -> None:
    reply = _post(api)
    assert reply.status_code == 202
    ticket = reply.json()
    assert ticket["shape"] == [3, 2] and len(ticket["jobs"]) == 6 and ticket["jobs"][0]["label"] == "Steps: 4, Seed: 1"
    assert list(desk.all_jobs) == [job["id"] for job in (*ticket["jobs"], *ticket["grids"])]
    request = api.get(f"/api/v1/jobs/{ticket['grids'][0]['id']}").json()["request"]
    assert request["grid"]["column_labels"] == ["Steps: 4", "Steps: 8", "Steps: 12"]
    assert {principal.source for _, principal in desk.asked} == {"api"}
    later = api.get(reply.headers["location"]).json()
    assert later["ended"] and later["states"] == {"done": 7} and later["jobs"][0]["records"]


def test_a_draft_counts_and_makes_nothing(api: TestClient, desk: FakeDesk) -> None:
    reply = api.post("/api/v1/plans/xyz/draft", json={"fields": FIELDS, "arguments": PLOT})
    assert reply.json() == {"pictures": 6, "sheets": 1, "shape": [3, 2]}
    assert not desk.all_jobs and not desk.asked


def test_a_plan_is_cancelled_as_a_whole(api: TestClient, desk: FakeDesk) -> None:
    desk.instant = False
    ticket = _post(api).json()
    assert api.delete(f"/api/v1/plans/{ticket['id']}").json()["states"] == {"cancelled": 7}


@pytest.mark.parametrize(
    ("kind", "body", "status", "field"),
    [
        ("nothing", {"fields": FIELDS}, 404, None),
        ("xyz", {"fields": FIELDS, "arguments": {"x": {"axis": "Stepz", "values": "1"}}}, 422, "x"),
        ("xyz", {"fields": FIELDS, "arguments": {"x": {"axis": "Steps", "values": "1-x"}}}, 422, "Steps"),
        ("xyz", {"fields": FIELDS, "arguments": {"x": {"axis": "Steps", "values": "0"}}}, 422, "steps"),
        ("xyz", {"fields": [], "arguments": {}}, 422, "fields"),
        ("xyz", {"arguments": {}}, 422, "fields"),
        ("matrix", {"fields": FIELDS}, 422, "prompt"),
        ("batch", {"fields": FIELDS}, 422, "mode"),
    ],
)
def test_what_cannot_be_made_is_said_and_nothing_is_queued(
    api: TestClient, desk: FakeDesk, kind: str, body: Any, status: int, field: str | None
) -> None:
    reply = api.post(f"/api/v1/plans/{kind}", json=body)
    assert (reply.status_code, reply.json().get("field")) == (status, field)
    assert not desk.all_jobs


@pytest.mark.parametrize("path", ["/api/v1/plans/none", "/api/v1/plans/a%00b"])
def test_a_plan_nobody_made_is_not_found(api: TestClient, path: str) -> None:
    assert api.get(path).status_code == api.delete(path).status_code == 404


def test_extensions_are_listed_with_what_they_may(api: TestClient) -> None:
    found = {one["name"]: one for one in api.get("/api/v1/extensions").json()}
    assert set(found) == {"xyz-plot", "prompt-matrix", "batch-folder"}
    assert found["xyz-plot"]["doors"] == ["models:read", "plans"] and found["xyz-plot"]["on"]


def test_a_preset_is_saved_changed_listed_and_deleted(api: TestClient) -> None:
    assert api.get("/api/v1/presets").json() == []
    for steps in (4, 8):
        saved = api.put("/api/v1/presets/Fast/small", json={"fields": {"steps": steps}})
        assert saved.json() == {"name": "Fast/small", "fields": {"steps": steps}}
    assert api.get("/api/v1/presets").json() == [{"name": "Fast/small", "fields": {"steps": 8}}]
    assert api.delete("/api/v1/presets/Fast/small").status_code == 204
    assert api.delete("/api/v1/presets/Fast/small").status_code == 404


def test_a_preset_that_cannot_be_kept_is_refused(api: TestClient) -> None:
    for name, body in ((" ", {"fields": {}}), ("x" * 101, {"fields": {}}), ("a", {}), ("a", {"fields": 3})):
        assert api.put(f"/api/v1/presets/{name}", json=body).status_code == 422
    assert api.get("/api/v1/presets").json() == []
