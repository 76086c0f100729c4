"""Plans carried out on tensors, against the stock schedulers on the same levels, noise and model."""

from __future__ import annotations

import math
import warnings
from itertools import pairwise
from typing import Any

import diffusers
import pytest
import torch

from backend.engine.samplers import Stepper
from backend.samplers import SAMPLERS
from backend.solvers import dpm, euler, heun, multistep
from backend.solvers.noise import NoiseTable
from backend.solvers.plan import SOLVERS, plan
from backend.types import Churn
from tests.support.solvers import (
    SD,
    SHAPE,
    TABLE,
    apart,
    drawing,
    noise,
    options,
    planned,
    run_plan,
    run_stock,
    smooth,
)

CLOSE = 1e-4
STEPS = [1, 2, 3, 7, 20]


def stock(kind: str, steps: int, **config: Any) -> Any:
    scheduler = getattr(diffusers, kind).from_config({**SD, **config})
    scheduler.set_timesteps(steps)
    return scheduler


# But for "trailing" the stock scheduler would make a single step at the lowest level.
SPACED = [
    *(("trailing", steps) for steps in STEPS),
    *((spacing, steps) for spacing in ("leading", "linspace") for steps in STEPS[1:]),
]


@pytest.mark.parametrize(("spacing", "steps"), SPACED)
@pytest.mark.parametrize("kind", ["epsilon", "v_prediction", "sample"])
def test_euler_with_the_models_own_spacing_is_the_stock_scheduler_timesteps_included(steps, spacing, kind):
    config = {"timestep_spacing": spacing, "steps_offset": 1, "prediction_type": kind}
    table = NoiseTable.of({**SD, **config})
    scheduler = stock("EulerDiscreteScheduler", steps, **config)
    ours = plan("Euler", "Automatic", steps, table)
    x = noise() * ours.start_sigma
    theirs, times = run_stock(scheduler, x, scheduler.sigmas[:-1].tolist(), vp=False)
    found, _ = run_plan(ours, x, table=table)
    assert apart(found, theirs) < CLOSE
    assert ours.start_sigma == pytest.approx(float(scheduler.init_noise_sigma), rel=1e-4)
    # Between two trained levels the stock scheduler interpolates the level, and we the timestep from its logarithm.
    slack = 0.1 if spacing == "linspace" else 0.02
    assert [table.timestep(move.sigma) for move in ours.moves] == pytest.approx(times, abs=slack)


SIGMAS = [
    ("Karras", {"use_karras_sigmas": True}),
    ("Exponential", {"use_exponential_sigmas": True}),
    ("Beta", {"use_beta_sigmas": True}),
]


@pytest.mark.parametrize("steps", STEPS)
@pytest.mark.parametrize(("schedule", "config"), SIGMAS)
@pytest.mark.parametrize(
    ("name", "kind", "vp", "call"),
    [
        ("DPM++ 2M", {}, True, {}),
        ("DPM++ 2M SDE", {"algorithm_type": "sde-dpmsolver++"}, True, {"random": True}),
        ("DPM++ 2M SDE Heun", {"algorithm_type": "sde-dpmsolver++", "solver_type": "heun"}, True, {"random": True}),
    ],
)
def test_dpmpp_2m_and_its_kin_are_the_stock_multistep_solver(steps, schedule, config, name, kind, vp, call):
    scheduler = stock("DPMSolverMultistepScheduler", steps, **config, **kind)
    ours = plan(name, schedule, steps, TABLE)
    x = noise() * ours.start_sigma
    theirs, times = run_stock(scheduler, x, scheduler.sigmas[:-1].tolist(), vp=vp, **call)
    assert apart(run_plan(ours, x)[0], theirs) < CLOSE
    assert [TABLE.timestep(move.sigma) for move in ours.moves] == pytest.approx(times, abs=1)  # theirs are whole


@pytest.mark.parametrize("steps", STEPS)
@pytest.mark.parametrize(("schedule", "config"), SIGMAS)
def test_unipc_is_the_stock_one_on_every_schedule(steps, schedule, config):
    scheduler = stock("UniPCMultistepScheduler", steps, **config)
    ours = plan("UniPC", schedule, steps, TABLE)
    x = noise() * ours.start_sigma
    theirs, _ = run_stock(scheduler, x, scheduler.sigmas[:-1].tolist(), vp=True)
    assert apart(run_plan(ours, x)[0], theirs) < CLOSE


@pytest.mark.parametrize("steps", [2, 3, 7, 20])
@pytest.mark.parametrize("spacing", ["trailing", "leading", "linspace"])
def test_unipc_on_the_stock_spacings(steps, spacing):
    scheduler = stock("UniPCMultistepScheduler", steps, timestep_spacing=spacing)
    levels = scheduler.sigmas.tolist()
    x = noise() * levels[0]
    theirs, _ = run_stock(scheduler, x, levels[:-1], vp=True)
    assert apart(run_plan(planned(levels, multistep.unipc(levels, options())), x)[0], theirs) < CLOSE


@pytest.mark.parametrize("steps", STEPS)
@pytest.mark.parametrize(
    ("name", "kind", "config", "call"),
    [
        ("Euler", "EulerDiscreteScheduler", {}, {}),
        ("Euler", "EulerDiscreteScheduler", {"use_karras_sigmas": True}, {}),
        ("Euler", "EulerDiscreteScheduler", {"use_exponential_sigmas": True}, {}),
        ("Euler", "EulerDiscreteScheduler", {"use_beta_sigmas": True}, {}),
        ("Euler a", "EulerAncestralDiscreteScheduler", {}, {"random": True}),
        ("Euler a", "EulerAncestralDiscreteScheduler", {"timestep_spacing": "trailing"}, {"random": True}),
        ("LMS", "LMSDiscreteScheduler", {}, {}),
        ("LMS", "LMSDiscreteScheduler", {"use_karras_sigmas": True}, {}),
        ("Heun", "HeunDiscreteScheduler", {}, {}),
        ("Heun", "HeunDiscreteScheduler", {"use_karras_sigmas": True}, {}),
        ("DPM2", "KDPM2DiscreteScheduler", {}, {}),
        ("DPM2", "KDPM2DiscreteScheduler", {"use_karras_sigmas": True}, {}),
    ],
)
def test_the_k_diffusion_samplers_are_the_stock_ones_on_the_same_levels(steps, name, kind, config, call):
    steps = max(steps, 2) if name == "DPM2" else steps  # the stock DPM2 cannot make one step
    scheduler = stock(kind, steps, **config)
    forwards = scheduler.sigmas.tolist()
    levels = forwards if SAMPLERS[name].order == 1 else [*dict.fromkeys(forwards)]
    x = noise() * levels[0]
    asked = forwards[: len(scheduler.timesteps)]
    if name == "DPM2":
        asked = [(forwards[at] if at % 2 == 0 else float(scheduler.sigmas_interpol[at])) for at in range(len(asked))]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # scipy's integration, in the stock LMS
        theirs, _ = run_stock(scheduler, x, asked, vp=False, **call)
    ours = planned(levels, SOLVERS[name](levels, options()))
    assert [move.sigma for move in ours.moves] == pytest.approx(asked, rel=1e-5)
    assert apart(run_plan(ours, x)[0], theirs) < CLOSE


@pytest.mark.parametrize("steps", [2, 3, 7, 20])
@pytest.mark.parametrize("eta", [0.0, 0.4, 1.0])
@pytest.mark.parametrize("to_one", [True, False])
def test_ddim_is_the_stock_one_with_its_eta_and_its_end(steps, eta, to_one):
    config = {"timestep_spacing": "leading", "steps_offset": 1, "set_alpha_to_one": to_one, "clip_sample": False}
    table = NoiseTable.of({**SD, **config})
    scheduler = stock("DDIMScheduler", steps, **config)
    ours = plan("DDIM", "Automatic", steps, table, eta=eta)
    assert [table.timestep(move.sigma) for move in ours.moves] == pytest.approx(scheduler.timesteps.tolist(), abs=1e-3)
    x = noise() * ours.start_sigma
    theirs, _ = run_stock(scheduler, x, [m.sigma for m in ours.moves], vp=True, random=True, eta=eta)
    assert apart(run_plan(ours, x, table=table)[0], theirs) < CLOSE
    assert torch.allclose(x / math.hypot(1, ours.moves[0].sigma), noise())  # from unit noise, as the stock one


@pytest.mark.parametrize("steps", [2, 3, 7, 20])
@pytest.mark.parametrize("to_one", [True, False])
def test_plms_is_the_stock_pndm_without_runge_kutta(steps, to_one):
    config = {"timestep_spacing": "leading", "steps_offset": 1, "set_alpha_to_one": to_one, "skip_prk_steps": True}
    table = NoiseTable.of({**SD, **config})
    scheduler = stock("PNDMScheduler", steps, **config)
    ours = plan("PLMS", "Automatic", steps, table)
    assert [table.timestep(move.sigma) for move in ours.moves] == pytest.approx(scheduler.timesteps.tolist(), abs=1e-3)
    x = noise() * ours.start_sigma
    theirs, _ = run_stock(scheduler, x, [move.sigma for move in ours.moves], vp=True)
    assert apart(run_plan(ours, x, table=table)[0], theirs) < CLOSE


@pytest.mark.parametrize("steps", [1, 2, 4, 8, 50])
def test_lcm_is_the_stock_one_with_its_timesteps_and_noise(steps):
    scheduler = stock("LCMScheduler", steps, clip_sample=False, set_alpha_to_one=True)
    ours = plan("LCM", "Automatic", steps, TABLE)
    assert [TABLE.timestep(move.sigma) for move in ours.moves] == pytest.approx(scheduler.timesteps.tolist(), abs=1e-3)
    x = noise() * ours.start_sigma
    theirs, _ = run_stock(scheduler, x, [move.sigma for move in ours.moves], vp=True, random=True)
    assert apart(run_plan(ours, x)[0], theirs) < CLOSE


# The rest have no equal among the stock schedulers, so their formulas stand here, in the words of the papers.

LEVELS = [14.6, 9.0, 5.1, 2.2, 1.0, 0.4, 0.1, 0.0]


def ancestral(start: float, end: float, eta: float = 1.0) -> tuple[float, float]:
    up = min(end, eta * (end**2 * (start**2 - end**2) / start**2) ** 0.5)
    return (end**2 - up**2) ** 0.5, up


def test_dpm2_a_is_a_midpoint_step_to_the_ancestral_level_and_noise():
    draw, x = drawing(1), noise() * LEVELS[0]
    for start, end in pairwise(LEVELS):
        down, up = ancestral(start, end)
        slope = (x - smooth(x, start)) / start
        if down == 0:
            x = x + slope * (down - start)
            continue
        middle = math.exp((math.log(start) + math.log(down)) / 2)
        trial = x + slope * (middle - start)
        x = x + (trial - smooth(trial, middle)) / middle * (down - start) + draw() * up
    assert apart(run_plan(planned(LEVELS, heun.dpm2_ancestral(LEVELS, options())), noise() * 14.6)[0], x) < CLOSE


@pytest.mark.parametrize("eta", [0.0, 0.6, 1.0])
def test_dpmpp_2s_a_is_two_exponential_stages_and_noise(eta):
    draw, x = drawing(1), noise() * LEVELS[0]
    for start, end in pairwise(LEVELS):
        down, up = ancestral(start, end, eta)
        denoised = smooth(x, start)
        if down == 0:
            x = denoised + (draw() * up if up else 0)
            continue
        t, t_next = -math.log(start), -math.log(down)
        h = t_next - t
        middle = math.exp(-(t + h / 2))
        trial = middle / start * x - math.expm1(-h / 2) * denoised
        x = down / start * x - math.expm1(-h) * smooth(trial, middle)
        x = x + draw() * up if up else x
    found = run_plan(planned(LEVELS, dpm.dpmpp_2s_ancestral(LEVELS, options(eta))), noise() * 14.6)[0]
    assert apart(found, x) < CLOSE


@pytest.mark.parametrize("eta", [0.0, 1.0])
def test_dpmpp_sde_takes_both_its_increments_from_one_brownian_path(eta):
    draw, x = drawing(1), noise() * LEVELS[0]
    for start, end in pairwise(LEVELS):
        denoised = smooth(x, start)
        if end == 0:
            x = denoised
            continue
        middle = math.sqrt(start * end)
        down, up = ancestral(start, middle, eta)
        down_whole, up_whole = ancestral(start, end, eta)
        first = (draw() if eta else torch.zeros(SHAPE)) * math.sqrt(start - middle)
        trial = down / start * x + (1 - down / start) * denoised + up * first / math.sqrt(start - middle)
        second = first + (draw() if eta else torch.zeros(SHAPE)) * math.sqrt(middle - end)
        clean = smooth(trial, middle)
        x = down_whole / start * x + (1 - down_whole / start) * clean + up_whole * second / math.sqrt(start - end)
    found = run_plan(planned(LEVELS, dpm.dpmpp_sde(LEVELS, options(eta))), noise() * 14.6)[0]
    assert apart(found, x) < CLOSE


@pytest.mark.parametrize("eta", [0.0, 0.5, 1.0])
def test_dpmpp_3m_sde_extrapolates_with_divided_differences(eta):
    draw, x = drawing(1), noise() * LEVELS[0]
    history: list[tuple[float, torch.Tensor]] = []
    for start, end in pairwise(LEVELS):
        denoised = smooth(x, start)
        history = [(-math.log(start), denoised), *history][:3]
        if end == 0:
            x = denoised
            continue
        h = math.log(start / end)
        reach = h * (1 + eta)
        x = math.exp(-reach) * x - math.expm1(-reach) * denoised
        phi2 = math.expm1(-reach) / reach + 1
        slopes = [(now[1] - then[1]) / ((now[0] - then[0]) / h) for now, then in pairwise(history)]
        if len(slopes) == 1:
            x = x + phi2 * slopes[0]
        if len(slopes) == 2:
            r0, r1 = ((now[0] - then[0]) / h for now, then in pairwise(history))
            d1 = slopes[0] + (slopes[0] - slopes[1]) * r0 / (r0 + r1)
            d2 = (slopes[0] - slopes[1]) / (r0 + r1)
            x = x + phi2 * d1 - (phi2 / reach - 0.5) * d2
        if eta:
            x = x + draw() * end * math.sqrt(-math.expm1(-2 * h * eta))
    found = run_plan(planned(LEVELS, multistep.dpmpp_3m_sde(LEVELS, options(eta))), noise() * 14.6)[0]
    assert apart(found, x) < CLOSE


@pytest.mark.parametrize("steps", [1, 2, 3, 4, 6, 8, 20])
@pytest.mark.parametrize("eta", [0.0, 1.0])
def test_dpm_fast_is_third_order_steps_and_a_shorter_one(steps, eta):
    levels = [14.6] * steps + [0.03]
    draw, x = drawing(1), noise() * levels[0]
    parts = steps // 3 + 1
    orders = [3] * (parts - 2) + [2, 1] if steps % 3 == 0 else [3] * (parts - 1) + [steps % 3]
    times = [-math.log(14.6) + (math.log(14.6) - math.log(0.03)) * at / parts for at in range(parts + 1)]

    def eps(x: torch.Tensor, t: float) -> torch.Tensor:
        return (x - smooth(x, math.exp(-t))) / math.exp(-t)

    for number, (t, goal) in enumerate(pairwise(times)):
        down, _ = ancestral(math.exp(-t), math.exp(-goal), eta)
        end = min(times[-1], -math.log(down)) if eta else goal
        up = math.sqrt(max(math.exp(-2 * goal) - math.exp(-2 * end), 0))
        h = end - t
        e0 = eps(x, t)
        if orders[number] == 1:
            x = x - math.exp(-end) * math.expm1(h) * e0
        elif orders[number] == 2:
            e1 = eps(x - math.exp(-(t + h / 2)) * math.expm1(h / 2) * e0, t + h / 2)
            x = x - math.exp(-end) * math.expm1(h) * e0 - math.exp(-end) * math.expm1(h) * (e1 - e0)
        else:
            s1, s2 = t + h / 3, t + 2 * h / 3
            e1 = eps(x - math.exp(-s1) * math.expm1(h / 3) * e0, s1)
            bend = math.exp(-s2) * 2 * (math.expm1(2 * h / 3) / (2 * h / 3) - 1)
            e2 = eps(x - math.exp(-s2) * math.expm1(2 * h / 3) * e0 - bend * (e1 - e0), s2)
            x = x - math.exp(-end) * (math.expm1(h) * e0 + 1.5 * (math.expm1(h) / h - 1) * (e2 - e0))
        x = x + draw() * up if up > 1e-5 else x
    moves = dpm.dpm_fast(levels, options(eta))
    assert len(moves) == steps
    assert apart(run_plan(planned(levels, moves), noise() * 14.6)[0], x) < CLOSE


@pytest.mark.parametrize("name", ["Euler", "Heun", "DPM2"])
def test_churn_puts_noise_back_before_each_step_that_lies_within_its_bounds(name):
    stirred = options(churn=3.0, tmin=0.3, tmax=10.0, noise=1.1)
    draw, x = drawing(1), noise() * LEVELS[0]
    for start, end in pairwise(LEVELS):
        if 0.3 <= start <= 10:
            hat = start * (1 + min(3.0 / 7, math.sqrt(2) - 1))
            x, start = x + draw() * 1.1 * math.sqrt(hat**2 - start**2), hat
        slope = (x - smooth(x, start)) / start
        if name == "Euler" or end == 0:
            x = x + slope * (end - start)
        elif name == "Heun":
            trial = x + slope * (end - start)
            x = x + (slope + (trial - smooth(trial, end)) / end) / 2 * (end - start)
        else:
            middle = math.sqrt(start * end)
            trial = x + slope * (middle - start)
            x = x + (trial - smooth(trial, middle)) / middle * (end - start)
    found = run_plan(planned(LEVELS, SOLVERS[name](LEVELS, stirred)), noise() * 14.6)[0]
    assert apart(found, x) < CLOSE


def test_churn_before_the_first_step_is_drawn_when_the_run_begins():
    ours = plan("Euler", "Karras", 5, TABLE, churn=Churn(churn=1.0))
    hat = TABLE.sigma_max * 1.2
    assert ours.moves[0].sigma == pytest.approx(hat)
    assert ours.start_noise == pytest.approx(math.sqrt(hat**2 - TABLE.sigma_max**2))
    x = noise() * ours.start_sigma
    _, stepper = run_plan(ours, x)
    assert stepper.left == 0
    assert torch.allclose(Stepper(ours, TABLE, x, drawing(3)).x, x + ours.start_noise * drawing(3)())


def test_lcm_ends_at_its_last_prediction_almost():
    levels = [10.0, 0.0]
    (move,) = euler.lcm(levels, options())
    assert move.d[0] == pytest.approx(1, abs=1e-6)
    assert move.x < 1e-6


def test_a_stepper_tells_where_it_is():
    ours = plan("Heun", "Karras", 4, TABLE)
    stepper = Stepper(ours, TABLE, noise() * ours.start_sigma, drawing(1))
    seen = []
    while stepper.left:
        seen.append((stepper.left, stepper.step, stepper.share))
        assert stepper.timestep == pytest.approx(TABLE.timestep(stepper.sigma))
        assert stepper.model_input().square().mean().sqrt() < 3
        stepper.advance(smooth(stepper.x, stepper.sigma))
    assert seen == [(7, 0, 0.0), (6, 0, 0.0), (5, 1, 0.25), (4, 1, 0.25), (3, 2, 0.5), (2, 2, 0.5), (1, 3, 0.75)]
    assert (stepper.step, stepper.share, stepper.steps) == (4, 1.0, 4)


def test_advancing_never_changes_a_tensor_that_was_handed_out_or_in():
    for name in SOLVERS:
        ours = plan(name, "Automatic", 6, TABLE)
        start = noise() * ours.start_sigma
        kept = start.clone()
        stepper = Stepper(ours, TABLE, start, drawing(1))
        while stepper.left:
            denoised = smooth(stepper.x, stepper.sigma)
            before = stepper.x, stepper.x.clone(), denoised, denoised.clone()
            stepper.advance(denoised)
            assert torch.equal(before[0], before[1]), name
            assert torch.equal(before[2], before[3]), name
        assert torch.equal(start, kept)


def test_runs_side_by_side_do_not_touch_each_other():
    names = list(SOLVERS)
    alone = [run_plan(plan(name, "Automatic", 5, TABLE), noise(at) * 14.6, seed=at)[0] for at, name in enumerate(names)]
    together = [
        Stepper(plan(name, "Automatic", 5, TABLE), TABLE, noise(at) * 14.6, drawing(at))
        for at, name in enumerate(names)
    ]
    while any(stepper.left for stepper in together):
        for stepper in together:
            if stepper.left:
                given = stepper.model_input()
                clean = smooth(given * math.hypot(1, stepper.sigma), stepper.sigma)
                stepper.advance(stepper.denoised((given * math.hypot(1, stepper.sigma) - clean) / stepper.sigma))
    assert all(torch.equal(one, stepper.sample) for one, stepper in zip(alone, together, strict=True))


@pytest.mark.parametrize("kind", ["epsilon", "v_prediction", "sample"])
def test_half_precision_outputs_are_taken_in_single_precision(kind):
    table = NoiseTable.of({**SD, "prediction_type": kind})
    ours = plan("Euler", "Karras", 3, table)
    stepper = Stepper(ours, table, (noise() * ours.start_sigma).half(), drawing(1))
    assert stepper.x.dtype == torch.float32
    assert stepper.denoised(noise(3).half()).dtype == torch.float32
