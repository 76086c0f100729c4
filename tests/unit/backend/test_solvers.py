"""Plans as mathematics: no tensors, only their numbers."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backend.errors import InvalidParameter, UnknownSampler
from backend.samplers import SAMPLERS, names
from backend.solvers.moves import Plan
from backend.solvers.noise import NoiseTable
from backend.solvers.plan import CHURNED, SOLVERS, plan
from backend.types import Churn
from tests.support.solvers import SD, TABLE, options

ALL = [(name, schedule) for name, sampler in SAMPLERS.items() for schedule in sampler.schedules]
TABLES = {
    "plain": TABLE,
    "trailing v": NoiseTable.of(
        {**SD, "beta_end": 0.018, "timestep_spacing": "trailing", "prediction_type": "v_prediction"}
    ),
    "leading": NoiseTable.of({**SD, "timestep_spacing": "leading", "steps_offset": 1, "set_alpha_to_one": False}),
    "zero snr": NoiseTable.of({**SD, "rescale_betas_zero_snr": True, "timestep_spacing": "trailing"}),
}


def carried_out(
    run: Plan, x: Any, denoiser: Callable[[Any, float], Any], fresh: Callable[[], Any] = lambda: 0.0
) -> Any:
    """A run in double precision on anything that can be added and multiplied."""
    saved, history, normals = x, [], []
    if run.start_noise:
        x = x + run.start_noise * fresh()
    for move in run.moves:
        clean = denoiser(x, move.sigma)
        history.insert(0, (x - clean) / move.sigma if move.slope else clean)
        moved = x * move.x + saved * move.saved
        assert len(move.d) <= len(history)
        moved = moved + sum(weight * one for weight, one in zip(move.d, history, strict=False))
        if move.noise:
            normals.insert(0, fresh())
            assert len(move.noise) <= len(normals)
            moved = moved + sum(weight * one for weight, one in zip(move.noise, normals, strict=False))
        saved, x = (x if move.save else saved), moved
    return x


runs = {
    "named": st.sampled_from(ALL),
    "steps": st.sampled_from([1, 2, 3, 7, 20, 37]),
    "table": st.sampled_from(sorted(TABLES)),
    "denoise": st.none() | st.floats(0, 1),
    "eta": st.none() | st.floats(0, 1),
    "churn": st.builds(Churn, churn=st.floats(0, 20), tmin=st.floats(0, 1), noise=st.floats(0.9, 1.1)),
}


@settings(max_examples=400, deadline=None)
@given(**runs)
def test_every_plan_is_finite_and_keeps_a_constant_picture(named, steps, table, denoise, eta, churn):
    name, schedule = named
    run = plan(name, schedule, steps, TABLES[table], denoise=denoise, eta=eta, churn=churn)
    wanted = steps if denoise is None else int(min(denoise, 0.999) * steps) + 1
    assert run.steps == wanted
    assert [*dict.fromkeys(move.step for move in run.moves)] == list(range(wanted))
    numbers = [value for m in run.moves for value in (m.sigma, m.x, m.saved, *m.d, *m.noise)]
    assert np.all(np.isfinite([*numbers, run.start_sigma, run.start_noise, run.final_scale]))
    assert all(move.sigma > 0 for move in run.moves)
    assert max(len(move.d) for move in run.moves) <= 5
    for move in run.moves:
        assert move.x + move.saved + (0 if move.slope else sum(move.d)) == pytest.approx(1, abs=1e-5)


@settings(max_examples=300, deadline=None)
@given(**runs)
def test_noise_is_always_as_strong_as_the_level_says(named, steps, table, denoise, eta, churn):
    """A model that knows the picture: each x is picture + sigma * noise, so sigma can be followed through the run."""
    name, schedule = named
    churn = churn.model_copy(update={"noise": 1.0})
    run = plan(name, schedule, steps, TABLES[table], denoise=denoise, eta=eta, churn=churn)
    axes = iter(np.eye(300))
    levels = []

    def knows(x: Any, sigma: float) -> Any:
        levels.append((float(np.linalg.norm(x)), sigma))
        return x * 0

    start = next(axes) * run.moves[0].sigma
    if run.start_noise:
        start = start * math.sqrt(1 - (run.start_noise / run.moves[0].sigma) ** 2)
    end = carried_out(run, start, knows, lambda: next(axes))
    for found, sigma in levels:
        assert found == pytest.approx(sigma, rel=1e-3)
    assert float(np.linalg.norm(end)) == pytest.approx(run.end_sigma, abs=1e-3)


@settings(max_examples=300, deadline=None)
@given(**runs)
def test_a_model_that_knows_the_picture_makes_exactly_that(named, steps, table, denoise, eta, churn):
    name, schedule = named
    dice = np.random.default_rng(3)
    run = plan(name, schedule, steps, TABLES[table], denoise=denoise, eta=eta, churn=churn)
    picture = dice.normal(size=8)
    end = carried_out(
        run, picture + run.start_sigma * dice.normal(size=8), lambda x, sigma: picture, lambda: dice.normal(size=8)
    )
    if run.end_sigma:
        assert np.abs(end - picture).max() < 6 * run.end_sigma
    else:
        assert end == pytest.approx(picture, abs=1e-4)


def ends(run: Plan, spread: float) -> tuple[float, float]:
    """(where a run ends, where the ODE does) for pictures that are normal with this spread: both are known exactly."""
    start = run.moves[0].sigma
    found = carried_out(run, start, lambda x, sigma: x * spread**2 / (spread**2 + sigma**2))
    return found, start * math.hypot(spread, run.end_sigma) / math.hypot(spread, start)


ORDERS = {
    "Euler": 1, "Euler a": 1, "DDIM": 1, "Heun": 2, "DPM2": 2, "DPM2 a": 2, "DPM++ 2M": 2, "DPM++ 2M SDE": 2,
    "DPM++ 2M SDE Heun": 2, "DPM++ 2S a": 2, "DPM++ SDE": 2, "DPM++ 3M SDE": 2.5, "UniPC": 2, "LMS": 2.5,
}  # fmt: skip


@pytest.mark.parametrize(("name", "order"), ORDERS.items())
def test_the_error_on_normal_data_falls_with_the_order_of_the_sampler(name: str, order: float):
    """Without noise, between levels that are not near 0, where the step to 0 would hide it.

    Those that remember steps begin with lower orders, so the third order shows only as a little more than the second.
    """

    def error(steps: int) -> float:
        levels = np.geomspace(10.0, 0.5, steps + 1).tolist()
        run = Plan(tuple(SOLVERS[name](levels, options(0.0))), levels[0], 1.0, steps, end_sigma=levels[-1])
        found, exact = ends(run, 1.0)
        return abs(found - exact)

    measured = math.log2(error(60) / error(120))
    assert measured > order - 0.35, measured


@pytest.mark.parametrize("name", [name for name in names() if name not in ("LCM", "Restart")])
def test_normal_data_come_out_nearly_as_spread_as_they_are(name: str):
    found, exact = ends(plan(name, "Automatic", 60, TABLE, eta=0.0), 0.7)
    assert found == pytest.approx(exact, rel=0.05)


def test_noise_makes_normal_data_as_spread_as_they_are_too():
    """The variance of a whole run, followed exactly through every normal that it draws."""
    for name in (
        "Euler a",
        "DPM2 a",
        "DPM++ 2S a",
        "DPM++ SDE",
        "DPM++ 2M SDE",
        "DPM++ 2M SDE Heun",
        "DPM++ 3M SDE",
        "Restart",
    ):
        run = plan(name, "Karras", 100, TABLE)
        axes = iter(np.eye(1000))
        start = next(axes) * math.hypot(run.moves[0].sigma, 0.7)
        end = carried_out(run, start, lambda x, sigma: x * 0.49 / (0.49 + sigma**2), lambda it=axes: next(it))
        assert float(np.linalg.norm(end)) == pytest.approx(0.7, rel=0.06), name


@pytest.mark.parametrize("name", names())
def test_random_says_whether_noise_is_drawn_and_order_how_many_forwards_a_step_takes(name: str):
    steps = 24
    run = plan(name, "Automatic", steps, TABLE)
    assert any(move.noise for move in run.moves) == SAMPLERS[name].random
    forwards = len(run.moves) / steps
    assert math.ceil(forwards - 0.05) == SAMPLERS[name].order
    if name not in ("DDIM",):
        return
    assert any(move.noise for move in plan(name, "Automatic", steps, TABLE, eta=1.0).moves)


@pytest.mark.parametrize("name", sorted(set(names()) - {"LCM", "Restart"}))
def test_without_eta_nothing_is_random(name: str):
    assert not any(move.noise for move in plan(name, "Automatic", 24, TABLE, eta=0.0).moves)


def test_only_the_samplers_of_karras_algorithm_stir():
    stir = Churn(churn=5.0)
    for name in names():
        same = plan(name, "Automatic", 10, TABLE, churn=stir) == plan(name, "Automatic", 10, TABLE)
        assert same == (name not in CHURNED)


@pytest.mark.parametrize(("denoise", "made"), [(0.0, 1), (0.5, 11), (0.75, 16), (1.0, 20), (7.0, 20), (-1.0, 1)])
def test_a_given_picture_is_made_anew_in_as_many_steps_as_a1111_makes(denoise: float, made: int):
    whole, part = plan("Euler", "Karras", 20, TABLE), plan("Euler", "Karras", 20, TABLE, denoise=denoise)
    assert part.steps == len(part.moves) == made
    assert part.moves == tuple(replace(move, step=at) for at, move in enumerate(whole.moves[20 - made :]))
    assert part.start_sigma == part.moves[0].sigma


@pytest.mark.parametrize("name", names())
@pytest.mark.parametrize("table", sorted(TABLES))
def test_a_given_picture_gets_as_much_noise_as_the_first_level_says(name: str, table: str):
    run = plan(name, "Automatic", 10, TABLES[table], denoise=0.6)
    assert run.start_sigma == run.moves[0].sigma


def test_automatic_is_the_samplers_own_schedule_or_the_models():
    trailing = TABLES["trailing v"]
    assert plan("DPM++ 2M", "Automatic", 9, trailing) == plan("DPM++ 2M", "Karras", 9, trailing)
    assert plan("DPM++ 3M SDE", "Automatic", 9, trailing) == plan("DPM++ 3M SDE", "Exponential", 9, trailing)
    times = [trailing.timestep(move.sigma) for move in plan("Euler", "Automatic", 4, trailing).moves]
    assert times == pytest.approx([999, 749, 499, 249])
    assert plan("Euler", "Automatic", 9, TABLE) == plan("Euler", "Uniform", 9, TABLE)


def test_the_smallest_level_but_zero_is_left_out_where_a1111_leaves_it_out():
    levels = [move.sigma for move in plan("DPM++ 3M SDE", "Karras", 4, TABLE).moves]
    assert levels == pytest.approx([move.sigma for move in plan("Euler", "Karras", 5, TABLE).moves][:-1])


def test_restart_goes_up_again_from_twenty_steps_on():
    def rises(steps: int) -> int:
        sigmas = [move.sigma for move in plan("Restart", "Karras", steps, TABLE).moves]
        return sum(later > sooner * 1.5 for sooner, later in pairwise(sigmas))

    assert [rises(steps) for steps in (10, 19, 20, 30, 36, 60)] == [0, 0, 1, 1, 2, 2]


def test_dpm_fast_makes_one_forward_a_step_whatever_their_number():
    for steps in range(1, 30):
        assert len(plan("DPM fast", "Automatic", steps, TABLE).moves) == steps


def test_ddim_and_plms_end_where_the_model_says_and_come_back_to_its_scale():
    leading = TABLES["leading"]
    for name in ("DDIM", "PLMS"):
        run = plan(name, "Automatic", 5, leading)
        assert run.end_sigma == leading.sigma_min
        assert run.final_scale == pytest.approx(1 / math.hypot(1, leading.sigma_min))
        assert plan(name, "Automatic", 5, TABLE).end_sigma == 0


@pytest.mark.parametrize(("name", "steps"), [("Euler", 0), ("Euler", -3), ("Euler", 501), ("LCM", 51)])
def test_a_number_of_steps_that_cannot_be_made_is_a_problem_in_words(name: str, steps: int):
    with pytest.raises(InvalidParameter, match=f"{name} cannot make {steps} steps"):
        plan(name, "Automatic", steps, TABLE)


@pytest.mark.parametrize("eta", [-0.1, 11.0, math.nan, math.inf])
def test_an_eta_that_makes_no_sense_is_a_problem_in_words(eta: float):
    with pytest.raises(InvalidParameter, match="Eta cannot be"):
        plan("Euler a", "Automatic", 5, TABLE, eta=eta)


@settings(deadline=None)
@given(st.sampled_from(ALL), st.floats(1, 10))
def test_more_eta_than_usual_is_still_as_noisy_as_the_level_says(named, eta):
    run = plan(*named, 9, TABLE, eta=eta)
    axes = iter(np.eye(100))
    end = carried_out(run, next(axes) * run.moves[0].sigma, lambda x, sigma: x * 0, lambda: next(axes))
    assert float(np.linalg.norm(end)) == pytest.approx(run.end_sigma, abs=1e-3)


def test_names_are_resolved_in_plans_too():
    assert plan("k_dpmpp_2m_ka", "", 5, TABLE) == plan("DPM++ 2M", "Karras", 5, TABLE)
    with pytest.raises(UnknownSampler):
        plan("Eular", "", 5, TABLE)
