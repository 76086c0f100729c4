"""Pipelines that run alone: each family of a tiny size, step by step, previewed, cancelled and repeated."""

from __future__ import annotations

import json
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from backend.engine.families import solo as tables
from backend.engine.families.pipeline import Finished, Progress, SoloPipeline, SoloRun, Waiting
from backend.engine.stopped import Stopped
from backend.errors import InvalidParameter, Unavailable, UnreadableModel
from backend.models.pipelines import PIPELINES
from backend.types import GenerationRequest, ModelInfo, Pixels, Words
from tests.support import tiny, tiny_solo

CPU = torch.device("cpu")
CAT = Words(prompt="a photo of a cat")


def info_of(folder: Path) -> ModelInfo:
    return ModelInfo(folder.name, folder.name, folder.name, str(folder), "diffusers", 2, 32, 1)


def open_solo(folder: Path, precision: str = "auto") -> SoloPipeline:
    return SoloPipeline.load(info_of(folder), CPU, torch.float32, precision)


def request(**fields: Any) -> GenerationRequest:
    plain = {"prompt": "", "width": 64, "height": 32, "steps": 3, "sampler": "", "schedule": "", "cfg": 4.0, "seed": 1}
    return GenerationRequest(**{**plain, "model": "x", **fields})


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("solo")


@pytest.fixture(scope="module")
def sd3(folders: Path) -> SoloPipeline:
    return open_solo(tiny_solo.save("sd3", folders))


@pytest.mark.parametrize("name", tiny_solo.MAKERS)
def test_a_pipeline_paints_step_by_step_and_the_same_seed_gives_the_same_picture(folders: Path, name: str):
    model = open_solo(tiny_solo.save(name, folders))
    seen: list[tuple[int, int]] = []
    previews: list[Pixels] = []

    def on_step(step: int, steps: int, latent: torch.Tensor | None) -> None:
        seen.append((step, steps))
        if latent is not None:
            previews.append(model.preview(latent))

    first = model.run(request(), 1, CAT, on_step)
    assert (first.shape, first.dtype) == ((32, 64, 3), np.uint8)
    assert [step for step in seen if step[0]] == [(1, 3), (2, 3), (3, 3)]
    assert {preview.shape for preview in previews} == {(32 // model.factor, 64 // model.factor, 3)}
    assert np.array_equal(model.run(request(), 1, CAT), first)
    assert not np.array_equal(model.run(request(), 2, CAT), first)


def test_a_solo_picture_is_the_one_diffusers_itself_makes(sd3: SoloPipeline, folders: Path):
    pipe = tiny_solo.MAKERS["sd3"]().__class__.from_pretrained(folders / "sd3", local_files_only=True)
    pipe.set_progress_bar_config(disable=True)
    stock = pipe(
        CAT.prompt, negative_prompt="red", width=64, height=32, num_inference_steps=3, guidance_scale=4.0,
        generator=torch.Generator().manual_seed(7), output_type="np",
    ).images[0]  # fmt: skip
    ours = sd3.run(request(), 7, Words(prompt=CAT.prompt, negative="red"))
    assert np.array_equal(ours, (stock * 255).round().astype(np.uint8))


def test_words_guidance_and_negative_words_count(sd3: SoloPipeline):
    plain = sd3.run(request(), 1, CAT)
    for other in (
        sd3.run(request(), 1, Words(prompt="dog")),
        sd3.run(request(), 1, Words(prompt=CAT.prompt, negative="blue dog")),
        sd3.run(request(cfg=9.0), 1, CAT),
    ):
        assert not np.array_equal(other, plain)


def test_flux_takes_a_negative_prompt_only_if_it_was_not_distilled(folders: Path):
    distilled = open_solo(tiny_solo.save("flux", folders))
    torch.manual_seed(0)
    tiny_solo.flux(distilled=False).save_pretrained(folders / "flux-free")
    free = open_solo(folders / "flux-free")
    negative = Words(prompt=CAT.prompt, negative="red dog")
    assert np.array_equal(distilled.run(request(), 1, CAT), distilled.run(request(), 1, negative))
    assert not np.array_equal(distilled.run(request(), 1, CAT), distilled.run(request(cfg=9.0), 1, CAT))
    assert not np.array_equal(free.run(request(), 1, CAT), free.run(request(), 1, negative))


def test_nothing_moves_between_two_ticks(sd3: SoloPipeline):
    run = sd3.start(request(), 1, CAT)
    calls: list[int] = []
    handle = sd3.pipe.transformer.register_forward_hook(lambda *_: calls.append(threading.get_ident()))
    try:
        assert isinstance(run.tick(), Progress)
        assert len(calls) == 1
        threading.Event().wait(0.05)
        assert len(calls) == 1
        said = [run.tick() for _ in range(3)]
    finally:
        handle.remove()
    assert [type(one) for one in said] == [Progress, Progress, Finished]
    assert threading.get_ident() not in calls
    assert len(calls) == 3


def test_a_run_that_is_stopped_ends_at_once_and_leaves_the_pipeline_as_it_was(sd3: SoloPipeline):
    whole = sd3.run(request(), 1, CAT)
    threads = threading.active_count()
    run = sd3.start(request(steps=50), 5, CAT)
    run.tick()
    run.stop()
    run.stop()
    with pytest.raises(Stopped):
        run.tick()
    assert threading.active_count() == threads
    assert np.array_equal(sd3.run(request(), 1, CAT), whole)
    steps: list[int] = []
    with pytest.raises(Stopped):
        sd3.run(request(), 1, CAT, lambda step, *_: steps.append(step), lambda: len(steps) == 2)
    assert steps == [1, 2]


def test_a_second_picture_waits_for_the_first(sd3: SoloPipeline):
    alone = sd3.run(request(), 2, CAT)
    first, second = sd3.start(request(), 1, CAT), sd3.start(request(), 2, CAT)
    assert isinstance(first.tick(), Progress)
    assert isinstance(second.tick(), Waiting)
    first.stop()
    while not isinstance(said := second.tick(), Finished):
        assert isinstance(said, Progress)
    assert np.array_equal(said.pixels, alone)


def test_what_goes_wrong_inside_is_raised_where_the_loop_is(sd3: SoloPipeline, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(sd3.pipe.scheduler, "step", lambda *_, **__: 1 / 0)
    run = sd3.start(request(), 1, CAT)
    with pytest.raises(ZeroDivisionError):
        run.tick()
    monkeypatch.undo()
    assert isinstance(sd3.run(request(), 1, CAT), np.ndarray)


def test_sizes_a_pipeline_cannot_paint_are_refused_before_it_starts(sd3: SoloPipeline):
    with pytest.raises(InvalidParameter, match="multiple of 4"):
        sd3.start(request(width=66), 1, CAT)
    assert isinstance(sd3.start(request(width=68), 1, CAT), SoloRun)


def test_diffusers_own_checks_and_marks_are_never_loaded(folders: Path):
    assert open_solo(tiny_solo.save("lcm", folders)).pipe.safety_checker is None
    floyd = open_solo(tiny_solo.save("deepfloyd", folders)).pipe
    assert (floyd.safety_checker, floyd.watermarker) == (None, None)


def test_every_pipeline_the_catalogue_lets_run_alone_is_known_here_but_half_of_kandinsky():
    alone = {kind for kind, entry in PIPELINES.items() if entry.alone}
    assert alone - set(tables.SOLO) <= {"KandinskyV22Pipeline"}
    assert set(tables.SOLO) <= alone
    for kind in tables.SOLO:
        assert tables.SOLO[kind].denoiser == PIPELINES[kind].denoiser
        assert tables.SOLO[kind].decoder == PIPELINES[kind].decoder


@pytest.mark.parametrize("part", ["text_encoder_2", "text_encoder_3", "transformer", "vae"])
def test_missing_weights_are_noticed(folders: Path, tmp_path: Path, part: str):
    folder = tiny.copy_model(tiny_solo.save("sd3", folders), tmp_path / "holey")
    file = next((folder / part).glob("*.safetensors"))
    tensors = load_file(file)
    del tensors[next(name for name in sorted(tensors) if tensors[name].ndim > 1 and "embed_tokens" not in name)]
    save_file(tensors, file, metadata={"format": "pt"})
    with pytest.raises(UnreadableModel):
        open_solo(folder)


def test_a_pipeline_nobody_knows_is_refused(folders: Path, tmp_path: Path):
    folder = tiny.copy_model(tiny_solo.save("sd3", folders), tmp_path / "strange")
    index = json.loads((folder / "model_index.json").read_text())
    (folder / "model_index.json").write_text(json.dumps({**index, "_class_name": "StableDiffusionPipeline"}))
    with pytest.raises(UnreadableModel):
        open_solo(folder)


def test_a_quantised_pipeline_says_which_package_is_missing(sd3: SoloPipeline):
    with pytest.raises(Unavailable, match="bitsandbytes"):
        open_solo(Path(sd3.info.path), "nf4")
