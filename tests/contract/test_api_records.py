"""The history, models, verify and health through the native API."""

from __future__ import annotations

from pathlib import Path

import pytest
from starlette.testclient import TestClient

from backend.errors import UnreadableModel
from tests.unit.webui.fakes import START, FakeDesk, picture


def _keep(desk: FakeDesk, *prompts: str) -> list[str]:
    return [desk.keep(desk.request(prompt, seed=number)).id for number, prompt in enumerate(prompts)]


def test_pages_are_chained_by_a_cursor(api: TestClient, desk: FakeDesk) -> None:
    ids = _keep(desk, *"abcde")
    seen: list[str] = []
    cursor = ""
    while True:
        page = api.get("/api/v1/records", params={"limit": 2, "before": cursor}).json()
        seen += [record["id"] for record in page["records"]]
        cursor = page["next"]
        if not cursor:
            break
    assert seen == ids[::-1]


def test_the_query_reaches_the_desk_as_asked(api: TestClient, desk: FakeDesk) -> None:
    _keep(desk, "a red apple", "a blue house")
    params = {"q": "red app", "model": "starter", "sampler": "Euler", "rating": 0, "since": "2026-11-20"}
    found = api.get("/api/v1/records", params={**params, "until": "2026-11-20"}).json()["records"]
    assert [record["passport"]["request"]["prompt"] for record in found] == ["a red apple"]
    query = desk.asked[-1]
    assert query.since <= START <= query.until and query.until.hour == 23 and query.limit == 50


@pytest.mark.parametrize("words", ["\x00", "a\x00b", '"', "' OR 1=1 --", "*", "NEAR(", "\ufffd", "😀", "ا", "a" * 5000])
def test_no_search_words_break_the_search(api: TestClient, words: str) -> None:
    assert api.get("/api/v1/records", params={"q": words}).status_code == 200


def test_a_record_comes_with_its_passport_and_addresses(api: TestClient, desk: FakeDesk) -> None:
    (ident,) = _keep(desk, "a red apple")
    record = api.get(f"/api/v1/records/{ident}").json()
    assert record["passport"]["sha256"] and record["infotext"].startswith("a red apple")
    assert record["urls"]["file"] == f"/api/v1/records/{ident}/file"


def test_the_file_is_served_byte_for_byte(api: TestClient, desk: FakeDesk, tmp_path: Path) -> None:
    (ident,) = _keep(desk, "a")
    reply = api.get(f"/api/v1/records/{ident}/file")
    assert reply.content == (tmp_path / f"{ident}.png").read_bytes()
    assert reply.headers["content-type"] == "image/png"
    assert reply.headers["cache-control"] == "private, max-age=31536000, immutable"
    assert reply.headers["content-disposition"].startswith("inline")
    saved = api.get(f"/api/v1/records/{ident}/file?download=1")
    assert saved.headers["content-disposition"] == f'attachment; filename="signet-{ident}.png"'
    part = api.get(f"/api/v1/records/{ident}/file", headers={"range": "bytes=0-3"})
    assert part.status_code == 206 and part.content == b"\x89PNG"


def test_a_file_that_is_gone_is_a_404(api: TestClient, desk: FakeDesk, tmp_path: Path) -> None:
    (ident,) = _keep(desk, "a")
    (tmp_path / f"{ident}.png").unlink()
    assert api.get(f"/api/v1/records/{ident}/file").status_code == 404
    assert api.get(f"/api/v1/records/{ident}/thumbnail").status_code == 404


def test_the_thumbnail_is_a_picture(api: TestClient, desk: FakeDesk) -> None:
    (ident,) = _keep(desk, "a")
    assert api.get(f"/api/v1/records/{ident}/thumbnail").headers["content-type"] == "image/png"


def test_rating_and_deleting(api: TestClient, desk: FakeDesk) -> None:
    (ident,) = _keep(desk, "a")
    assert api.patch(f"/api/v1/records/{ident}", json={"rating": 4}).json()["rating"] == 4
    assert len(api.get("/api/v1/records?rating=4").json()["records"]) == 1
    assert api.delete(f"/api/v1/records/{ident}").json()["id"] == ident
    assert api.get(f"/api/v1/records/{ident}").status_code == 404
    assert api.delete(f"/api/v1/records/{ident}").status_code == 404


def test_filters_models_samplers_and_health(api: TestClient, desk: FakeDesk) -> None:
    _keep(desk, "a")
    assert api.get("/api/v1/filters").json() == {"model": ["starter"], "sampler": ["Euler"]}
    models = api.get("/api/v1/models").json()
    assert [model["id"] for model in models] == ["starter", "tall"]
    assert "/secret" not in api.get("/api/v1/models").text
    assert api.get("/api/v1/samplers").json()[0]["schedules"][0] == "Automatic"
    health = api.get("/api/v1/health").json()
    assert health["engine"] == "ready" and health["share"] is False and health["policy"] == "personal"


def test_models_that_cannot_be_used_say_why(api: TestClient, desk: FakeDesk) -> None:
    assert api.get("/api/v1/models/refused").json() == []
    desk.refused["<b>old\udcff.ckpt"] = UnreadableModel("old.ckpt", "It can run programs.", "Convert it.")
    ((name, problem),) = (item.values() for item in api.get("/api/v1/models/refused").json())
    assert name == "<b>old\ufffd.ckpt"
    assert problem["detail"] and problem["hint"] == "Convert it." and problem["type"].startswith("/problems/")


def test_verify_takes_a_form_or_the_bare_file(api: TestClient, desk: FakeDesk) -> None:
    data = picture(3)
    form = api.post("/api/v1/verify", files={"file": ("x.png", data)}, headers={"x-requested-with": "test"})
    bare = api.post("/api/v1/verify", content=data, headers={"content-type": "image/png"})
    assert form.json() == bare.json() and form.json()["c2pa"]["state"] == "valid"
    assert desk.verified == [data, data]


@pytest.mark.parametrize(
    ("data", "status"), [(b"", 422), (b"no picture", 422), (b"busy", 503), (b"\x89PNG" + bytes(2 << 20), 413)]
)
def test_verify_says_what_is_wrong_with_a_file(api: TestClient, data: bytes, status: int) -> None:
    bare = api.post("/api/v1/verify", content=data, headers={"content-type": "application/octet-stream"})
    form = api.post("/api/v1/verify", files={"file": ("x", data)}, headers={"x-requested-with": "test"})
    assert (bare.status_code, form.status_code) == (status, status)
    assert bare.json()["detail"]
    assert (bare.headers.get("retry-after") == "3") == (status == 503)


def test_a_body_without_a_length_is_cut_off_too(api: TestClient) -> None:
    def endless() -> object:
        for _ in range(64):
            yield bytes(64 << 10)

    reply = api.post("/api/v1/verify", content=endless(), headers={"content-type": "image/png"})  # type: ignore[arg-type]
    assert reply.status_code == 413


def test_a_broken_form_is_a_400(api: TestClient) -> None:
    kind = {"content-type": "multipart/form-data", "x-requested-with": "test"}
    assert api.post("/api/v1/verify", content=b"x", headers=kind).status_code == 400
    kind = {"content-type": "multipart/form-data; boundary=x", "x-requested-with": "test"}
    assert api.post("/api/v1/verify", content=b"--x\r\n\r\n", headers=kind).status_code == 400
    other = api.post("/api/v1/verify", files={"other": ("x", b"x")}, headers={"x-requested-with": "test"})
    assert other.status_code == 400 and other.json()["field"] == "file"


def test_pictures_are_found_by_what_they_show(api: TestClient, desk: FakeDesk) -> None:
    first, second = _keep(desk, "a red apple", "a blue house")
    desk.meaning.waiting = 3
    found = api.get("/api/v1/nearest", params={"meaning": "apple", "model": "starter", "limit": 5}).json()
    assert [record["id"] for record in found["records"]] == [first]
    assert found["records"][0]["urls"]["thumbnail"] and found["scores"] == [0.9]
    assert found["waiting"] == 3 and found["next"] is None
    assert desk.asked[-1].model == "starter" and desk.asked[-1].limit == 5
    like = api.get("/api/v1/nearest", params={"like": first}).json()
    assert [record["id"] for record in like["records"]] == [second]


def test_a_search_by_meaning_needs_words_or_a_picture(api: TestClient, desk: FakeDesk) -> None:
    (ident,) = _keep(desk, "a red apple")
    assert api.get("/api/v1/nearest").json()["field"] == "meaning"
    assert api.get("/api/v1/nearest", params={"meaning": "a", "like": ident}).status_code == 422
    assert api.get("/api/v1/nearest", params={"like": "r9999"}).status_code == 404
    assert api.get("/api/v1/nearest", params={"like": "../secret"}).status_code == 404
