from __future__ import annotations

import diffusers
import pytest
import torch

from backend.engine.samplers import Stepper
from backend.errors import UnknownSampler
from backend.models import formats
from backend.models.catalog import config_folder
from backend.samplers import AUTOMATIC, SAMPLERS, names, resolve

ALL = [(name, schedule) for name, sampler in SAMPLERS.items() for schedule in sampler.schedules]


@pytest.fixture(scope="module")
def config(tmp_path_factory):
    folder = config_folder(tmp_path_factory.getbasetemp() / "nothing.safetensors", "sd1")
    return formats.read_json(folder / "scheduler" / "scheduler_config.json")


def test_the_six_samplers_are_there_and_every_first_schedule_is_automatic():
    assert names() == ("Euler", "Euler a", "DDIM", "DPM++ 2M", "UniPC", "LCM")
    assert all(next(iter(sampler.schedules)) == AUTOMATIC for sampler in SAMPLERS.values())


@pytest.mark.parametrize(
    ("asked", "understood"),
    [
        (("Euler",), ("Euler", AUTOMATIC)),
        (("  EULER A ",), ("Euler a", AUTOMATIC)),
        (("DPM++ 2M Karras",), ("DPM++ 2M", "Karras")),
        (("dpm++ 2m", "KARRAS"), ("DPM++ 2M", "Karras")),
        (("Euler", ""), ("Euler", AUTOMATIC)),
        (("unipc exponential", "automatic"), ("UniPC", "Exponential")),
    ],
)
def test_names_are_understood_in_any_case_and_in_one_piece(asked: tuple[str, ...], understood: tuple[str, str]):
    assert resolve(*asked) == understood


@pytest.mark.parametrize(
    ("asked", "field", "hint"),
    [
        (("Eular",), "sampler", '"Euler"'),
        (("",), "sampler", "Choose one of"),
        (("DPM++ 2M", "Karas"), "schedule", '"Karras"'),
        (("DDIM", "Karras"), "schedule", AUTOMATIC),
        (("Euler a Karras",), "schedule", AUTOMATIC),
        (("DPM++ 2M Karras", "Exponential"), "sampler", '"DPM++ 2M"'),
    ],
)
def test_an_unknown_name_is_refused_with_what_there_is(asked: tuple[str, ...], field: str, hint: str):
    with pytest.raises(UnknownSampler) as caught:
        resolve(*asked)
    assert caught.value.problem.field == field
    assert hint in str(caught.value.problem.hint)


@pytest.mark.parametrize(
    ("name", "schedule", "steps"),
    [(*names, steps) for names in ALL for steps in (1, 2, 3, 7, 50, 150) if steps <= SAMPLERS[names[0]].max_steps],
)
def test_every_sampler_takes_exactly_the_steps_it_was_asked_for(config, name: str, schedule: str, steps: int):
    generator = torch.Generator().manual_seed(1)
    stepper = Stepper(name, schedule, steps, config, generator)
    sample = torch.randn(1, 4, 4, 4, generator=generator) * stepper.start_sigma
    done = 0
    while stepper.left:
        assert 0 <= stepper.timestep < 1000
        prediction = stepper.model_input(sample) * 0.5
        assert torch.isfinite(stepper.estimate(prediction, stepper.model_input(sample))).all()
        sample = stepper.advance(prediction, sample)
        done += 1
    assert done == steps
    assert torch.isfinite(sample).all()


@pytest.mark.parametrize(("name", "schedule"), ALL)
def test_a_perfect_prediction_of_v_or_noise_is_estimated_back_to_the_picture(config, name: str, schedule: str):
    generator = torch.Generator().manual_seed(2)
    clean, noise = torch.randn(2, 1, 4, 4, 4, generator=generator)
    for kind in ("epsilon", "v_prediction"):
        stepper = Stepper(name, schedule, 8, {**config, "prediction_type": kind}, generator)
        for _ in range(4):
            stepper.advance(noise, stepper.model_input(noise))
        products = diffusers.DDIMScheduler.from_config(config).alphas_cumprod
        alpha = products[round(stepper.timestep)]
        noisy = alpha.sqrt() * clean + (1 - alpha).sqrt() * noise
        prediction = noise if kind == "epsilon" else alpha.sqrt() * noise - (1 - alpha).sqrt() * clean
        assert torch.allclose(stepper.estimate(prediction, noisy), clean, atol=1e-4)


def test_ddim_never_clips_latents_whatever_the_model_says(config):
    bare = {key: value for key, value in config.items() if key != "clip_sample"}
    stepper = Stepper("DDIM", AUTOMATIC, 1, bare, torch.Generator())
    big = torch.full((1, 4, 2, 2), 9.0)
    assert stepper.advance(torch.zeros_like(big), big).abs().max() > 9
