"""A training in the engine's loop, between the pictures of others, with a tiny model."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from backend import images
from backend.engine.loop import Engine
from backend.engine.lora import read_adapter
from backend.engine.lora_state import FILE
from backend.models.hashes import file_sha256
from backend.types.training import TrainingRequest
from backend.wire import Cancel, Ended, Stop, Train, Trained, Unload
from tests.support.bench import Bench, make_work
from tests.support.desk import PlainDesk, pixels_of
from tests.support.models import Shelf, shelf

__all__ = ["shelf"]


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def bench() -> Iterator[Bench]:
    made = Bench()
    yield made
    made.close()


def order(shelf: Shelf, folder: Path, ident: str = "training", **fields: object) -> Train:
    pictures = folder / ident / "pictures"
    if not pictures.is_dir():
        pictures.mkdir(parents=True)
        for number, caption in enumerate(("a red cat", "a blue cat")):
            pixels = np.full((32, 32, 3), 60 * number + 40, np.uint8)
            pixels[8:20, 8:20] = (200, 30, 30) if "red" in caption else (30, 30, 200)
            (pictures / f"{number}.png").write_bytes(images.encode_png(pixels))
            (pictures / f"{number}.txt").write_text(caption)
    plain = {"name": "style", "model": "one", "steps": 8, "rank": 2, "learning_rate": 1e-3, "resolution": 32}
    request = TrainingRequest.model_validate({**plain, "batch": 2, **fields})
    return Train(ident, request, shelf.info("one"), folder / ident, folder / "style.safetensors")


def run(bench: Bench, most: int = 500) -> None:
    """Go round until nothing is left to do."""
    for _ in range(most):
        if not (bench.busy or bench.engine._training):
            return
        bench.engine._receive()
        bench.engine.tick()
    raise AssertionError("it never ended")


def steps(bench: Bench, ident: str = "training") -> list[int]:
    return [said.step for said in bench.of(ident, Trained) if said.loss is not None]


def test_a_training_takes_its_steps_and_leaves_a_lora_and_a_checkpoint(shelf: Shelf, bench: Bench, tmp_path: Path):
    told = order(shelf, tmp_path, sample_every=3, save_every=4)
    bench.give(told)
    run(bench)
    assert steps(bench) == [1, 2, 3, 4, 5, 6, 7, 8]
    assert [said.step for said in bench.of("training", Trained) if said.wrote] == [3, 6, 8]
    assert bench.end("training") == Ended("training")
    assert read_adapter(told.output, "style").metadata["ss_steps"] == "8"
    assert (told.folder / FILE).is_file()


def test_a_picture_made_meanwhile_has_the_bits_of_one_made_alone(shelf: Shelf, tmp_path: Path):
    works = [make_work("job", shelf.info("one"), steps=6, seed=5), make_work("two", shelf.info("two"), seed=3)]
    made = []
    for alone in (True, False):
        bench = Bench()
        if not alone:
            bench.give(order(shelf, tmp_path, steps=400, train_text_encoder=True))
            for _ in range(3):
                bench.engine._receive()
                bench.engine.tick()
        bench.give(*works)
        while bench.engine._open or not bench.engine.inbox.empty():
            bench.engine._receive()
            bench.engine.tick()
        made.append(({key: pixels_of(one) for key, one in bench.sealed.items()}, bench.engine.latents))
        if not alone:
            assert len(steps(bench)) > 3, "the training went on beside the pictures"
            assert bench.engine._training, "and it is not through"
        bench.close()
    (pixels, latents), (others, other_latents) = made
    assert len(pixels) == 2
    assert all(np.array_equal(pixels[key], others[key]) for key in pixels)
    assert all(torch.equal(latents[key], other_latents[key]) for key in latents)


def test_pictures_come_first_and_get_at_least_half_of_the_time(shelf: Shelf, bench: Bench, tmp_path: Path):
    bench.give(order(shelf, tmp_path))
    for _ in range(3):
        bench.engine._receive()
        bench.engine.tick()
    training = bench.engine._training
    training._cost = 1.0
    assert not training.due(0.6) and training.due(0.6), "two pictures' ticks are as dear as a step"
    assert training.due(None), "and without pictures it need not wait"


def test_a_stopped_training_goes_on_where_it_was(shelf: Shelf, tmp_path: Path):
    def trained(*messages: object, name: str) -> tuple[str, Bench]:
        bench = Bench()
        told = order(shelf, tmp_path, name, schedule="cosine")
        bench.give(told)
        while len(steps(bench, name)) < 3:
            bench.engine._receive()
            bench.engine.tick()
        if messages:
            bench.give(Cancel(name))
            run(bench)
            assert bench.end(name).cancelled and bench.of(name, Trained)[-1].wrote
            bench.close()
            bench = Bench()
            bench.give(told)
        run(bench)
        bench.close()
        return file_sha256(told.folder / FILE), bench

    whole, _ = trained(name="whole")
    broken, bench = trained("stop", name="broken")
    assert steps(bench, "broken") == [4, 5, 6, 7, 8]
    assert whole == broken, "checkpoints hold the factors and Adam's moments: all of them are the same"


def test_what_cannot_be_trained_says_why_and_the_next_one_starts(shelf: Shelf, bench: Bench, tmp_path: Path):
    bad = order(shelf, tmp_path, "bad")
    (bad.folder / "pictures" / "0.png").write_bytes(b"no picture")
    bench.give(bad)
    run(bench)
    problem = bench.end("bad").problem
    assert problem and "0.png" in problem.detail
    bench.give(order(shelf, tmp_path, "off", learning_rate=0.1, steps=2))
    run(bench)
    assert steps(bench, "off")


def test_a_second_training_is_turned_away_and_the_model_stays(shelf: Shelf, bench: Bench, tmp_path: Path):
    bench.give(order(shelf, tmp_path), order(shelf, tmp_path, "second"), Unload("one"))
    bench.engine._receive()
    bench.engine.tick()
    problem = bench.end("second").problem
    assert problem and problem.code == "conflict"
    bench.give(Unload("one"))
    bench.engine._receive()
    assert "one" in bench.memory.loaded
    run(bench)
    assert bench.end("training").problem is None


def test_an_engine_that_is_told_to_stop_saves_what_was_learned(shelf: Shelf, tmp_path: Path):
    said: list[object] = []
    bench = Bench()
    told = order(shelf, tmp_path, steps=2000, save_every=2000)

    def send(message: object) -> None:
        said.append(message)
        if isinstance(message, Trained) and message.step == 2:
            engine.inbox.put(Stop())

    engine = Engine(bench.memory, PlainDesk(), send)
    engine.inbox.put(told)
    engine.run()
    assert (told.folder / FILE).is_file() and not [one for one in said if isinstance(one, Ended)]
    bench.close()


def test_a_full_disk_ends_the_training_with_a_problem(shelf: Shelf, bench: Bench, tmp_path: Path, monkeypatch):
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("backend.engine.lora_state.write_whole", full)
    bench.give(order(shelf, tmp_path, save_every=2))
    run(bench)
    problem = bench.end("training").problem
    assert problem and problem.code == "storage-full"
