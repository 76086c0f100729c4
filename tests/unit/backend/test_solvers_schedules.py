"""Noise levels: what a model was trained on, and which of them a run visits."""

from __future__ import annotations

from typing import Any

import diffusers
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backend.errors import InvalidParameter, UnreadableModel
from backend.samplers import AUTOMATIC, SCHEDULES
from backend.solvers import schedules
from backend.solvers.noise import NoiseTable
from tests.support.solvers import SD, TABLE


@pytest.mark.parametrize(
    "config",
    [
        SD,
        {"beta_start": 0.0001, "beta_end": 0.02, "beta_schedule": "linear"},
        {"beta_schedule": "squaredcos_cap_v2", "num_train_timesteps": 500},
        {**SD, "rescale_betas_zero_snr": True},
        {"trained_betas": list(np.linspace(0.001, 0.02, 300)), "num_train_timesteps": 300},
    ],
)
def test_the_table_is_that_of_the_stock_scheduler(config: dict[str, Any]):
    products = diffusers.EulerDiscreteScheduler.from_config(config).alphas_cumprod.double().numpy()
    theirs = np.sqrt((1 - products) / products)
    # Their products are in single precision, which tells at the last levels of the cosine schedule.
    assert NoiseTable.of(config).sigmas == pytest.approx(theirs, rel=1e-3)
    assert NoiseTable.of(config).sigmas[:-2] == pytest.approx(theirs[:-2], rel=2e-4)


@settings(deadline=None, max_examples=40)
@given(st.floats(0, 999))
def test_a_timestep_and_its_level_name_each_other(time: float):
    assert TABLE.timestep(TABLE.sigma(time)) == pytest.approx(time, abs=1e-6)


def test_levels_beyond_the_table_are_held_at_its_ends():
    assert TABLE.timestep(1e9) == 999
    assert TABLE.timestep(0.0) == 0
    assert TABLE.sigma(2000) == pytest.approx(TABLE.sigma_max)
    assert TABLE.sigma(7) == pytest.approx(TABLE.sigmas[7])


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ({"beta_schedule": "sigmoid"}, "sigmoid"),
        ({"prediction_type": "flow_prediction"}, "flow_prediction"),
        ({"timestep_spacing": "random"}, "random"),
        ({"num_train_timesteps": 0}, "0 training"),
        ({"num_train_timesteps": 10**9}, "training"),
        ({"beta_start": "x"}, "not a number"),
        ({"beta_start": -1.0, "beta_schedule": "scaled_linear"}, "not a number"),
        ({"beta_start": float("nan")}, "between 0 and 1"),
        ({"beta_start": 0.5, "beta_end": 1.5}, "between 0 and 1"),
        ({"trained_betas": [[0.1]]}, "between 0 and 1"),
        ({"trained_betas": "junk"}, "not a number"),
        ({"trained_betas": [0.999] * 500}, "do not rise"),
        ({"num_train_timesteps": None}, "not a number"),
    ],
)
def test_a_scheduler_that_makes_no_sense_is_refused_in_words(config: dict[str, Any], said: str):
    with pytest.raises(UnreadableModel, match=said):
        NoiseTable.of(config)


@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize("family", ["sd1", "sdxl"])
@settings(deadline=None, max_examples=40)
@given(steps=st.integers(1, 120))
def test_every_schedule_falls_from_the_top_to_0_in_as_many_steps_as_asked(schedule: str, family: str, steps: int):
    levels = schedules.sigmas(schedule, steps, TABLE, family)
    assert len(levels) == steps + 1
    assert levels[-1] == 0
    assert np.all(np.diff(levels) < 0)
    lowest = levels[-2] if steps > 1 else 1.0
    assert lowest >= TABLE.sigma_min * 0.99
    begins_lower = schedule == "DDIM" and steps > 1
    first = TABLE.sigmas[1 + (steps - 1) * (1000 // steps)] if begins_lower else TABLE.sigma_max
    assert levels[0] == pytest.approx(first, rel=1e-4)


@pytest.mark.parametrize("steps", [1, 2, 5, 20])
@pytest.mark.parametrize(
    ("schedule", "config"),
    [
        ("Karras", {"use_karras_sigmas": True}),
        ("Exponential", {"use_exponential_sigmas": True}),
        ("Beta", {"use_beta_sigmas": True}),
        (AUTOMATIC, {"timestep_spacing": "linspace"}),
        (AUTOMATIC, {"timestep_spacing": "leading", "steps_offset": 1}),
        (AUTOMATIC, {"timestep_spacing": "trailing"}),
    ],
)
def test_the_stock_scheduler_has_the_same_levels(steps: int, schedule: str, config: dict[str, Any]):
    if config.get("timestep_spacing") != "trailing":
        steps = max(steps, 2)  # the stock scheduler would make its one step at the lowest level
    stock = diffusers.EulerDiscreteScheduler.from_config({**SD, **config})
    stock.set_timesteps(steps)
    table = NoiseTable.of({**SD, **config})
    assert schedules.sigmas(schedule, steps, table) == pytest.approx(stock.sigmas.numpy(), rel=2e-4, abs=1e-6)


def test_a_model_without_a_spacing_of_its_own_is_walked_evenly():
    automatic = schedules.sigmas(AUTOMATIC, 5, TABLE)
    assert automatic == pytest.approx(schedules.sigmas("Uniform", 5, TABLE))
    assert [TABLE.timestep(level) for level in automatic[:-1]] == pytest.approx([999, 749.25, 499.5, 249.75, 0])


def test_what_the_named_schedules_visit():
    def times(name: str, steps: int) -> list[float]:
        return [round(TABLE.timestep(level), 3) for level in schedules.sigmas(name, steps, TABLE)[:-1]]

    assert times("SGM Uniform", 4) == [999, 749.25, 499.5, 249.75]
    assert times("Simple", 4) == [999, 749, 499, 249]
    assert times("Normal", 4) == [999, 666, 333, 0]
    assert times("DDIM", 4) == [751, 501, 251, 1]
    assert schedules.sigmas("Polyexponential", 4, TABLE) == pytest.approx(schedules.sigmas("Exponential", 4, TABLE))
    kl = np.arctan(schedules.sigmas("KL Optimal", 4, TABLE)[:-1])
    assert np.diff(kl) == pytest.approx(np.diff(kl)[0])


def test_align_your_steps_is_its_published_table_at_eleven_and_on_a_line_of_logarithms_between():
    for family, second in (("sd1", 6.475), ("sdxl", 6.315), ("sdxl-refiner", 6.315)):
        levels = schedules.sigmas("Align Your Steps", 11, TABLE, family)
        assert levels[[0, 1, -2, -1]] == pytest.approx([14.615, second, 0.029, 0])
        finer = schedules.sigmas("Align Your Steps", 21, TABLE, family)
        assert finer[:-1:2] == pytest.approx(levels[:-1])
        assert finer[1] == pytest.approx(np.sqrt(14.615 * second))


def test_beta_quantiles_agree_with_scipy():
    stats = pytest.importorskip("scipy.stats")
    shares = np.linspace(0, 1, 41)
    for shape in (0.6, 1.0, 2.5):
        ours = schedules.symmetric_beta_quantiles(shares, shape)
        assert ours == pytest.approx(stats.beta.ppf(shares, shape, shape), abs=1e-12)


def test_more_steps_than_a_model_has_levels_is_a_problem_in_words():
    small = NoiseTable.of({**SD, "num_train_timesteps": 10})
    with pytest.raises(InvalidParameter, match="different noise levels"):
        schedules.sigmas("Simple", 20, small)
    with pytest.raises(InvalidParameter, match="different noise levels"):
        schedules.lcm(20, small)
