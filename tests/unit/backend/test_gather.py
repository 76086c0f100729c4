"""What a job takes along to the engine: all that it names, each once, as it is now, or a word that it has gone."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from backend import images
from backend.errors import Conflict, NotFound, UnknownModel
from backend.gather import gather
from backend.inputs import Input, InputStore
from backend.types import (
    ControlUnit,
    GenerationRequest,
    Grid,
    Hires,
    Inpaint,
    Job,
    LoraUse,
    ModelInfo,
    ModelKind,
    Principal,
    Refiner,
    Words,
)
from backend.wire import Work
from tests.crash.pictures import NOON
from tests.support.library import FewModels
from tests.support.pictures import gradient


def model(name: str, kind: ModelKind = "checkpoint") -> ModelInfo:
    return ModelInfo(name, name, "sd1", f"/{name}", "single-file", 8, 64, 1, kind=kind)


MODELS: tuple[ModelInfo, ...] = (
    model("tiny"), model("polish"), model("calm", "lora"), model("soft", "vae"), model("edges", "controlnet"),
    model("sharp", "upscaler"), model("art", "embedding"), model("poses/hand", "embedding"),
    model("zebra", "embedding"),
)  # fmt: skip


class Room:
    """A catalogue, a folder of pictures and a history, all empty but for the models."""

    def __init__(self, folder: Path) -> None:
        self.models: Any = FewModels(*MODELS)
        self.store = InputStore(folder / "inputs", 1 << 30, 10_000)
        self.records: dict[str, list[Any]] = {}
        self.pictures: dict[str, Any] = {}

    def input(self, ident: str) -> Input:
        return self.store.get(ident)

    def of_job(self, job_id: str) -> list[Any]:
        return self.records.get(job_id, [])

    def by_sha256(self, sha256: str) -> Any:
        return self.pictures.get(sha256)

    def path(self, relative: str) -> Path:
        return Path("/outputs") / relative

    def bring(self, seed: int) -> str:
        return self.store.put(images.encode_png(gradient(16, 16, seed))).id

    def gather(self, **fields: Any) -> Work:
        plain = {
            "prompt": "a cat", "width": 64, "height": 64, "steps": 4, "sampler": "Euler", "schedule": "Automatic",
            "cfg": 7.0, "seed": 1, "model": "tiny",
        }  # fmt: skip
        request = GenerationRequest(**{**plain, **fields})
        job = Job("job", request, Principal(), "queued", NOON, NOON, None)  # type: ignore[arg-type]
        here: Any = self
        return gather(job, self.models, self, here, here)


@pytest.fixture
def room(tmp_path: Path) -> Room:
    return Room(tmp_path)


def said(*prompts: str, loras: tuple[str, ...] = ()) -> tuple[Words, ...]:
    return tuple(Words(prompt=prompt, loras=tuple(LoraUse(id=name) for name in loras)) for prompt in prompts)


def kinds(work: Work) -> list[tuple[str, str]]:
    return [(info.kind, info.id) for info in work.resources]


def test_a_plain_request_takes_its_model_and_nothing_else(room: Room):
    work = room.gather(count=3)
    assert (work.model.id, work.indexes, work.resources, dict(work.inputs), work.cells) == (
        "tiny",
        (0, 1, 2),
        (),
        {},
        (),
    )


def test_everything_that_is_named_goes_along_once(room: Room):
    photo = room.bring(1)
    unit = ControlUnit(image=photo, model="edges")
    work = room.gather(
        vae="soft", words=said("a", "b", loras=("calm", "calm")), control=(unit, unit), refiner=Refiner(model="polish"),
        hires=Hires(width=128, height=128, upscaler="sharp"),
    )  # fmt: skip
    assert kinds(work) == [
        ("vae", "soft"), ("lora", "calm"), ("controlnet", "edges"), ("checkpoint", "polish"), ("upscaler", "sharp"),
    ]  # fmt: skip
    assert list(work.inputs) == [photo]
    assert work.resource(("controlnet", "ip-adapter"), "edges").kind == "controlnet"


def test_built_in_upscalers_are_no_files(room: Room):
    for name in ("Latent", "Lanczos"):
        assert room.gather(hires=Hires(width=128, height=128, upscaler=name)).resources == ()


def test_embeddings_go_along_whose_name_stands_in_any_text(room: Room):
    assert kinds(room.gather(words=said("an ART print"))) == [("embedding", "art")]
    assert kinds(room.gather(words=(Words(prompt="x", negative="a hand"),))) == [("embedding", "poses/hand")]
    assert room.gather(words=said("a cart, arty hands")).resources == ()
    assert kinds(room.gather(words=said("cart and (art2:1.2)"))) == [("embedding", "art")]
    second = Hires(width=128, height=128, negative="zebra")
    assert kinds(room.gather(words=said("a cat"), hires=second)) == [("embedding", "zebra")]


def test_the_picture_to_start_from_is_the_parent_and_others_are_not(room: Room):
    photo, mask = room.bring(1), room.bring(2)
    work = room.gather(mode="inpaint", init_image=photo, inpaint=Inpaint(mask=mask))
    assert {name: source.relation for name, source in work.inputs.items()} == {photo: "parent", mask: "input"}
    assert all(Path(source.path).is_file() for source in work.inputs.values())


@pytest.mark.parametrize(
    "fields",
    [
        {"model": "gone"},
        {"vae": "gone"},
        {"words": said("a", loras=("gone",))},
        {"refiner": Refiner(model="gone")},
        {"hires": Hires(width=128, height=128, upscaler="gone")},
    ],
    ids=range(5),
)
def test_a_model_that_has_gone_since_the_request_is_named(room: Room, fields: dict[str, Any]):
    with pytest.raises(UnknownModel, match="gone"):
        room.gather(**fields)


def test_a_picture_that_has_gone_is_missed_in_words(room: Room):
    photo = room.bring(1)
    room.input(photo).path.unlink()
    with pytest.raises(NotFound, match="input picture"):
        room.gather(mode="img2img", init_image=photo)


def test_pictures_that_are_made_already_are_not_made_again(room: Room):
    room.records["job"] = [type("Row", (), {"index": 1})]
    assert room.gather(count=3).indexes == (0, 2)


def test_a_grid_takes_the_first_picture_of_each_job_and_leaves_places_empty(room: Room):
    passport = type("Passport", (), {"sha256": "f" * 64, "media_type": "image/png"})
    room.records["done"] = [type("Row", (), {"index": 0, "passport": passport, "path": "a.png", "handling": "show"})]
    grid = Grid(cells=("done", "", "failed"), columns=3)
    work = room.gather(mode="grid", prompt="", grid=grid)
    assert [cell and (cell.path, cell.relation) for cell in work.cells] == [("/outputs/a.png", "component"), None, None]
    with pytest.raises(Conflict, match="None of the pictures"):
        room.gather(mode="grid", grid=Grid(cells=("failed",), columns=1))


def test_a_model_goes_along_as_it_is_now(room: Room):
    room.models.known = (replace(MODELS[0], modified_ns=5, sha256="a" * 64), *MODELS[1:])
    work = room.gather()
    assert (work.model.modified_ns, work.model.sha256) == (5, "a" * 64)
