"""The embedding of a new word, from pictures to a file that changes pictures which name it, with stops on the way."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import cast

import numpy as np
import pytest
import torch
from safetensors import safe_open
from torch import Tensor

from backend import images
from backend.engine.embeddings import read_embedding
from backend.engine.lora_card import LoraCard
from backend.engine.lora_dataset import TrainingImage
from backend.engine.lora_training import Trainer, TrainingSettings
from backend.errors import InvalidParameter
from backend.models.catalog import Catalog
from backend.models.loader import LoadedModel, load
from backend.types.training import TrainingRequest
from backend.wire import Ended, Train, Trained
from tests.support import tiny
from tests.support.bench import Bench, make_work
from tests.support.lora import denoised, said
from tests.support.models import CPU, Shelf, shelf
from tests.unit.engine.test_new_word import pictures

__all__ = ["shelf"]

SMALL = TrainingSettings(
    kind="embedding", vectors=3, init_word="red", steps=30, learning_rate=2e-2, resolution=32, batch=2, seed=7,
    weight_decay=0.0,
)  # fmt: skip


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(params=["one", "velocity"])
def model(shelf: Shelf, request: pytest.FixtureRequest) -> LoadedModel:
    """An SD 1.x model that predicts noise, an SD 2.x model that predicts velocity."""
    return shelf.model(request.param)


def _steps(trainer: Trainer, most: int = 1000) -> list[float]:
    losses = []
    while not trainer.done and len(losses) < most:
        losses.append(trainer.step().loss)
    return losses


def _held(file: Path) -> dict[str, Tensor]:
    with safe_open(file, "pt") as opened:
        return {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118


def test_training_moves_the_vectors_and_nothing_of_the_model(model: LoadedModel, tmp_path: Path) -> None:
    before, words = denoised(model.unet), said(model, model.text_encoder)
    weights = {name: tensor.clone() for name, tensor in model.text_encoder.state_dict().items()}
    trainer = Trainer(model, pictures(), SMALL, tmp_path, LoraCard("glow"))
    start = read_embedding(trainer.save(tmp_path / "start.safetensors"), "glow").vectors[0]
    losses = _steps(trainer)
    found = read_embedding(trainer.save(tmp_path / "glow.safetensors"), "glow").vectors[0]
    trainer.close()
    assert torch.equal(start[0], start[1]), "both begin as the one token of the word"
    assert start.shape == found.shape == (3, model.text_encoder.config.hidden_size)
    assert (found - start).abs().max() > 0.05
    still = Trainer(model, pictures(), replace(SMALL, learning_rate=1e-9), tmp_path, LoraCard("glow"))
    assert np.mean(losses[-20:]) < np.mean(_steps(still)[-20:]), "the same noise, with vectors that stay"
    assert torch.equal(denoised(model.unet), before)
    assert torch.equal(said(model, model.text_encoder), words)
    assert all(torch.equal(weights[name], tensor) for name, tensor in model.text_encoder.state_dict().items())


def test_a_dropped_caption_still_says_the_word(shelf: Shelf, tmp_path: Path) -> None:
    settings = replace(SMALL, caption_dropout=1.0, steps=2)
    assert len(_steps(Trainer(shelf.model("one"), pictures(), settings, tmp_path, LoraCard("glow")))) == 2


@pytest.mark.parametrize("words", ["", "red cat"])
def test_a_resumed_training_ends_with_the_bits_of_one_that_never_stopped(
    shelf: Shelf, tmp_path: Path, words: str
) -> None:
    model = shelf.model("velocity")
    settings = replace(SMALL, steps=8, schedule="cosine", warmup=2, caption_dropout=0.3, init_word=words)
    whole = Trainer(model, pictures(), settings, tmp_path, LoraCard("glow"))
    losses = _steps(whole)
    whole.save(tmp_path / "whole.safetensors")
    first = Trainer(model, pictures(), settings, tmp_path, LoraCard("glow"))
    begun = _steps(first, 3)
    first.checkpoint(tmp_path)
    torch.manual_seed(99)  # nobody may lean on the global generator
    with torch.inference_mode():  # as the engine's loop runs
        second = Trainer(model, pictures(), settings, tmp_path, LoraCard("glow"))
        second.resume(tmp_path)
        assert begun + _steps(second) == losses
    second.save(tmp_path / "resumed.safetensors")
    one, other = _held(tmp_path / "whole.safetensors"), _held(tmp_path / "resumed.safetensors")
    assert one.keys() == other.keys() == {"emb_params"}
    assert torch.equal(one["emb_params"], other["emb_params"])


@pytest.mark.parametrize(
    "change", [{"vectors": 2}, {"init_word": "blue"}, {"kind": "lora", "vectors": 1, "init_word": ""}]
)
def test_a_checkpoint_of_another_training_is_refused(shelf: Shelf, tmp_path: Path, change: dict[str, object]) -> None:
    model = shelf.model("one")
    trainer = Trainer(model, pictures(), SMALL, tmp_path, LoraCard("glow"))
    trainer.step()
    trainer.checkpoint(tmp_path)
    other = Trainer(model, pictures(), replace(SMALL, **change), tmp_path, LoraCard("glow"))
    with pytest.raises(InvalidParameter, match="the settings"):
        other.resume(tmp_path)
    other.close()
    renamed = Trainer(model, pictures(), SMALL, tmp_path, LoraCard("shine"))
    with pytest.raises(InvalidParameter, match="captions"):
        renamed.resume(tmp_path)


def test_what_other_settings_of_a_lora_are_does_not_matter(shelf: Shelf, tmp_path: Path) -> None:
    model = shelf.model("one")
    trainer = Trainer(model, pictures(), SMALL, tmp_path, LoraCard("glow"))
    trainer.step()
    trainer.checkpoint(tmp_path)
    again = Trainer(model, pictures(), replace(SMALL, rank=99, targets="all"), tmp_path, LoraCard("glow"))
    again.resume(tmp_path)
    assert again.step_number == 1


def test_sdxl_learns_a_vector_for_each_of_its_text_encoders(tmp_path: Path) -> None:
    tiny.save_folder(tiny.pipeline("sdxl", seed=4), tmp_path / "xl")
    model = load(Catalog((), (tmp_path,)).find("xl"), CPU, torch.float32)
    trainer = Trainer(model, pictures(), replace(SMALL, steps=2), tmp_path, LoraCard("glow"))
    before = {name: tensor.detach().clone() for name, tensor in trainer._learned.named()}
    _steps(trainer)
    held = _held(trainer.save(tmp_path / "glow.safetensors"))
    assert {name: tuple(tensor.shape) for name, tensor in held.items()} == {"clip_l": (3, 32), "clip_g": (3, 64)}
    assert all(not torch.equal(held[name], tensor) for name, tensor in before.items())
    assert len(read_embedding(tmp_path / "glow.safetensors", "glow").vectors) == 2


def test_the_file_tells_what_it_is_and_diffusers_reads_it(shelf: Shelf, tmp_path: Path) -> None:
    card = LoraCard("glow", licence="CC0-1.0", trigger="not this")
    trainer = Trainer(shelf.model("one"), pictures(), SMALL, tmp_path, card)
    _steps(trainer, 2)
    file = trainer.save(tmp_path / "embeddings" / "glow.safetensors")
    with safe_open(file, "pt") as opened:
        told = opened.metadata()
    assert told["modelspec.architecture"] == "stable-diffusion-v1/textual-inversion"
    assert (told["modelspec.title"], told["modelspec.trigger_phrase"]) == ("glow", "glow")
    assert (told["modelspec.license"], told["ss_steps"]) == ("CC0-1.0", "2")
    assert not [key for key in told if key.startswith("ss_network_")]
    shown = Catalog((), (tmp_path,)).card("glow", "embedding")
    assert shown.triggers == ("glow",) and shown.info.licence == "CC0-1.0"
    stock = shelf.stock("one")
    stock.load_textual_inversion(str(file), token="glow")
    table = stock.text_encoder.get_input_embeddings().weight
    assert torch.equal(table[stock.tokenizer.convert_tokens_to_ids("glow")], _held(file)["emb_params"][0])


def test_the_engine_trains_a_word_that_changes_the_pictures_that_name_it_and_no_others(
    shelf: Shelf, tmp_path: Path
) -> None:
    bench, output = Bench(), tmp_path / "models" / "embeddings" / "glow.safetensors"
    try:
        request = TrainingRequest(
            kind="embedding", name="glow", model="one", steps=6, learning_rate=0.1, resolution=32, vectors=2,
            init_word="red",
        )  # fmt: skip
        folder = tmp_path / "training"
        _write(folder / "pictures")
        bench.give(Train("training", request, shelf.info("one"), folder, output))
        while bench.engine._training or bench.busy:
            bench.engine._receive()
            bench.engine.tick()
        assert bench.end("training") == Ended("training")
        assert [said.step for said in bench.of("training", Trained) if said.loss is not None] == [1, 2, 3, 4, 5, 6]
        word = Catalog((), (), own=tmp_path / "models").find("glow", "embedding")

        def made(name: str, prompt: str, *, learned: bool) -> Tensor:
            work = make_work(name, shelf.info("one"), prompt=prompt, steps=3)
            bench.picture(replace(work, resources=(word,) if learned else ()))
            return cast(Tensor, bench.engine.latents[name, 0])

        plain, named = made("a", "a cat", learned=False), made("b", "a cat, glow", learned=False)
        assert torch.equal(plain, made("c", "a cat", learned=True)), "a word that is not said changes nothing"
        assert (named - made("d", "a cat, glow", learned=True)).abs().max() > 1e-3
        assert torch.equal(plain, made("e", "a cat", learned=False))
    finally:
        bench.close()


def _write(folder: Path) -> None:
    folder.mkdir(parents=True)
    for number, one in enumerate(pictures()):
        (folder / f"{number}.png").write_bytes(images.encode_png(one.pixels))
        (folder / f"{number}.txt").write_text(one.caption)


def test_what_cannot_be_trained_with_is_named(shelf: Shelf, tmp_path: Path) -> None:
    with pytest.raises(InvalidParameter, match="vectors is 9"):
        Trainer(shelf.model("one"), pictures(), replace(SMALL, vectors=9), tmp_path, LoraCard("glow"))
    nothing: tuple[TrainingImage, ...] = ()
    with pytest.raises(InvalidParameter, match="no pictures"):
        Trainer(shelf.model("one"), nothing, SMALL, tmp_path, LoraCard("glow"))
