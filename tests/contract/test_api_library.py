"""Pictures, texts, styles, tokens and control hints over the API."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image
from starlette.testclient import TestClient

from backend import images
from tests.support.pictures import gradient
from tests.unit.webui.fakes import FakeDesk

PNG = {"content-type": "image/png"}


def brought(api: TestClient, pixels: np.ndarray | None = None) -> dict[str, object]:
    data = images.encode_png(gradient() if pixels is None else pixels)
    reply = api.post("/api/v1/inputs", content=data, headers=PNG)
    assert reply.status_code == 201, reply.text
    return dict(reply.json())


def test_a_picture_that_was_brought_comes_back_byte_for_byte(api: TestClient) -> None:
    data = images.encode_png(gradient(40, 24), "a cat\nSteps: 1, Seed: 2, Size: 3x4")
    reply = api.post("/api/v1/inputs", content=data, headers=PNG).json()
    assert (reply["width"], reply["height"], reply["media_type"]) == (40, 24, "image/png")
    sent = api.get(reply["url"])
    assert sent.content == data
    assert sent.headers["x-content-type-options"] == "nosniff"
    assert api.get(f"/api/v1/inputs/{reply['id']}").json() == reply


@pytest.mark.parametrize("data", [b"", b"MZ not a picture", b"\x89PNG\r\n\x1a\n cut off"])
def test_what_is_no_picture_is_refused_in_words(api: TestClient, data: bytes) -> None:
    reply = api.post("/api/v1/inputs", content=data, headers=PNG)
    assert reply.status_code == 422
    assert reply.json()["code"] == "unreadable-image"
    assert reply.json()["hint"]


@pytest.mark.parametrize("ident", ["0" * 64, "nothing", "..%2f..%2fetc%2fpasswd", "A" * 64])
def test_a_picture_that_is_not_there_is_not_found(api: TestClient, ident: str) -> None:
    assert api.get(f"/api/v1/inputs/{ident}").status_code == 404
    assert api.get(f"/api/v1/inputs/{ident}/file").status_code == 404


def test_a_picture_of_the_history_can_be_taken_along(api: TestClient, desk: FakeDesk) -> None:
    record = desk.keep(desk.request("a cat"))
    reply = api.post(f"/api/v1/inputs/from-record/{record.id}", json={})
    assert reply.status_code == 201
    assert api.get(reply.json()["url"]).content == desk.file(record.id).read_bytes()


def test_the_text_of_a_picture_is_read_as_fields_of_a_request(api: TestClient) -> None:
    text = "a red cat\nNegative prompt: dog\nSteps: 12, Sampler: Euler a, CFG scale: 5, Seed: 9, Size: 64x32, Odd: x"
    found = api.post("/api/v1/read", content=images.encode_png(gradient(), text), headers=PNG).json()
    assert found["prompt"] == "a red cat"
    assert found["fields"]["steps"] == 12
    assert (found["fields"]["width"], found["fields"]["height"]) == (64, 32)
    assert "Odd" in found["parameters"] or "Odd" in found["unknown"]
    assert api.post("/api/v1/read-text", json={"text": text}).json()["fields"]["seed"] == 9


def test_a_picture_that_says_nothing_says_so(api: TestClient) -> None:
    assert api.post("/api/v1/read", content=images.encode_png(gradient()), headers=PNG).json() is None


def test_tokens_are_counted_and_the_limit_grows_by_chunks(api: TestClient) -> None:
    one = api.post("/api/v1/tokens", json={"text": "a cat"}).json()
    assert one == {"tokens": 2, "chunks": 1, "limit": 75}
    many = api.post("/api/v1/tokens", json={"text": "cat " * 80}).json()
    assert (many["chunks"], many["limit"]) == (2, 150)


def test_styles_are_saved_changed_and_deleted(api: TestClient, desk: FakeDesk) -> None:
    style = {"name": "Ink & wash/2", "prompt": "{prompt}, ink", "negative": "photo"}
    assert api.post("/api/v1/styles", json=style).status_code == 201
    assert style in api.get("/api/v1/styles").json()
    reply = api.post("/api/v1/jobs", json={"prompt": "a cat", "styles": ["Ink & wash/2"]})
    assert reply.json()["request"]["words"][0]["prompt"] == "a cat, ink"
    assert api.delete("/api/v1/styles/Ink%20%26%20wash/2").status_code == 204
    assert api.get("/api/v1/styles").json() == []
    assert api.delete("/api/v1/styles/none").status_code == 404


def test_every_preprocessor_says_what_it_does_and_what_it_lacks(api: TestClient) -> None:
    found = {one["name"]: one for one in api.get("/api/v1/control/preprocessors").json()}
    assert found["canny"]["low"]["label"] == "Low threshold"
    assert found["canny"]["missing"] == ""
    assert "depth" in found["depth"]["missing"].casefold()


def test_the_hint_of_a_unit_is_a_picture_of_edges(api: TestClient) -> None:
    pixels = np.zeros((64, 96, 3), np.uint8)
    pixels[16:48, 24:72] = 255
    image = brought(api, pixels)["id"]
    reply = api.post("/api/v1/control/hint", json={"image": image, "preprocessor": "canny"})
    assert reply.headers["content-type"] == "image/png"
    hint = np.asarray(Image.open(io.BytesIO(reply.content)))
    assert hint.shape == (64, 96, 3)
    assert set(np.unique(hint)) == {0, 255}
    assert 0 < (hint > 0).mean() < 0.2
    unknown = api.post("/api/v1/control/hint", json={"image": image, "preprocessor": "magic"})
    assert unknown.status_code == 422


def test_the_queue_is_shown_paused_and_reordered(api: TestClient, desk: FakeDesk) -> None:
    desk.instant = False
    ids = [api.post("/api/v1/jobs", json={"prompt": f"cat {number}"}).json()["id"] for number in range(2)]
    assert [job["id"] for job in api.get("/api/v1/queue").json()["waiting"]] == ids
    assert api.patch("/api/v1/queue", json={"paused": True}).json()["paused"]
    assert api.patch("/api/v1/queue", json={"paused": "yes"}).status_code == 422
    api.patch(f"/api/v1/jobs/{ids[1]}", json={"place": 0})
    assert ("move", ids[1], 0) in desk.asked
