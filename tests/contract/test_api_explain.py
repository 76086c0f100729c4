"""Film, maps and sampler paths through the native API."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from tests.unit.webui.fakes import MODEL, FakeDesk

CONFIGS = Path(__file__).parents[2] / "backend" / "models" / "configs"


def _job(api: TestClient, **fields: Any) -> str:
    reply = api.post("/api/v1/jobs", json={"prompt": "a red cat", **fields})
    assert reply.status_code == 202, reply.json()
    ident: str = reply.json()["id"]
    return ident


def test_a_film_has_two_pictures_for_every_step(api: TestClient) -> None:
    job = _job(api, film=[4, 1])
    frames = api.get(f"/api/v1/jobs/{job}/frames").json()
    assert [(frame["index"], frame["step"], frame["sigma"]) for frame in frames] == [(0, 1, 10.0), (0, 4, 2.5)]
    for address in (frames[1]["url"], frames[1]["noisy"]):
        reply = api.get(address)
        assert reply.headers["content-type"] == "image/jpeg" and reply.headers["cache-control"] == "no-store"
        assert reply.content.startswith(b"\xff\xd8")
    assert api.get(f"/api/v1/jobs/{job}/maps").json() == []


def test_every_word_has_a_map_at_every_step_of_the_film(api: TestClient) -> None:
    job = _job(api, film=[1, 2], maps=True)
    maps = api.get(f"/api/v1/jobs/{job}/maps").json()
    assert [(one["step"], one["number"], one["word"]) for one in maps] == [
        (step, number, word) for step in (1, 2) for number, word in enumerate(("a", "red", "cat"))
    ]
    assert api.get(maps[2]["url"]).content.startswith(b"\x89PNG")


@pytest.mark.parametrize("address", ["frames/0/9", "frames/0/9/noisy", "maps/0/1/7", "maps/0/1/-1", "maps/3/1/0"])
def test_what_is_not_there_is_not_found(api: TestClient, address: str) -> None:
    job = _job(api, film=[1], maps=True)
    reply = api.get(f"/api/v1/jobs/{job}/{address}")
    assert reply.status_code == 404 and reply.json()["code"] == "not-found"
    assert api.get("/api/v1/jobs/..%2F..%2Fetc/frames").status_code == 404


@pytest.mark.parametrize("fields", [{}, {"film": [1], "count": 2}, {"film": [1], "maps": "yes"}])
def test_maps_need_a_film_and_one_picture(api: TestClient, fields: dict[str, Any]) -> None:
    reply = api.post("/api/v1/jobs", json={"prompt": "x", "maps": True, **fields})
    assert reply.status_code == 422 and reply.json()["field"] == "maps"


def test_a_path_is_told_without_an_engine(api: TestClient, desk: FakeDesk) -> None:
    desk.known.known = (replace(MODEL, path=str(CONFIGS / "sd1")),)
    found = api.get("/api/v1/explain/path", params={"sampler": "heun", "schedule": "karras", "steps": 5}).json()
    assert (found["sampler"], found["schedule"], found["model"]) == ("Heun", "Karras", "starter")
    assert found["sigmas"][0] == pytest.approx(14.6146, abs=1e-3) and found["sigmas"][-1] == 0
    assert found["moves"] == [2, 2, 2, 2, 1] and len(found["asks"]) == 9


@pytest.mark.parametrize(
    ("params", "field"),
    [({"steps": 0}, "steps"), ({"steps": "many"}, "steps"), ({"sampler": "x"}, "sampler"), ({"model": "x"}, "model")],
)
def test_a_path_that_cannot_be_names_the_field(api: TestClient, params: dict[str, Any], field: str) -> None:
    reply = api.get("/api/v1/explain/path", params=params)
    assert reply.status_code == 422 and reply.json()["field"] == field
