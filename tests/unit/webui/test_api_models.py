"""The routes of the catalogue, in front of a real catalogue of tiny files."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
from fastapi import FastAPI
from starlette.requests import Request
from starlette.testclient import TestClient

from backend.errors import Problem, SignetError
from backend.models.cards import Sort
from backend.models.catalog import Catalog
from backend.models.sidecars import Notes
from backend.types import ModelCard, ModelInfo, ModelKind
from tests.support.headers import CHECKPOINTS, lora, save, save_json
from webui.api.models import model_routes
from webui.api.replies import ProblemReply
from webui.api.shapes import ModelOut

PNG = b"\x89PNG\r\n\x1a\n" + bytes(20)


class Desk:
    """What the front desk will do: hand the question to the catalogue."""

    def __init__(self, folder: Path) -> None:
        self.catalog = Catalog((), (folder,))

    def cards(
        self, kind: ModelKind, text: str = "", folder: str | None = None, sort: Sort = "name"
    ) -> tuple[ModelCard, ...]:
        return self.catalog.cards(kind, text, folder, sort)

    def card(self, name: str, kind: ModelKind = "checkpoint") -> ModelCard:
        return self.catalog.card(name, kind)

    def model(self, name: str, kind: ModelKind = "checkpoint") -> ModelInfo:
        return self.catalog.find(name, kind)

    def why_not(self, addition: ModelInfo, model: ModelInfo) -> str:
        return self.catalog.fits(addition, model)

    def model_preview(self, name: str, kind: ModelKind) -> Path | None:
        return self.catalog.preview(name, kind)

    def save_notes(self, name: str, kind: ModelKind, notes: Notes) -> ModelCard:
        return self.catalog.save_notes(name, kind, notes)

    def refused_models(self) -> Mapping[str, Problem]:
        return {name: error.problem for name, error in self.catalog.refused().items()}

    def models_version(self) -> int:
        return self.catalog.version()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    save(tmp_path / "named/base.safetensors", CHECKPOINTS["sd1"])
    save(tmp_path / "named/big.safetensors", CHECKPOINTS["sd2"])
    save(tmp_path / "named/style.safetensors", lora(), {"ss_output_name": "<script>", "modelspec.author": "me"})
    save(tmp_path / "named/sub/style.safetensors", lora(2048))
    (tmp_path / "named/old.ckpt").write_bytes(b"\x80")
    return tmp_path / "named"


@pytest.fixture
def api(folder: Path) -> Iterator[TestClient]:
    app = FastAPI()
    app.include_router(model_routes(Desk(folder)), prefix="/api/v1")

    @app.exception_handler(SignetError)
    async def expected(request: Request, error: SignetError) -> ProblemReply:
        return ProblemReply(error.problem)

    with TestClient(app) as client:
        yield client


def test_models_are_checkpoints_unless_another_kind_is_asked(api: TestClient):
    found = api.get("/api/v1/models").json()
    assert [card["id"] for card in found] == ["base", "big"]
    assert set(ModelOut.model_fields) <= set(found[0])
    assert [card["id"] for card in api.get("/api/v1/models?kind=lora").json()] == ["style", "sub/style"]
    assert api.get("/api/v1/models?kind=vae").json() == []
    assert api.get("/api/v1/models?kind=nonsense").status_code == 422


def test_a_list_is_searched_ordered_and_says_what_does_not_fit(api: TestClient):
    found = api.get("/api/v1/models?kind=lora&fits=base&sort=folder").json()
    assert [card["why_not"] for card in found] == ["", "it is made for SDXL, and this model is SD 1.x"]
    assert [card["id"] for card in api.get("/api/v1/models?kind=lora&text=ME%20style").json()] == ["style"]
    assert [card["id"] for card in api.get("/api/v1/models?kind=lora&folder=sub").json()] == ["sub/style"]
    assert api.get("/api/v1/models?kind=lora&fits=nothing").status_code == 422
    assert api.get("/api/v1/models?sort=sideways").status_code == 422


def test_no_reply_names_a_path_of_the_disk(api: TestClient, folder: Path):
    for address in ("?kind=lora", "", "/lora/style", "/refused", "/checkpoint/base"):
        reply = api.get(f"/api/v1/models{address}")
        assert reply.status_code == 200
        assert str(folder) not in reply.text
        assert str(folder.parent) not in reply.text


def test_one_model_is_told_in_full_and_a_list_without_metadata(api: TestClient):
    assert "metadata" not in api.get("/api/v1/models?kind=lora").json()[0]
    full = api.get("/api/v1/models/lora/style").json()
    assert (full["author"], full["metadata"]["ss_output_name"]) == ("me", "<script>")
    assert api.get("/api/v1/models/lora/sub/style").json()["family"] == "sdxl"
    assert api.get("/api/v1/models/lora/sub%2Fstyle").json()["family"] == "sdxl"


@pytest.mark.parametrize(
    "address",
    ["/x/style", "/lora/nothing-like-it-at-all", "/lora/..%2f..%2fetc%2fpasswd", "/lora/%00", "/lora/" + "a" * 400,
     "/preview/lora?id=..%2F..%2Fsecret", "/preview/x?id=style", "/preview/lora?id=style"],
)  # fmt: skip
def test_what_is_not_there_is_a_problem_and_never_a_crash(api: TestClient, address: str):
    reply = api.get(f"/api/v1/models{address}")
    assert reply.status_code in (404, 422)
    assert reply.json()["code"] in ("not-found", "unknown-model")


def test_a_preview_is_sent_as_a_picture_and_nothing_else(api: TestClient, folder: Path):
    (folder / "style.preview.png").write_bytes(PNG)
    address = api.get("/api/v1/models/lora/style").json()["preview"]
    reply = api.get(address)
    assert (reply.status_code, reply.content) == (200, PNG)
    assert reply.headers["content-type"] == "image/png"
    assert reply.headers["x-content-type-options"] == "nosniff"
    assert api.get("/api/v1/models?kind=lora").json()[1]["preview"] is None


@pytest.mark.parametrize("data", [b"<svg onload=alert(1)>", b"<html>", b"", b"GIF89a", b"\x80\x04pickle"])
def test_a_preview_that_is_no_picture_is_not_sent(api: TestClient, folder: Path, data: bytes):
    (folder / "style.preview.png").write_bytes(data)
    assert api.get("/api/v1/models/preview/lora?id=style").status_code == 404


def test_a_preview_that_is_far_too_large_is_not_sent(api: TestClient, folder: Path):
    with (folder / "style.preview.png").open("wb") as file:
        file.write(PNG)
        file.truncate(1 << 30)
    assert api.get("/api/v1/models/preview/lora?id=style").status_code == 404


def test_notes_are_written_and_read_back(api: TestClient, folder: Path):
    version = api.get("/api/v1/models/version").json()["version"]
    save_json(folder / "style.json", other="kept")
    reply = api.patch(
        "/api/v1/models/lora/style", json={"notes": "soft", "preferred_weight": 0.5, "activation_text": "a, b"}
    )
    assert reply.status_code == 200
    assert (reply.json()["notes"], reply.json()["preferred_weight"], reply.json()["triggers"]) == (
        "soft",
        0.5,
        ["a", "b"],
    )
    assert json.loads((folder / "style.json").read_text())["other"] == "kept"
    assert api.get("/api/v1/models/version").json()["version"] > version


@pytest.mark.parametrize(
    "body",
    [{"notes": 5}, {"path": "/etc"}, {"preferred_weight": 11}, {"notes": "x" * 20_001}, {"preferred_weight": "x"}],
)
def test_notes_of_another_shape_are_refused(api: TestClient, folder: Path, body: dict[str, object]):
    assert api.patch("/api/v1/models/lora/style", json=body).status_code == 422
    assert not (folder / "style.json").exists()


def test_a_file_that_is_no_notes_is_a_conflict(api: TestClient, folder: Path):
    (folder / "style.json").write_text("[]")
    assert api.patch("/api/v1/models/lora/style", json={"notes": "x"}).status_code == 409


def test_refused_models_say_why(api: TestClient):
    [refused] = api.get("/api/v1/models/refused").json()
    assert refused["name"] == "old.ckpt"
    assert "pickle" in refused["problem"]["detail"]
