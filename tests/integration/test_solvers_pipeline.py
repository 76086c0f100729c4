"""Our plans over a real (tiny) denoiser with guidance, against the stock pipeline with the stock scheduler."""

from __future__ import annotations

import pytest
import torch

from backend.engine.samplers import Stepper
from backend.solvers.noise import NoiseTable
from backend.solvers.plan import plan
from tests.support import stock, tiny
from tests.support.solvers import apart

CASES = [(spacing, name) for spacing in ("leading", "trailing") for name in stock.equals(spacing)]


@pytest.fixture(scope="module", params=[False, True], ids=["epsilon", "velocity"])
def pipe(request: pytest.FixtureRequest):
    made = tiny.pipeline(velocity=request.param)
    made.set_progress_bar_config(disable=True)
    return made


@pytest.mark.parametrize(("spacing", "sampler"), CASES)
@torch.inference_mode()
def test_a_whole_run_with_guidance_ends_at_the_stock_pipelines_latent(pipe, spacing: str, sampler: str):
    if sampler == "PLMS" and pipe.scheduler.config.prediction_type == "v_prediction":
        pytest.skip("the stock PNDM averages velocities of different levels; A1111 and we average slopes")
    config = {**pipe.scheduler.config, "timestep_spacing": spacing}
    # The stock DDIM walks other timesteps for numbers of steps that do not divide the trained ones.
    steps, scale, shape = 5, 5.5, (1, 4, 16, 16)
    before, pipe.scheduler = pipe.scheduler, stock.scheduler(sampler, config)
    try:
        theirs = pipe(
            "a cat", height=32, width=32, num_inference_steps=steps, guidance_scale=scale, output_type="latent",
            generator=torch.Generator().manual_seed(4),
        ).images  # fmt: skip
    finally:
        pipe.scheduler = before

    table = NoiseTable.of(config)
    run = plan(sampler, "Automatic", steps, table)
    generator = torch.Generator().manual_seed(4)
    texts = torch.cat(pipe.encode_prompt("a cat", "cpu", 1, True)[::-1])

    def draw() -> torch.Tensor:
        return torch.randn(shape, generator=generator)

    stepper = Stepper(run, table, draw() * run.start_sigma, draw)
    while stepper.left:
        given = stepper.model_input().repeat(2, 1, 1, 1)
        times = torch.tensor([stepper.timestep] * 2)
        without, guided = pipe.unet(given, times, encoder_hidden_states=texts, return_dict=False)[0].chunk(2)
        stepper.advance(stepper.denoised(without + scale * (guided - without)))
    assert apart(stepper.sample, theirs) < 2e-3
