"""The engine in this process, with tiny models: the pictures of stock diffusers, and order in every accident."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import diffusers
import numpy as np
import pytest
import torch

from backend import images
from backend.engine import painter
from backend.engine.families import unet
from backend.engine.loop import Engine
from backend.errors import Refused
from backend.models.catalog import Catalog
from backend.samplers import SAMPLERS
from backend.settings import ROOT
from backend.types import CheckedImage, Pixels, RawImage, SealedImage
from backend.wire import Cancel, Ended, Loaded, Preview, Progress, Sealed, Stop
from tests.support import stock as stock_schedulers
from tests.support.bench import Bench, make_work
from tests.support.desk import PlainDesk, pixels_of
from tests.support.models import Shelf, shelf

__all__ = ["shelf"]

ALL = [(name, schedule) for name, sampler in SAMPLERS.items() for schedule in sampler.schedules]
STARTER = ROOT / "models" / "starter"


@pytest.fixture
def bench() -> Iterator[Bench]:
    made = Bench()
    yield made
    made.close()


@pytest.fixture(scope="module")
def stock(shelf: Shelf) -> diffusers.StableDiffusionPipeline:
    return shelf.stock("one")


def stock_picture(pipe: diffusers.StableDiffusionPipeline, sampler: str, spacing: str | None = None, **call) -> Pixels:
    plain = pipe.scheduler
    spacing = spacing or plain.config.timestep_spacing
    pipe.scheduler = stock_schedulers.scheduler(sampler, {**plain.config, "timestep_spacing": spacing})
    try:
        call["generator"] = torch.Generator("cpu").manual_seed(call.pop("seed"))
        image = pipe(**call, output_type="np").images[0]
    finally:
        pipe.scheduler = plain
    return (image * 255).round().astype(np.uint8)


def same(ours: Pixels, theirs: Pixels) -> bool:
    """No pixel further away than one step of 255, and a signal-to-noise ratio beyond 60 dB."""
    difference = ours.astype(float) - theirs
    square = float((difference**2).mean())
    return np.abs(difference).max() <= 1 and (square == 0 or 10 * np.log10(255**2 / square) > 60)


@pytest.mark.parametrize("sampler", stock_schedulers.equals("leading"))
@pytest.mark.parametrize("bucket", [2, 8])
def test_a_sampler_that_diffusers_has_too_makes_the_picture_of_stock_diffusers(
    shelf: Shelf, bench: Bench, stock, sampler: str, bucket: int
):
    fields = {"sampler": sampler, "bucket": bucket, "negative": "a dog"}
    work = make_work("job", shelf.info("one"), **fields, steps=5, cfg=5.5, seed=11)
    assert stock.scheduler.config.timestep_spacing == "leading"
    theirs = stock_picture(
        stock, sampler, prompt=work.request.prompt, negative_prompt="a dog", num_inference_steps=5,
        guidance_scale=5.5, height=32, width=32, seed=11,
    )  # fmt: skip
    ours = bench.picture(work)
    assert ours.std() > 1
    assert same(ours, theirs)


@pytest.mark.parametrize(
    ("name", "call"),
    [
        ("one", {"guidance_scale": 1.0, "height": 16, "width": 48}),
        ("wide", {"guidance_scale": 7.0, "height": 32, "width": 32}),
        ("velocity", {"guidance_scale": 7.0, "height": 32, "width": 32}),
    ],
)
def test_other_sizes_families_and_predictions_make_the_picture_of_stock_diffusers(
    shelf: Shelf, bench: Bench, name: str, call: dict[str, float]
):
    theirs = stock_picture(shelf.stock(name), "Heun", prompt="a photo of a cat", num_inference_steps=5, seed=3, **call)
    fields = {"width": call["width"], "height": call["height"], "cfg": call["guidance_scale"], "steps": 5, "seed": 3}
    work = make_work("job", shelf.info(name), sampler="Heun", **fields)
    assert same(bench.picture(work), theirs)


@pytest.mark.skipif(not (STARTER / "model_index.json").is_file(), reason="the starter model is not in this checkout")
def test_the_starter_model_makes_the_picture_of_stock_diffusers(bench: Bench):
    info = Catalog((STARTER,), ()).find("starter")
    pipe = diffusers.StableDiffusionPipeline.from_pretrained(
        STARTER, local_files_only=True, safety_checker=None, dtype=torch.float32
    )
    pipe.set_progress_bar_config(disable=True)
    side = info.native_size
    theirs = stock_picture(
        pipe, "Euler", prompt="a red cat", num_inference_steps=3, guidance_scale=4.0, height=side,
        width=side, seed=5,
    )  # fmt: skip
    work = make_work("job", info, prompt="a red cat", steps=3, cfg=4.0, seed=5, width=side, height=side)
    ours = bench.picture(work)
    assert ours.shape == (side, side, 3)
    assert same(ours, theirs)


def test_what_is_written_into_a_picture_repeats_it(shelf: Shelf, bench: Bench):
    work = make_work("job", shelf.info("one"), count=2, seed=40, sampler="Euler a", bucket=None)
    for (_, index), sealed in bench.make(work).items():
        facts = sealed.passport
        assert facts.seed == 40 + index
        assert f"Seed: {facts.seed}," in sealed.infotext
        assert f"Signet bucket: {facts.engine.bucket}," in sealed.infotext
        assert facts.model.sha256 is not None
        assert f"Model hash: {facts.model.sha256[:10]}" in sealed.infotext
        again = make_work(
            f"again-{index}", shelf.info("one"), seed=facts.seed, sampler="Euler a", bucket=facts.engine.bucket
        )
        assert np.array_equal(bench.picture(again), pixels_of(sealed))


def test_a_job_of_four_uses_consecutive_seeds_and_equals_four_jobs_of_one(shelf: Shelf, bench: Bench):
    four = bench.make(make_work("four", shelf.info("one"), count=4, seed=100, sampler="Euler a"))
    assert [four["four", index].passport.seed for index in range(4)] == [100, 101, 102, 103]
    assert {sealed.passport.engine.bucket for sealed in four.values()} == {8}
    for index in range(4):
        alone = make_work(f"one-{index}", shelf.info("one"), seed=100 + index, sampler="Euler a", bucket=8)
        assert np.array_equal(bench.picture(alone), pixels_of(four["four", index]))
        assert torch.equal(bench.engine.latents["four", index], bench.engine.latents[f"one-{index}", 0])


def test_only_the_missing_pictures_of_a_job_are_made(shelf: Shelf, bench: Bench):
    whole = bench.make(make_work("whole", shelf.info("one"), count=3, bucket=2))
    rest = bench.make(make_work("rest", shelf.info("one"), count=3, bucket=2, indexes=(2,)))
    assert list(rest) == [("rest", 2)]
    assert np.array_equal(pixels_of(rest["rest", 2]), pixels_of(whole["whole", 2]))


def test_a_job_with_nothing_left_to_make_ends_at_once(shelf: Shelf, bench: Bench):
    work = make_work("job", shelf.info("one"))
    bench.give(type(work)(work.job_id, work.request, work.model, work.verdict, ()))
    bench.finish()
    assert bench.end("job") == Ended("job")


def test_the_progress_of_a_job_never_goes_back_and_ends_at_its_total(shelf: Shelf, bench: Bench):
    bench.make(make_work("job", shelf.info("one"), count=6, steps=3))
    told = bench.of("job", Progress)
    assert [said.phase for said in told[:2]] == ["loading", "encoding"]
    fractions = [said.step / said.steps for said in told if said.steps]
    assert fractions == sorted(fractions)
    assert {said.steps for said in told if said.steps} == {18}
    assert fractions[-1] == 1.0
    assert all(said.eta is not None and said.eta >= 0 for said in told if said.phase == "step")


def test_words_beyond_the_models_context_still_count(shelf: Shelf, bench: Bench):
    long = "cat " * 100
    one = bench.picture(make_work("one", shelf.info("one"), prompt=long + "red"))
    other = bench.picture(make_work("other", shelf.info("one"), prompt=long + "blue"))
    assert not np.array_equal(one, other)


# ---- cancelling


def test_a_cancelled_job_takes_no_further_step(shelf: Shelf, bench: Bench):
    bench.give(make_work("job", shelf.info("one"), steps=50))
    bench.turn(3)
    bench.cancel("job")
    bench.turn()
    assert bench.end("job") == Ended("job", cancelled=True)
    assert [said.step for said in bench.of("job", Progress) if said.phase == "step"] == [1, 2, 3]
    assert not bench.busy
    assert not bench.of("job", Sealed)


def test_cancelling_one_job_leaves_its_neighbours_picture_untouched(shelf: Shelf, bench: Bench):
    one = shelf.info("one")
    alone = bench.picture(make_work("alone", one, steps=6, bucket=4))
    bench.give(make_work("stays", one, steps=6), make_work("goes", one, seed=9, steps=6))
    bench.turn(3)
    bench.cancel("goes")
    bench.finish()
    assert bench.end("goes").cancelled
    assert np.array_equal(pixels_of(bench.sealed["stays", 0]), alone)


@pytest.mark.parametrize("when", ["before it starts", "while it is sealed", "after its end"])
def test_a_job_cancelled_at_any_time_ends_exactly_once(shelf: Shelf, bench: Bench, when: str):
    work = make_work("job", shelf.info("one"), steps=1)
    match when:
        case "before it starts":
            bench.give(work, Cancel("job"))
        case "while it is sealed":
            bench.give(work)
            bench.engine._receive()
            bench.engine.tick()
            bench.engine._pool.shutdown(wait=True)
            outcome = bench.engine.inbox.get()
            bench.give(Cancel("job"))
            bench.engine.inbox.put(outcome)
        case "after its end":
            bench.make(work)
            bench.give(Cancel("job"))
    bench.give(make_work("other", shelf.info("one"), steps=1))
    bench.engine._receive()
    assert bench.end("job").cancelled == (when != "after its end")
    assert bool(bench.of("job", Sealed)) == (when == "after its end")


# ---- accidents


class Fault(Exception):
    pass


@pytest.mark.parametrize(
    ("fault", "code"), [(Fault(), "broken"), (torch.OutOfMemoryError(), "out-of-memory"), (Refused("no"), "refused")]
)
def test_a_failing_step_fails_its_own_jobs_and_the_loop_goes_on(
    shelf: Shelf, bench: Bench, monkeypatch: pytest.MonkeyPatch, fault: Exception, code: str
):
    plain = unet.denoise

    def faulty(model, rows, bucket, control):
        if rows[0].latent.shape[-1] == 8:
            raise fault
        return plain(model, rows, bucket, control)

    monkeypatch.setattr(unet, "denoise", faulty)
    one = shelf.info("one")
    small = {"width": 16, "height": 16}
    bench.make(make_work("bad", one, **small), make_work("too", one, **small), make_work("good", one))
    assert bench.end("bad").problem.code == bench.end("too").problem.code == code
    assert bench.end("good") == Ended("good")
    assert list(bench.sealed) == [("good", 0)]
    monkeypatch.undo()
    assert bench.picture(make_work("later", one, **small)).shape == (16, 16, 3)


def test_a_failing_decoder_fails_its_own_job_only(shelf: Shelf, bench: Bench, monkeypatch: pytest.MonkeyPatch):
    plain = painter.decode

    def faulty(model, latent, **how):
        if latent.shape[-1] == 8:
            raise Fault
        return plain(model, latent, **how)

    monkeypatch.setattr(painter, "decode", faulty)
    bench.make(make_work("bad", shelf.info("one"), width=16, count=2), make_work("good", shelf.info("one")))
    assert bench.end("bad").problem.code == "broken"
    assert list(bench.sealed) == [("good", 0)]


class StrictDesk(PlainDesk):
    """Raises for certain seeds, at either of its doors."""

    def inspect(self, raw: RawImage) -> CheckedImage:
        if raw.seed == 13:
            raise Fault("the checker is gone")
        if raw.seed == 14:
            raise Refused("not this one", field=None)
        return super().inspect(raw)

    def seal(self, checked: CheckedImage) -> SealedImage:
        if checked.raw.seed == 15:
            raise MemoryError
        return super().seal(checked)


@pytest.mark.parametrize(("seed", "code"), [(13, "broken"), (14, "refused"), (15, "broken")])
def test_a_desk_that_raises_keeps_the_picture_in_and_says_so(shelf: Shelf, seed: int, code: str):
    bench = Bench(StrictDesk())
    bench.make(make_work("bad", shelf.info("one"), seed=seed), make_work("good", shelf.info("one"), seed=1))
    assert bench.end("bad").problem.code == code
    assert "the checker is gone" not in bench.end("bad").problem.sentence()
    assert bench.end("good").problem is None
    assert list(bench.sealed) == [("good", 0)]
    bench.close()


def test_one_refused_picture_ends_its_job_once_and_nothing_follows(shelf: Shelf):
    bench = Bench(StrictDesk())
    bench.make(make_work("job", shelf.info("one"), seed=12, count=4))
    assert bench.end("job").problem is not None
    after = bench.said[bench.said.index(bench.end("job")) :]
    assert not any(isinstance(said, Sealed | Progress) for said in after)
    bench.close()


# ---- previews


def test_a_preview_comes_with_the_very_first_step(shelf: Shelf, bench: Bench):
    bench.give(make_work("job", shelf.info("one"), steps=20))
    bench.turn()
    (preview,) = bench.of("job", Preview)
    assert images.decode(preview.jpeg, max_pixels=1 << 20).pixels.shape == (16, 16, 3)


def test_previews_keep_to_their_rate_for_every_job_by_itself(shelf: Shelf, monkeypatch: pytest.MonkeyPatch):
    clock = SimpleNamespace(now=1000.0)
    monkeypatch.setattr("backend.engine.loop.time", SimpleNamespace(perf_counter=lambda: clock.now))
    bench = Bench(previews=8)
    bench.give(make_work("a", shelf.info("one"), steps=100, width=16, height=16, cfg=1))
    bench.give(make_work("b", shelf.info("one"), steps=100, width=16, height=16, cfg=1, seed=2))
    while bench.busy:
        clock.now += 0.02
        bench.turn()
    assert 14 <= len(bench.of("a", Preview)) <= 17  # two seconds at eight a second, and the first one
    assert 14 <= len(bench.of("b", Preview)) <= 17
    bench.close()


def test_a_blurred_preview_shows_no_shape(shelf: Shelf):
    sharp, soft = Bench(), Bench(blur_previews=True)
    edges = []
    for bench in (sharp, soft):
        bench.make(make_work("job", shelf.info("one")))
        pixels = images.decode(bench.of("job", Preview)[0].jpeg, max_pixels=1 << 20).pixels.astype(int)
        edges.append(np.abs(np.diff(pixels, axis=1)).mean())
        bench.close()
    assert edges[1] < edges[0] / 5


# ---- models


def test_models_that_push_each_other_out_still_make_the_same_pictures(shelf: Shelf):
    bench = Bench(budget=shelf.info("one").size + 1000)
    first = bench.picture(make_work("a1", shelf.info("one")))
    other = bench.picture(make_work("b", shelf.info("two")))
    again = bench.picture(make_work("a2", shelf.info("one")))
    assert [said.models for said in bench.said if isinstance(said, Loaded)] == [("one",), ("two",), ("one",)]
    assert torch.equal(bench.engine.latents["a1", 0], bench.engine.latents["a2", 0])
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)
    bench.close()


def test_a_model_at_work_is_not_pushed_out_by_another(shelf: Shelf):
    bench = Bench(budget=shelf.info("one").size + 1000)
    bench.give(make_work("a", shelf.info("one"), steps=6, bucket=2))
    bench.turn(2)
    bench.make(make_work("b", shelf.info("two"), steps=2, bucket=2))
    assert set(bench.memory.loaded) == {"one", "two"}
    assert bench.end("a").problem is bench.end("b").problem is None
    bench.close()


def test_nothing_of_earlier_requests_is_left_in_later_ones(shelf: Shelf, bench: Bench):
    base = {"steps": 5, "sampler": "DPM++ 2M", "bucket": 4}
    before = bench.picture(make_work("before", shelf.info("one"), **base))
    mixed = [
        make_work(f"mix-{number}", shelf.info(("one", "two", "file", "velocity")[number % 4]), sampler=sampler,
                  schedule=schedule, steps=2 + number % 3, seed=number, cfg=1 + number, prompt="a red dog " * number,
                  count=1 + number % 2, width=(16, 32)[number % 2])
        for number, (sampler, schedule) in enumerate(ALL)
    ]  # fmt: skip
    bench.make(*mixed)
    assert all(bench.end(work.job_id).problem is None for work in mixed)
    after = bench.picture(make_work("after", shelf.info("one"), **base))
    assert torch.equal(bench.engine.latents["before", 0], bench.engine.latents["after", 0])
    assert np.array_equal(before, after)


def spoilt(shelf: Shelf, folder: Path, how: str) -> Path:
    data = (shelf.folder / "file.safetensors").read_bytes()
    file = folder / "spoilt.safetensors"
    match how:
        case "truncated":
            file.write_bytes(data[: len(data) // 2])
        case "renamed":
            file.write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(1000))
        case "pickle":
            file.write_bytes(b"\x80\x04\x95" + bytes(100))
        case "gone":
            file.unlink(missing_ok=True)
    return file


@pytest.mark.parametrize("how", ["truncated", "renamed", "pickle", "gone"])
def test_a_spoilt_checkpoint_fails_its_job_by_name_and_the_engine_goes_on(
    shelf: Shelf, bench: Bench, tmp_path: Path, how: str
):
    sound = shelf.info("file")
    file = spoilt(shelf, tmp_path, how)
    info = type(sound)("spoilt", "spoilt", "sd1", str(file), "single-file", 2, 64, 1)
    bench.make(make_work("bad", info), make_work("good", shelf.info("one")))
    assert bench.end("bad").problem.code == "unreadable-model"
    assert "spoilt" in bench.end("bad").problem.title
    assert bench.end("good").problem is None


# ---- the loop in its own thread


def test_the_loop_works_through_its_inbox_and_stops_when_told(shelf: Shelf, bench: Bench):
    works = [make_work(f"job-{number}", shelf.info("one"), seed=number, steps=2) for number in range(5)]
    ended = 0

    def send(message) -> None:
        nonlocal ended
        bench.said.append(message)
        ended += isinstance(message, Ended)
        if ended == len(works):
            engine.inbox.put(Stop())

    engine = Engine(bench.memory, PlainDesk(), send)
    for work in works:
        engine.inbox.put(work)
    engine.run()
    assert all(bench.end(work.job_id) == Ended(work.job_id) for work in works)
    assert len(bench.sealed) == 5
