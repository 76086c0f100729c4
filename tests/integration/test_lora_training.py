"""A LoRA from pictures to a file that changes pictures, with stops on the way."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open
from torch import Tensor

from backend import images
from backend.engine.lora import Assignment, RowAdditions, bind, read_adapter
from backend.engine.lora_card import LoraCard
from backend.engine.lora_dataset import TrainingImage, read_dataset
from backend.engine.lora_state import FILE
from backend.engine.lora_training import Trainer, TrainingSettings
from backend.errors import InvalidParameter, NotFound, UnreadableModel
from backend.models.hashes import file_sha256
from backend.models.loader import LoadedModel
from tests.support.lora import denoised, said
from tests.support.models import Shelf, shelf

__all__ = ["shelf"]

SIDE = 32
SMALL = TrainingSettings(rank=4, alpha=4, steps=40, learning_rate=2e-3, resolution=SIDE, batch=2, seed=7)


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def _pictures() -> tuple[TrainingImage, ...]:
    dice = np.random.default_rng(0)
    found = []
    for number, caption in enumerate(("a red cat", "a blue cat", "a red dog", "a blue dog, photo")):
        pixels = np.full((40, 48, 3), 40, np.uint8)
        pixels[8:24, 8 + number : 30] = (200, 30, 30) if "red" in caption else (30, 30, 200)
        found.append(TrainingImage(pixels + dice.integers(0, 9, pixels.shape, np.uint8), caption, f"{number}.png"))
    return tuple(found)


@pytest.fixture(params=["one", "velocity"])
def model(shelf: Shelf, request: pytest.FixtureRequest) -> LoadedModel:
    """An SD 1.x model that predicts noise, an SD 2.x model that predicts velocity."""
    return shelf.model(request.param)


def _weights(model: LoadedModel) -> dict[str, Tensor]:
    both = {**model.unet.state_dict(), **{f"text.{n}": t for n, t in model.text_encoder.state_dict().items()}}
    return {name: tensor.clone() for name, tensor in both.items()}


def test_training_lowers_the_loss_and_its_file_changes_the_model_without_touching_it(
    model: LoadedModel, tmp_path: Path
):
    before, plain, words = _weights(model), denoised(model.unet), said(model, model.text_encoder)
    trainer = Trainer(model, _pictures(), replace(SMALL, train_text_encoder=True), tmp_path, LoraCard("蓝图"))
    first = trainer.step()
    assert (first.step, first.steps, first.learning_rate) == (1, 40, 2e-3)
    reports = [first]
    assert torch.equal(denoised(model.unet), plain), "pictures made between two steps do not notice the training"
    while not trainer.done:
        reports.append(trainer.step())
    file = trainer.save(tmp_path / "蓝图.safetensors")
    trainer.close()
    assert np.mean([r.loss for r in reports[-10:]]) < 0.95 * np.mean([r.loss for r in reports[:10]])
    assert all(torch.equal(before[name], tensor) for name, tensor in _weights(model).items())
    assert torch.equal(denoised(model.unet), plain)
    bound = bind(read_adapter(file, "蓝图"), model)
    assert not bound.unused
    assert bound.on(model.text_encoder)
    additions = RowAdditions()
    with additions.applied(model.unet, [Assignment(slice(0, 2), ((bound, 1.0, ()),))]):
        assert (denoised(model.unet) - plain).abs().max() > 1e-3
    with additions.applied(model.text_encoder, [Assignment(slice(None), ((bound, 1.0, ()),))]):
        assert (said(model, model.text_encoder) - words).abs().max() > 1e-3
    additions.forget()


@pytest.mark.parametrize(
    "extra", [{}, {"train_text_encoder": True, "flip": True, "min_snr": 5.0, "noise_offset": 0.05}]
)
def test_a_resumed_training_ends_with_the_bits_of_one_that_never_stopped(
    shelf: Shelf, tmp_path: Path, extra: dict[str, object]
):
    model = shelf.model("velocity")
    settings = replace(SMALL, steps=8, schedule="cosine", warmup=2, caption_dropout=0.3, **extra)
    whole = Trainer(model, _pictures(), settings, tmp_path)
    losses = [whole.step().loss for _ in range(8)]
    whole.save(tmp_path / "whole.safetensors")
    whole.close()
    first = Trainer(model, _pictures(), settings, tmp_path)
    begun = [first.step().loss for _ in range(3)]
    first.checkpoint(tmp_path)
    first.close()
    torch.manual_seed(99)  # nobody may lean on the global generator
    second = Trainer(model, _pictures(), replace(settings, save_every=5), tmp_path)
    second.resume(tmp_path)
    assert begun + [second.step().loss for _ in range(5)] == losses
    second.save(tmp_path / "resumed.safetensors")
    second.close()
    assert _tensors(tmp_path / "whole.safetensors").keys() == _tensors(tmp_path / "resumed.safetensors").keys()
    resumed = _tensors(tmp_path / "resumed.safetensors")
    assert all(torch.equal(tensor, resumed[name]) for name, tensor in _tensors(tmp_path / "whole.safetensors").items())


def _tensors(file: Path) -> dict[str, Tensor]:
    with safe_open(file, "pt") as opened:
        return {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118


def test_training_works_in_inference_mode_as_the_engines_loop_runs(shelf: Shelf, tmp_path: Path):
    model = shelf.model("one")
    with torch.inference_mode():
        trainer = Trainer(model, _pictures(), SMALL, tmp_path)
        made = [trainer.step().loss for _ in range(3)]
        trainer.close()
    trainer = Trainer(model, _pictures(), SMALL, tmp_path)
    assert [trainer.step().loss for _ in range(3)] == made
    trainer.close()


def test_the_file_tells_what_it_is(shelf: Shelf, tmp_path: Path):
    model = shelf.model("one")
    card = LoraCard("blueprint", licence="CC0-1.0", author="Ada", trigger="blueprint style", description="Lines.")
    trainer = Trainer(model, _pictures(), replace(SMALL, targets="all", save_every=1), tmp_path, card)
    saved = trainer.step().saved
    trainer.close()
    assert saved == tmp_path / "blueprint-000001.safetensors"
    told = read_adapter(saved, "blueprint").metadata
    whole = saved.read_bytes()
    body = whole[8 + int.from_bytes(whole[:8], "little") :]
    (tmp_path / "body").write_bytes(body)
    expected = {
        "ss_output_name": "blueprint", "ss_network_module": "networks.lora", "ss_network_dim": "4",
        "ss_network_alpha": "4", "ss_base_model_version": "sd_v1", "ss_sd_model_name": "one", "ss_v2": "False",
        "ss_num_train_images": "4", "ss_resolution": "(32, 32)", "sshs_model_hash": file_sha256(tmp_path / "body"),
        "modelspec.sai_model_spec": "1.0.1", "modelspec.architecture": "stable-diffusion-v1/lora",
        "modelspec.title": "blueprint", "modelspec.resolution": "32x32", "modelspec.license": "CC0-1.0",
        "modelspec.author": "Ada", "modelspec.trigger_phrase": "blueprint style",
        "modelspec.implementation": "diffusers", "modelspec.description": "Lines.",
        "modelspec.prediction_type": "epsilon",
    }  # fmt: skip
    assert {key: told[key] for key in expected} == expected
    tags = json.loads(told["ss_tag_frequency"])["blueprint"]
    assert tags == {"a blue cat": 1, "a blue dog": 1, "a red cat": 1, "a red dog": 1, "photo": 1}
    assert told["modelspec.date"].startswith("20")
    assert any("resnets" in layer for layer in read_adapter(saved, "").layers)
    assert not list(tmp_path.glob("*.part"))


def test_a_checkpoint_of_another_training_is_refused_and_says_what_differs(shelf: Shelf, tmp_path: Path):
    model = shelf.model("one")
    trainer = Trainer(model, _pictures(), SMALL, tmp_path)
    with pytest.raises(NotFound):
        trainer.resume(tmp_path)
    trainer.step()
    trainer.checkpoint(tmp_path)
    trainer.close()
    for settings, pictures, name, words in (
        (replace(SMALL, learning_rate=1e-3), _pictures(), "one", "the settings differed"),
        (SMALL, _pictures()[:3], "one", "the pictures or captions differed"),
        (SMALL, _pictures(), "two", "the model differed"),
    ):
        other = Trainer(shelf.model(name), pictures, settings, tmp_path)
        with pytest.raises(InvalidParameter, match=words):
            other.resume(tmp_path)
        other.close()
    longer = Trainer(model, _pictures(), replace(SMALL, steps=99), tmp_path)
    longer.resume(tmp_path)
    assert longer.step_number == 1
    (tmp_path / FILE).write_bytes((tmp_path / FILE).read_bytes()[:-9])
    with pytest.raises(UnreadableModel):
        longer.resume(tmp_path)
    longer.close()


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"rank": 0}, "rank is 0"),
        ({"resolution": 30}, "multiple of 4"),
        ({"learning_rate": float("nan")}, "learning_rate"),
        ({"batch": 100}, "batch is 100"),
    ],
)
def test_settings_that_cannot_be_trained_with(shelf: Shelf, tmp_path: Path, changes: dict[str, float], words: str):
    with pytest.raises(InvalidParameter, match=words):
        Trainer(shelf.model("one"), _pictures(), replace(SMALL, **changes), tmp_path)


def test_a_training_that_runs_off_says_so(shelf: Shelf, tmp_path: Path):
    trainer = Trainer(shelf.model("one"), _pictures(), replace(SMALL, learning_rate=1.0, alpha=1e6), tmp_path)
    with pytest.raises(InvalidParameter, match="ran off: at step"):
        for _ in range(40):
            trainer.step()
    trainer.close()


@pytest.mark.parametrize("name", ["", " ", "../up", "a/b", "a\\b", "..", "x" * 200, "a\nb", "a:b", " a"])
def test_names_that_no_file_can_have(shelf: Shelf, tmp_path: Path, name: str):
    with pytest.raises(InvalidParameter, match="cannot be used for a file"):
        Trainer(shelf.model("one"), _pictures(), SMALL, tmp_path, LoraCard(name))


def test_a_model_in_half_precision_and_an_empty_list_are_refused(shelf: Shelf, tmp_path: Path):
    half = replace(shelf.model("one"), dtype=torch.float16)
    with pytest.raises(InvalidParameter, match="half precision"):
        Trainer(half, _pictures(), SMALL, tmp_path)
    with pytest.raises(InvalidParameter, match="no pictures"):
        Trainer(shelf.model("one"), (), SMALL, tmp_path)


def _picture(path: Path, colour: int = 0) -> None:
    path.write_bytes(images.encode_png(np.full((8, 8, 3), colour, np.uint8)))


def test_a_folder_gives_pictures_with_their_captions(tmp_path: Path):
    for name in ("b_red-apple (2).png", "a.png", "ünï çat.png"):
        _picture(tmp_path / name)
    (tmp_path / "a.txt").write_text("\ufeffa red\n  cat, photo \n", encoding="utf-8")
    (tmp_path / "notes.md").write_text("not a picture")
    found = read_dataset(tmp_path)
    assert [(one.name, one.caption) for one in found] == [
        ("a.png", "a red cat, photo"), ("b_red-apple (2).png", "b red apple"), ("ünï çat.png", "ünï çat"),
    ]  # fmt: skip
    assert found[0].pixels.shape == (8, 8, 3)


def test_a_folder_that_cannot_be_used_says_why(tmp_path: Path):
    def refused() -> str:
        with pytest.raises(InvalidParameter) as told:
            read_dataset(tmp_path)
        return told.value.problem.detail

    assert "no pictures" in refused()
    for number in range(7):
        _picture(tmp_path / f"IMG_{number:04}.png")
    assert refused() == (
        "These have no caption: IMG_0000.png, IMG_0001.png, IMG_0002.png, IMG_0003.png, IMG_0004.png and 2 more."
    )
    (tmp_path / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\nnothing")
    (tmp_path / "text.jpg").write_bytes(b"hello")
    assert "broken.png" in refused()
    assert "text.jpg" in refused()
    with pytest.raises(InvalidParameter, match="no pictures"):
        read_dataset(tmp_path / "not there")
