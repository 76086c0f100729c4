"""Trainings as the studio keeps them, with a test in the engine's place."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from backend import wire
from backend.errors import Conflict, InvalidParameter, NotFound, Refused, StorageFull, UnknownModel
from backend.loss_curve import MOST_POINTS, joined
from backend.training import TrainingPicture
from backend.types.training import Training, TrainingRequest
from tests.support.studio import OWNER, Studio

PLAIN: dict[str, Any] = {"model": "tiny", "steps": 20, "learning_rate": 1e-3, "resolution": 64}


@pytest.fixture
def studio(data: Path) -> Any:
    found = Studio(data)
    found.ready()
    yield found
    found.close()


def png(colour: int = 0) -> bytes:
    out = io.BytesIO()
    Image.fromarray(np.full((16, 16, 3), colour, np.uint8)).save(out, "PNG")
    return out.getvalue()


def create(studio: Studio, name: str = "blueprint", captions: tuple[str, ...] = ("a cat",), **fields: Any) -> Training:
    request = TrainingRequest(**{**PLAIN, "name": name, **fields})
    pictures = [TrainingPicture(studio.library.put(png(n)).id, caption) for n, caption in enumerate(captions)]
    return studio.service.trainings.create(request, OWNER, pictures)


def now(studio: Studio, training: Training) -> Training:
    return studio.service.trainings.training(training.id)


def trained(studio: Studio, training: Training, *steps: int, wrote: bool = False) -> None:
    for step in steps:
        studio.link.say(wire.Trained(training.id, step, 1 / step, 0.5, wrote))


def test_a_training_keeps_copies_of_its_pictures_and_goes_to_the_engine(studio: Studio, data: Path) -> None:
    made = create(studio, captions=("a cat", " a \n dog "), trigger="blueprint style")
    (order,) = studio.link.orders
    assert made.state == "running" and order.job_id == made.id and order.model.id == "tiny"
    assert order.output == data / "models" / "loras" / "blueprint.safetensors"
    files = sorted(path.name for path in (order.folder / "pictures").iterdir())
    assert files == ["0001.png", "0001.txt", "0002.png", "0002.txt"]
    assert (order.folder / "pictures" / "0001.png").read_bytes() == png(0)
    assert (order.folder / "pictures" / "0002.txt").read_text() == "a dog"


def test_losses_are_told_and_the_end_is_kept(studio: Studio) -> None:
    made = create(studio)
    trained(studio, made, 1, 2, 3)
    assert now(studio, made).losses == ((1, 1.0), (2, 0.5), (3, 1 / 3))
    trained(studio, made, 20, wrote=True)
    studio.link.say(wire.Ended(made.id))
    done = now(studio, made)
    assert (done.state, done.step, done.lora, done.samples) == ("done", 20, "blueprint", ())
    with pytest.raises(Conflict):
        studio.service.trainings.resume(made.id)


def test_one_trains_and_the_next_waits(studio: Studio) -> None:
    first, second, third = create(studio), create(studio, "second"), create(studio, "third")
    assert [order.job_id for order in studio.link.orders] == [first.id]
    assert now(studio, second).state == "waiting" and not studio.service.idle()
    assert studio.service.trainings.stop(second.id).state == "stopped"
    studio.link.say(wire.Ended(first.id))
    assert [order.job_id for order in studio.link.orders] == [first.id, third.id]


def test_a_stopped_training_goes_on(studio: Studio) -> None:
    made = create(studio)
    trained(studio, made, 1, 2, 3)
    studio.service.trainings.stop(made.id)
    assert studio.link.cancelled == [made.id] and now(studio, made).state == "running"
    studio.link.say(wire.Ended(made.id, cancelled=True))
    assert now(studio, made).state == "stopped"
    with pytest.raises(Conflict):
        studio.service.trainings.stop(made.id)
    assert studio.service.trainings.resume(made.id).state == "running"
    studio.link.say(wire.Trained(made.id, 2, average=0.4))
    trained(studio, made, 3, 4)
    assert [step for step, _ in now(studio, made).losses] == [1, 2, 3, 4]


def test_a_crash_of_the_engine_leaves_it_to_be_resumed(studio: Studio) -> None:
    made = create(studio)
    trained(studio, made, 1)
    studio.link.say(wire.Crashed("out of luck"))
    assert now(studio, made).state == "interrupted" and "out of luck" in now(studio, made).message
    assert studio.service.trainings.resume(made.id).state == "waiting", "there is no engine to take it"
    studio.ready()
    assert now(studio, made).state == "running" and len(studio.link.orders) == 2


@pytest.mark.parametrize("kill", [True, False])
def test_it_outlives_the_studio(data: Path, kill: bool) -> None:
    studio = Studio(data)
    studio.ready()
    made = create(studio)
    trained(studio, made, 1, wrote=True)
    studio.crash() if kill else studio.close()
    again = Studio(data)
    again.ready()
    found = now(again, made)
    assert (found.state, found.step, found.lora) == ("interrupted", 1, "blueprint") and not again.link.orders
    again.service.trainings.resume(made.id)
    assert again.link.orders[0].folder == studio.link.orders[0].folder
    again.close()


def test_a_damaged_state_is_left_alone(data: Path) -> None:
    (data / "training" / "0").mkdir(parents=True)
    (data / "training" / "0" / "state.json").write_text("{")
    studio = Studio(data)
    assert studio.service.trainings.trainings() == ()
    studio.close()


def test_a_sample_is_a_job_like_any_other(studio: Studio, monkeypatch: pytest.MonkeyPatch) -> None:
    made = create(studio, sample_every=10, sample_prompt="a house", seed=7)
    asked: list[Any] = []
    job = studio.submit("a house")
    monkeypatch.setattr(studio.service, "submit", lambda fields, who: asked.append((fields, who)) or job)
    trained(studio, made, 5)
    assert not asked
    trained(studio, made, 10, wrote=True)
    ((fields, who),) = asked
    assert (fields["prompt"], fields["seed"], fields["model"]) == ("a house <lora:blueprint:1>", 7, "tiny")
    assert who.id == OWNER.id
    assert [(sample.step, sample.job_id) for sample in now(studio, made).samples] == [(10, job.id)]


def test_a_sample_that_cannot_be_made_says_why_and_the_training_goes_on(studio: Studio) -> None:
    made = create(studio, sample_every=10)
    trained(studio, made, 10, wrote=True)  # the test wrote no LoRA, so the prompt names none that is there
    (sample,) = now(studio, made).samples
    assert not sample.job_id and 'There is no model called "blueprint"' in sample.why.replace("LoRA", "model")
    assert now(studio, made).state == "running"
    assert now(studio, made).request.sample_prompt == "a cat", "without a prompt it is the first caption"


def test_what_may_not_be_asked_for_may_not_be_taught(studio: Studio, data: Path) -> None:
    for fields in ({"captions": ("fine", "forbidden")}, {"trigger": "forbidden"}, {"sample_prompt": "forbidden"}):
        with pytest.raises(Refused):
            create(studio, **fields)
    assert not studio.link.orders and not list((data / "training").glob("*"))


@pytest.mark.parametrize(
    ("fields", "error"),
    [
        ({"name": "../up"}, InvalidParameter),
        ({"name": "a:b"}, InvalidParameter),
        ({"name": "ends."}, InvalidParameter),
        ({"model": "none"}, UnknownModel),
        ({"resolution": 65}, InvalidParameter),
        ({"captions": ("",)}, InvalidParameter),
        ({"captions": ()}, InvalidParameter),
    ],
)
def test_what_cannot_be_trained_is_said_before_anything_is_kept(
    studio: Studio, data: Path, fields: dict[str, Any], error: type[Exception]
) -> None:
    with pytest.raises(error):
        create(studio, **fields)
    assert not list((data / "training").glob("*"))


def test_no_training_writes_over_a_lora_or_another_training(studio: Studio, data: Path) -> None:
    create(studio)
    with pytest.raises(Conflict):
        create(studio, "Blueprint")
    (data / "models" / "loras").mkdir(parents=True)
    (data / "models" / "loras" / "mine.safetensors").touch()
    with pytest.raises(Conflict):
        create(studio, "mine")


def test_a_folder_of_pictures_must_lie_in_the_data_folder(studio: Studio, data: Path, tmp_path: Path) -> None:
    request = TrainingRequest(**PLAIN, name="folder")
    outside, inside = tmp_path / "outside", data / "datasets" / "cats"
    for folder in (outside, inside):
        folder.mkdir(parents=True)
        (folder / "a_red_cat.png").write_bytes(png())
    (inside / "link.png").symlink_to(outside / "a_red_cat.png")
    for name in ("../outside", str(outside), "", ".", "nothing", "\0"):
        with pytest.raises(InvalidParameter):
            studio.service.trainings.create(request, OWNER, folder=name)
    made = studio.service.trainings.create(request, OWNER, folder="datasets/cats")
    assert made.pictures == 1
    assert (data / "training" / made.id / "pictures" / "0001.txt").read_text() == "a red cat"


def test_deleting_takes_its_folder_but_not_while_it_runs(studio: Studio, data: Path) -> None:
    made = create(studio)
    with pytest.raises(Conflict):
        studio.service.trainings.delete(made.id)
    studio.link.say(wire.Ended(made.id, cancelled=True))
    studio.service.trainings.delete(made.id)
    assert not (data / "training" / made.id).exists()
    with pytest.raises(NotFound):
        now(studio, made)
    trained(studio, made, 5)  # a late word of the engine


def test_a_full_disk_leaves_no_half_training(studio: Studio, data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("backend.training_files.shutil.copyfile", full)
    with pytest.raises(StorageFull):
        create(studio)
    assert not list((data / "training").glob("*")) and not studio.service.trainings.trainings()


@given(st.lists(st.floats(0, 10), max_size=2600))
def test_a_curve_stays_short_and_keeps_its_mean(losses: list[float]) -> None:
    points: tuple[tuple[int, float], ...] = ()
    stride = 1
    for step, loss in enumerate(losses, 1):
        points, stride = joined(points, (step, loss), stride)
    assert len(points) <= MOST_POINTS
    if losses:
        assert points[-1][0] == len(losses)
        edges = [0, *(step for step, _ in points)]
        total = sum(mean * (edges[at + 1] - edges[at]) for at, (_, mean) in enumerate(points))
        assert total == pytest.approx(sum(losses), rel=1e-6, abs=1e-6)


def test_an_embedding_goes_to_its_own_folder_and_its_samples_name_it(
    studio: Studio, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = create(studio, "glow", captions=("", "a cat"), kind="embedding", sample_every=10, sample_prompt="a house")
    (order,) = studio.link.orders
    assert order.output == data / "models" / "embeddings" / "glow.safetensors"
    assert (order.folder / "pictures" / "0001.txt").read_text() == "glow", "a picture of which nothing is said shows it"
    asked: list[Any] = []
    job = studio.submit("a house")
    monkeypatch.setattr(studio.service, "submit", lambda fields, who: asked.append(fields) or job)
    trained(studio, made, 10, wrote=True)
    assert asked[0]["prompt"] == "a house, glow"


def test_what_an_embedding_begins_as_is_admitted_too(studio: Studio, data: Path) -> None:
    with pytest.raises(Refused):
        create(studio, "glow", kind="embedding", init_word="forbidden")
    assert not studio.link.orders and not list((data / "training").glob("*"))


def test_no_training_writes_over_an_embedding(studio: Studio, data: Path) -> None:
    (data / "models" / "embeddings").mkdir(parents=True)
    (data / "models" / "embeddings" / "mine.safetensors").touch()
    with pytest.raises(Conflict, match="an embedding"):
        create(studio, "mine", kind="embedding")
    assert create(studio, "mine").state == "running", "a LoRA of that name lies elsewhere"


def test_each_kind_has_its_own_settings_to_start_from(studio: Studio) -> None:
    desk = studio.service.trainings
    lora, word = desk.defaults("tiny"), desk.defaults("tiny", "embedding")
    assert (lora["kind"], word["kind"]) == ("lora", "embedding")
    assert "rank" in lora and "rank" not in word and 1 <= word["vectors"] <= 8
    for kind in (lora, word):
        TrainingRequest(name="a", model="tiny", **kind)
