"""Marks in the first noise through the real engine: put in, brought back by running the model backwards, and read."""

from __future__ import annotations

import queue
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy.stats import combine_pvalues

from backend import images
from backend.engine import latent_mark
from backend.engine.inversion import upwards
from backend.errors import SignetError, Unavailable
from backend.latents import LatentDesk
from backend.models.catalog import Catalog
from backend.settings import ROOT
from backend.solvers.noise import NoiseTable
from backend.solvers.plan import plan
from backend.supervisor import Supervisor
from backend.types import ModelInfo, RawImage
from backend.wire import Cancel, Crashed, EngineConfig, FromEngine, Inverted, Ready, Sealed
from backend.wire import Invert as Ask
from safety.watermark.latent import open_latent_mark
from safety.watermark.latent_desk import open_latent_reader, open_noise_mark
from tests.support.bench import Bench, make_work
from tests.support.desk import PlainDesk, open_desk
from tests.support.models import Shelf, shelf

__all__ = ["shelf"]

KEY, OTHER = b"a key of sixteen", b"another key, too"
STRAWBERRY: dict[str, Any] = {
    "prompt": "a strawberry, 3d style",
    "width": 128,
    "height": 128,
    "steps": 20,
    "sampler": "DPM++ 2M",
    "cfg": 4.0,
}
SHADING = open_latent_mark("gaussian-shading", KEY)


class Watching(PlainDesk):
    """Keeps what comes out of the engine."""

    def __init__(self) -> None:
        self.raw: list[RawImage] = []

    def inspect(self, raw: RawImage) -> Any:
        self.raw.append(raw)
        return super().inspect(raw)


@pytest.fixture
def plain() -> Iterator[Bench]:
    bench = Bench()
    yield bench
    bench.close()


@pytest.fixture
def desk() -> Watching:
    return Watching()


@pytest.fixture
def marking(desk: Watching) -> Iterator[Bench]:
    bench = Bench(desk, mark=SHADING)
    yield bench
    bench.close()


@pytest.fixture(scope="module")
def starter() -> ModelInfo:
    return Catalog((ROOT / "models" / "starter",), ()).find("starter")


def finish(bench: Bench) -> None:
    """Questions included, of which the bench itself knows nothing."""
    while bench.busy or bench.engine._busy:
        bench.engine._receive()
        bench.engine.tick()


def ask(bench: Bench, *questions: Ask) -> dict[str, Inverted]:
    bench.give(*questions)
    finish(bench)
    wanted = {question.ask_id for question in questions}
    return {said.ask_id: said for said in bench.said if isinstance(said, Inverted) and said.ask_id in wanted}


def test_a_marked_picture_is_the_same_alone_and_in_company_and_says_that_it_is_marked(
    marking: Bench, desk: Watching, plain: Bench, shelf: Shelf
) -> None:
    one = partial(make_work, model=shelf.info("one"), sampler="DDIM", bucket=8)
    alone = marking.make(one("alone", seed=5))
    marking.make(one("company", seed=5), one("stranger", seed=9, cfg=3.0))
    unmarked = plain.make(one("alone", seed=5))
    assert torch.equal(marking.engine.latents["alone", 0], marking.engine.latents["company", 0])
    assert not torch.equal(marking.engine.latents["alone", 0], plain.engine.latents["alone", 0])
    assert {raw.latent_mark for raw in desk.raw} == {"gaussian-shading"}
    assert "Signet latent mark: gaussian-shading" in alone["alone", 0].infotext
    assert "latent mark" not in unmarked["alone", 0].infotext


@pytest.mark.parametrize(
    "fields",
    [
        {"sampler": "Euler a"},
        {"sampler": "DPM++ 2M SDE"},
        {"sampler": "DDIM", "eta": 1.0},
        {"variation": {"seed": 4, "strength": 0.2}},
        {"resize_from": (64, 64)},
        {"tiling": True},
        {"hires": {"width": 64, "height": 64, "denoise": 0.5, "upscaler": "Latent"}},
    ],
    ids=str,
)
def test_where_a_mark_would_not_last_the_picture_is_bit_for_bit_the_unmarked_one(
    marking: Bench, desk: Watching, plain: Bench, shelf: Shelf, fields: dict[str, Any]
) -> None:
    work = make_work("job", shelf.info("one"), **fields)
    marking.make(work)
    plain.make(work)
    assert torch.equal(marking.engine.latents["job", 0], plain.engine.latents["job", 0])
    assert desk.raw[0].latent_mark == ""


@pytest.mark.parametrize(
    "fields",
    [
        {"refiner": {"model": "two", "switch": 0.8}},
        {"control": ({"model": "canny", "image": "0" * 64},)},
        {"mode": "img2img", "init_image": "0" * 64},
    ],
    ids=lambda fields: next(iter(fields)),
)
def test_no_mark_goes_where_more_than_noise_model_and_prompt_make_the_picture(
    shelf: Shelf, fields: dict[str, Any]
) -> None:
    model, plain = shelf.model("one"), make_work("job", shelf.info("one"), sampler="DDIM").request
    run = plan("DDIM", "Automatic", 4, NoiseTable.of(model.scheduler))
    assert latent_mark.stays(plain, run, model)
    request = make_work("job", shelf.info("one"), **{"sampler": "DDIM", **fields}).request
    assert not latent_mark.stays(request, run, model)


def test_questions_between_the_ticks_change_no_picture(plain: Bench, shelf: Shelf) -> None:
    work = make_work("job", shelf.info("one"), steps=6, bucket=2)
    plain.make(work)
    before = plain.engine.latents.pop(("job", 0))
    picture = images.encode_png(np.full((32, 32, 3), 90, np.uint8), None)
    plain.give(work, *(Ask(f"ask {number}", shelf.info("one"), picture, steps=2) for number in range(3)))
    finish(plain)
    assert torch.equal(plain.engine.latents["job", 0], before)
    assert [said.latent.shape for said in plain.said if isinstance(said, Inverted) and said.latent is not None] == [
        (1, 4, 16, 16)
    ] * 3


@pytest.mark.parametrize("name", ["one", "wide", "velocity"])
def test_every_batched_family_can_be_run_backwards(plain: Bench, shelf: Shelf, name: str) -> None:
    picture = images.encode_png(np.full((40, 30, 3), 90, np.uint8), None)
    answer = ask(plain, Ask("ask", shelf.info(name), picture, width=33, height=48, steps=3, load=True))["ask"]
    assert answer.latent is not None
    assert answer.latent.shape == (1, 4, 24, 16)
    assert answer.latent.dtype == np.float32
    assert np.isfinite(answer.latent).all()


def test_a_question_that_cannot_be_answered_says_why_and_the_engine_goes_on(plain: Bench, shelf: Shelf) -> None:
    picture = images.encode_png(np.zeros((32, 32, 3), np.uint8), None)
    model = shelf.info("one")
    answers = ask(plain, Ask("cold", model, picture), Ask("bad", model, b"no picture", load=True))
    answers |= ask(plain, Ask("long", model, picture, steps=1000, load=True))
    assert {name: answer.problem.code for name, answer in answers.items() if answer.problem} == {
        "cold": "unavailable",
        "bad": "unreadable-image",
        "long": "invalid-parameter",
    }
    plain.give(Ask("gone", model, picture, load=True), Cancel("gone"))
    finish(plain)
    assert [said for said in plain.said if isinstance(said, Inverted)][-1] == Inverted("gone")
    assert plain.make(make_work("job", model))


def test_the_way_up_ends_at_the_highest_level_of_the_model() -> None:
    table = NoiseTable.of({"beta_schedule": "scaled_linear", "beta_start": 0.00085, "beta_end": 0.012})
    plan = upwards(table, 10)
    assert len(plan.moves) == 10
    assert plan.moves[0].sigma == pytest.approx(table.sigma_min)
    assert plan.moves[-1].sigma * plan.moves[-1].x == pytest.approx(table.sigma_max)


@pytest.mark.parametrize(("method", "alone"), [("gaussian-shading", 1e-6), ("tree-ring", 1e-3)])
def test_a_mark_in_pictures_of_the_starter_is_found_after_jpeg_and_under_no_other_key(
    starter: ModelInfo, method: str, alone: float
) -> None:
    bench = Bench(mark=open_latent_mark(method, KEY))
    found, strange = [], []
    for seed in range(11, 16):
        (sealed,) = bench.make(make_work("job", starter, **STRAWBERRY, seed=seed)).values()
        pixels = images.decode(sealed.data, max_pixels=1 << 20).pixels
        answer = ask(bench, Ask("ask", starter, images.encode_preview(pixels, 75), steps=10))["ask"]
        assert answer.latent is not None
        for key, values in ((KEY, found), (OTHER, strange)):
            values.append(open_latent_mark(method, key).evidence(answer.latent, [seed]).p_value)
    bench.close()
    assert max(found) < alone
    assert combine_pvalues(found).pvalue < 1e-12  # an 8 x 8 latent has room for little: one ring alone says less
    assert combine_pvalues(strange).pvalue > 1e-3


def test_the_whole_way_from_a_settings_choice_to_what_verify_says(starter: ModelInfo, tmp_path: Path) -> None:
    """Two processes: the studio asks, the engine answers; nothing but the key folder is shared."""
    config = EngineConfig(
        open_desk,
        warm=starter,
        device="cpu",
        threads=1,
        offline=True,
        open_mark=partial(open_noise_mark, tmp_path, "gaussian-shading"),
    )
    supervisor = Supervisor(config)
    latents = LatentDesk(supervisor)
    said: queue.SimpleQueue[FromEngine] = queue.SimpleQueue()

    def hear(message: FromEngine) -> None:
        latents.hear(message)
        said.put(message)

    def until(kind: type) -> Any:
        while not isinstance(message := said.get(timeout=120), kind):
            pass
        return message

    with pytest.raises(Unavailable, match="not running"):
        latents.read(b"", starter)
    supervisor.start(hear)
    try:
        until(Ready)
        supervisor.submit(make_work("job", starter, **STRAWBERRY, seed=77))
        picture = until(Sealed).image.data
        pixels = images.decode(picture, max_pixels=1 << 20).pixels
        (noise,) = latents.of_loaded(pixels, lambda _: starter)
        with pytest.raises(SignetError) as refused:
            latents.read(b"no picture at all", starter)
        assert refused.value.problem.code == "unreadable-image"
    finally:
        supervisor.close()
    known = [("another", 5), ("this one", 77)]
    report = open_latent_reader(tmp_path, lambda _: [noise], lambda: known).read(pixels)
    assert report.found
    assert report.record_id == "this one"
    other = open_latent_reader(tmp_path, lambda _: [noise], lambda: known[:1]).read(pixels)
    assert other.tested
    assert not other.found


class _Silent:
    """An engine that does not answer."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.cancelled: list[str] = []

    def invert(self, order: Ask) -> None:
        self.asked.append(order.ask_id)

    def cancel(self, job_id: str) -> None:
        self.cancelled.append(job_id)


def test_nobody_waits_for_an_engine_that_is_busy_or_gone(starter: ModelInfo) -> None:
    link = _Silent()
    latents = LatentDesk(link)
    latents.hear(Ready("cpu"))
    with pytest.raises(Unavailable, match="No model is loaded"):
        latents.of_loaded(np.zeros((8, 8, 3), np.uint8), lambda _: starter)
    with pytest.raises(Unavailable, match="has not answered"):
        latents.read(b"", starter, patience=0.01)
    assert link.cancelled == link.asked
    latents.hear(Inverted(link.asked[0], np.zeros((1, 4, 2, 2), np.float32)))  # too late, and no harm

    link.invert = lambda order: latents.hear(Crashed("out of memory"))  # type: ignore[method-assign]
    with pytest.raises(SignetError, match="stopped meanwhile: out of memory"):
        latents.read(b"", starter)
