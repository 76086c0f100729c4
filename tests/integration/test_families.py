"""SDXL, its refiner, and pipelines of other families through the engine's own loop."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import StableDiffusionXLPipeline

from backend.engine.offload import load_within
from backend.engine.process import choose_attention
from backend.models.catalog import Catalog
from backend.models.memory import ModelMemory
from backend.types import Hires, ModelInfo, Refiner
from backend.wire import Cancel, Ended, Loaded, Preview, Progress
from tests.support import stock, tiny, tiny_solo
from tests.support.bench import Bench, make_work
from tests.support.desk import pixels_of
from tests.support.models import CPU

SIDE = tiny.SIZE


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("families")
    tiny.save_folder(tiny.pipeline("sdxl"), made / "xl")
    tiny.save_folder(tiny.pipeline("sdxl-refiner", seed=4), made / "refiner")
    tiny.save_folder(tiny.pipeline("sd1"), made / "one")
    tiny_solo.save("sd3", made)
    return made


@pytest.fixture
def bench() -> Iterator[Bench]:
    made = Bench()
    yield made
    made.close()


def info(folder: Path, name: str) -> ModelInfo:
    return Catalog((), (folder,)).find(name)


@pytest.mark.parametrize("negative", ["", "a dog"])
def test_sdxl_makes_the_picture_of_stock_diffusers(folder: Path, bench: Bench, negative: str) -> None:
    pipe = StableDiffusionXLPipeline.from_pretrained(folder / "xl", local_files_only=True, add_watermarker=False)
    pipe.set_progress_bar_config(disable=True)
    pipe.scheduler = stock.scheduler("Euler", {**pipe.scheduler.config, "timestep_spacing": "leading"})
    image = pipe(
        "a photo of a cat", negative_prompt=negative or None, num_inference_steps=4, guidance_scale=5.0, height=SIDE,
        width=SIDE, generator=torch.Generator().manual_seed(3), output_type="np",
    ).images[0]  # fmt: skip
    theirs = (image * 255).round().astype(np.uint8)
    ours = bench.picture(make_work("job", info(folder, "xl"), negative=negative, cfg=5.0, seed=3, bucket=2))
    assert np.abs(ours.astype(int) - theirs).max() <= 1


def test_sdxl_pictures_share_batches_and_equal_themselves_alone(folder: Path, bench: Bench) -> None:
    xl = info(folder, "xl")
    works = [make_work(f"{n}", xl, seed=n, prompt=text, bucket=4) for n, text in enumerate(("a cat", "a dog", "blue"))]
    bench.make(*works)
    for work in works:
        alone = bench.picture(replace(work, job_id=work.job_id + "-alone"))
        assert np.array_equal(alone, pixels_of(bench.sealed[work.job_id, 0]))


def test_a_refiner_takes_over_at_its_share_and_is_written_down(folder: Path, bench: Bench) -> None:
    xl, refiner = info(folder, "xl"), info(folder, "refiner")
    plain = bench.picture(make_work("plain", xl, steps=6))
    late = make_work("late", xl, steps=6, refiner=Refiner(model="refiner", switch=1.0))
    half = make_work("half", xl, steps=6, refiner=Refiner(model="refiner", switch=0.5))
    assert np.array_equal(bench.picture(replace(late, resources=(refiner,))), plain)
    refined = bench.picture(replace(half, resources=(refiner,)))
    assert not np.array_equal(refined, plain)
    assert "Refiner: refiner, Refiner switch at: 0.5" in bench.sealed["half", 0].infotext
    steps = [said.step for said in bench.of("half", Progress) if said.phase == "step"]
    assert steps == [1, 2, 3, 4, 5, 6]
    assert set(bench.memory.loaded) == {"xl", "refiner"}


def test_a_hires_pass_works_on_sdxl(folder: Path, bench: Bench) -> None:
    work = make_work("job", info(folder, "xl"), hires=Hires(width=64, height=64, denoise=0.5))
    assert bench.picture(work).shape == (64, 64, 3)


# ---- pipelines of their own


def solo(folder: Path, name: str = "job", **fields: object):
    return make_work(name, info(folder, "sd3"), **{"steps": 3, "width": SIDE, "height": SIDE, "cfg": 4.0, **fields})


def test_another_pipeline_runs_alone_with_steps_previews_and_a_sealed_end(folder: Path, bench: Bench) -> None:
    made = bench.make(solo(folder, count=2))
    assert [said.step for said in bench.of("job", Progress) if said.phase == "step"] == [1, 2, 3, 4, 5, 6]
    assert bench.of("job", Preview)
    assert made["job", 0].passport.model.family == "sd3"
    assert "StableDiffusion3Pipeline" in made["job", 0].infotext
    assert not np.array_equal(pixels_of(made["job", 0]), pixels_of(made["job", 1]))
    assert any("sd3" in said.models for said in bench.said if isinstance(said, Loaded))


def test_it_leaves_pictures_of_other_models_alone_and_they_it(folder: Path, bench: Bench) -> None:
    one = make_work("one", info(folder, "one"), steps=6, bucket=2)
    alone = bench.picture(replace(one, job_id="alone"))
    own = bench.picture(solo(folder, "own"))
    bench.make(one, solo(folder, "beside"))
    assert np.array_equal(pixels_of(bench.sealed["one", 0]), alone)
    assert np.array_equal(pixels_of(bench.sealed["beside", 0]), own)


def test_it_is_cancelled_between_two_steps(folder: Path, bench: Bench) -> None:
    bench.give(solo(folder, steps=40))
    bench.turn(4)
    bench.give(Cancel("job"))
    bench.turn(2)
    assert bench.end("job") == Ended("job", cancelled=True)
    assert not bench.sealed
    assert bench.picture(solo(folder, "next")).std() > 1


def test_a_size_it_cannot_do_fails_in_words(folder: Path, bench: Bench) -> None:
    bench.make(solo(folder, width=SIDE + 2))
    problem = bench.end("job").problem
    assert problem is not None
    assert problem.field == "width"


def test_a_model_whose_layers_are_fetched_as_they_run_makes_the_same_picture(folder: Path, bench: Bench) -> None:
    work = make_work("whole", info(folder, "one"), bucket=2)
    whole = bench.picture(work)
    streamed = Bench()
    streamed.memory = ModelMemory(partial(load_within, device=CPU, dtype=torch.float32, stream=True), 1 << 30)
    streamed.engine._memory = streamed.memory
    assert np.array_equal(streamed.picture(replace(work, job_id="streamed")), whole)
    streamed.close()


def test_another_attention_kernel_makes_nearly_the_same_picture_and_is_written_down(folder: Path, bench: Bench) -> None:
    work = make_work("auto", info(folder, "one"), bucket=2)
    usual = bench.picture(work)
    assert bench.sealed["auto", 0].passport.engine.attention == "torch sdpa (auto)"
    cuda = torch.backends.cuda
    switches = (cuda.enable_flash_sdp, cuda.enable_mem_efficient_sdp, cuda.enable_cudnn_sdp)
    try:
        choose_attention("math")
        plain = bench.picture(replace(work, job_id="math"))
    finally:
        for switch in switches:
            switch(True)
    assert bench.sealed["math", 0].passport.engine.attention == "torch sdpa (math)"
    assert np.abs(plain.astype(int) - usual).max() <= 2


def test_a_gguf_denoiser_is_listed_and_says_which_package_it_needs(folder: Path, bench: Bench, tmp_path: Path) -> None:
    copy = tiny.copy_model(folder / "sd3", tmp_path / "packed")
    for file in (copy / "transformer").glob("*.safetensors"):
        file.unlink()
    (copy / "transformer" / "model.gguf").write_bytes(b"GGUF" + bytes(60))
    found = Catalog((), (tmp_path,)).find("packed")
    bench.make(make_work("job", found, steps=2))
    problem = bench.end("job").problem
    assert problem is not None
    assert "gguf" in problem.sentence()
