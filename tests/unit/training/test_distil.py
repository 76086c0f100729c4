"""The few-step LoRA: what it learns on, that its jumps are LCM's, and that the studio loads what was trained."""

from __future__ import annotations

import math
from functools import partial
from pathlib import Path
from random import Random

import pytest
import torch
from diffusers import LCMScheduler
from torch import Tensor

from backend.engine.lora import Assignment, RowAdditions, bind, read_adapter
from backend.engine.samplers import Stepper
from backend.models.catalog import Catalog
from backend.models.loader import LoadedModel
from backend.solvers.noise import NoiseTable
from backend.solvers.plan import plan
from tests.support import tiny
from training import distil, distil_measure, running
from training.distil_paths import JUMPS, Paths, captions, guided, jump, lcm, noised, said, solve, times_from, walk


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.save_folder(tiny.pipeline(velocity=True), tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture(scope="module")
def model(folder: Path) -> LoadedModel:
    loaded = distil.open_model(folder)
    loaded.unet.requires_grad_(False)
    return loaded


@pytest.fixture(scope="module")
def signal(model: LoadedModel) -> Tensor:
    return distil.signal_of(model)


def stirred(model: LoadedModel, rank: int = 4) -> distil.Student:
    """A student that has learned something."""
    student, dice = distil.Student(model, rank), torch.Generator().manual_seed(3)
    with torch.no_grad():
        for value in student.parameters():
            # Numbers that half precision holds exactly.
            value.copy_((torch.randn(value.shape, generator=dice) * 0.1).half())
    return student


def ask(model: LoadedModel) -> Tensor:
    dice = torch.Generator().manual_seed(5)
    x, states = torch.randn(2, 4, 16, 16, generator=dice), torch.randn(2, 77, 32, generator=dice)
    with torch.no_grad():
        answer: Tensor = model.unet(x, torch.tensor([999, 259]), states).sample
    return answer


def pool(model: LoadedModel, signal: Tensor) -> distil.Pool:
    states, nothing = said(model, ["a cat", "a dog"]), said(model, [""])
    held = distil.Pool()
    held.add(walk(model.unet, torch.randn(2, 4, 16, 16), 0, states, nothing, signal))
    return held


def test_captions_follow_the_grammar_and_the_seed() -> None:
    told = captions(400, Random(1))
    assert told == captions(400, Random(1)) != captions(400, Random(2))
    assert 8 <= told.count("") <= 50
    assert sum(" background" in text for text in told) > 80
    assert sum("3d" in text for text in told) > 30


def test_the_four_jumps_are_those_of_the_stock_sampler_and_lie_on_every_path() -> None:
    scheduler = LCMScheduler()
    scheduler.set_timesteps(4)
    assert tuple(scheduler.timesteps.tolist()) == JUMPS
    for stage in range(4):
        times = times_from(stage)
        assert set(JUMPS[stage:]) <= set(times) and times[0] == JUMPS[stage]
        assert times == sorted(set(times), reverse=True) and times[-1] > 0


def test_the_solver_finds_the_end_of_a_path_that_is_known(signal: Tensor) -> None:
    """For pictures spread normally the exact path scales x by the ratio of the deviations."""
    deviation = 0.5

    def velocity(x: Tensor, time: int) -> Tensor:
        share = signal[time]
        clean = share.sqrt() * deviation**2 / (share * deviation**2 + 1 - share) * x
        noise = (x - share.sqrt() * clean) / (1 - share).sqrt()
        return share.sqrt() * noise - (1 - share).sqrt() * clean

    x = torch.randn(4, 3, 8, 8)
    points, pictures = solve(velocity, x, times_from(0), signal)
    spread = (signal[999] * deviation**2 + 1 - signal[999]).sqrt()
    assert points.shape == (4, 13, 3, 8, 8) and torch.equal(points[:, 0], x)
    assert (pictures - x * deviation / spread).pow(2).mean().sqrt() < 0.05 * deviation


def test_a_jump_is_the_stock_schedulers(signal: Tensor, model: LoadedModel) -> None:
    scheduler = LCMScheduler.from_config(dict(model.scheduler))
    scheduler.set_timesteps(4)
    x, velocity = torch.randn(1, 4, 16, 16), torch.randn(1, 4, 16, 16)
    for time in scheduler.timesteps:
        theirs = scheduler.step(velocity, time, x, return_dict=False)[1]
        assert torch.allclose(jump(velocity, x, time.view(1), signal), theirs, atol=1e-5)
    clean = torch.randn(1, 4, 16, 16)
    at = torch.tensor([499])
    assert torch.allclose(noised(clean, x, at, signal), scheduler.add_noise(clean, x, at), atol=1e-6)


def test_the_studios_sampler_the_stock_one_and_ours_draw_the_same(model: LoadedModel, signal: Tensor) -> None:
    noise, states = torch.randn(4, 1, 4, 16, 16), said(model, ["a cat"])
    with stirred(model).on() as unet, torch.no_grad():
        velocity = guided(unet, states, states, 1.0)
        ours = lcm(velocity, list(noise), signal)
        table = NoiseTable.of(dict(model.scheduler))
        fresh = iter(noise[1:])
        moves = plan("LCM", "Automatic", 4, table)
        stepper = Stepper(moves, table, noise[0] * math.hypot(1, moves.moves[0].sigma), lambda: next(fresh))
        while stepper.left:
            time = round(stepper.timestep)
            stepper.advance(stepper.denoised(velocity(stepper.model_input(), time)))
        scheduler = LCMScheduler.from_config(dict(model.scheduler))
        scheduler.set_timesteps(4)
        x = noise[0]
        for place, time in enumerate(scheduler.timesteps):
            clean = scheduler.step(velocity(x, int(time)), time, x, return_dict=False)[1]
            x = clean if place == 3 else scheduler.add_noise(clean, noise[place + 1], scheduler.timesteps[place + 1])
    assert torch.allclose(ours, x, atol=2e-2)  # bfloat16 magnifies the last bits of what it is given
    assert torch.allclose(stepper.sample, x, atol=2e-2)


def test_the_denoiser_has_the_lora_within_and_not_outside(model: LoadedModel) -> None:
    plain, student = ask(model), stirred(model)
    with distil.Student(model).on():
        assert torch.equal(ask(model), plain)  # untrained, it adds nothing
    with student.on():
        assert not torch.allclose(ask(model), plain, atol=1e-3)
    assert torch.equal(ask(model), plain)


def test_what_is_written_is_what_the_studio_loads(model: LoadedModel, tmp_path: Path) -> None:
    student = stirred(model)
    with student.on():
        wanted = ask(model)
    distil.write(student, model, {"step": 7, "loss": 0.1}, tmp_path)
    adapter = read_adapter(tmp_path / "starter-lcm.safetensors", "starter-lcm")
    bound, additions = bind(adapter, model), RowAdditions()
    assert not bound.unused
    with additions.applied(model.unet, [Assignment(slice(None), ((bound, 1.0, ()),))]):
        assert torch.allclose(ask(model), wanted, atol=1e-5)
    additions.forget()
    assert adapter.metadata["ss_steps"] == "7" and adapter.metadata["modelspec.license"] == "Apache-2.0"
    listed = Catalog((tmp_path / "starter-lcm.safetensors",), ()).find("starter-lcm", "lora")
    assert (listed.kind, listed.licence) == ("lora", "Apache-2.0")


def test_one_that_is_too_large_leaves_nothing(
    model: LoadedModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(distil, "LIMIT", 1000)
    with pytest.raises(SystemExit, match="lower --rank"):
        distil.write(stirred(model), model, {"step": 7, "loss": 0.1}, tmp_path)
    assert not list(tmp_path.iterdir())


def test_the_pool_keeps_the_newest_and_draws_mostly_jumps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(distil, "HELD", 3)
    held, times = distil.Pool(), times_from(2)
    for number in (1.0, 2.0):
        points = torch.full((2, len(times), 1, 1, 1), number)
        held.add(Paths(times, points, torch.full((2, 1, 1, 1), -number), torch.full((2, 77, 2), number)))
    assert len(held) == 3
    points, at, pictures, states = held.draw(300, Random(0))
    assert torch.equal(points.flatten(), -pictures.flatten()) and torch.equal(states[:, 0, 0], points.flatten())
    assert set(at.tolist()) <= set(times)
    assert 200 < sum(time in JUMPS for time in at.tolist()) < 290


@pytest.mark.parametrize("way", distil.WAYS)
def test_training_changes_the_lora_and_leaves_the_denoiser(model: LoadedModel, signal: Tensor, way: str) -> None:
    torch.manual_seed(0)
    before = {name: value.clone() for name, value in model.unet.state_dict().items()}
    student, held = distil.Student(model, 4), pool(model, signal)
    if way == "paths":
        drawn = held.draw(distil.BATCH, Random(0))
    else:
        drawn = distil.consistent(stirred(model), held, said(model, [""]), signal, Random(0))
        assert set(drawn[1].tolist()) <= {40, *range(59, 1000, 20)}
    assert all(len(tensor) == distil.BATCH for tensor in drawn)
    run = running.begin(student, minutes=1, peak=1e-1)
    losses = []
    for _ in range(6):
        with student.on() as unet:
            losses.append(distil.path_loss(unet, drawn, signal).item())
            run.advance(partial(distil.path_loss, unet, drawn, signal))
    assert losses[-1] < losses[0]
    assert all(torch.equal(value, before[name]) for name, value in model.unet.state_dict().items())


def test_the_teacher_walks_from_where_the_students_jumps_lead(
    model: LoadedModel, signal: Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(distil, "WALKS", 4)
    student, drawn = stirred(model), []
    for shards in (1, 2):
        torch.manual_seed(1)
        paths = distil.Teacher(model, signal, shards).walk(student, 2, Random(1))
        assert paths.times == times_from(2) and paths.points.shape == (distil.WALKS, 7, 4, 16, 16)
        assert paths.states.shape == (distil.WALKS, 77, 32)
        drawn.append(paths)
    assert torch.allclose(drawn[0].points[:, 0], drawn[1].points[:, 0], atol=5e-2)  # shards change nothing
    torch.manual_seed(1)
    other = distil.Teacher(model, signal, 1).walk(distil.Student(model), 2, Random(1))
    assert not torch.allclose(drawn[0].points[:, 0], other.points[:, 0], atol=5e-2)


def test_a_training_is_resumed_measured_and_exported(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {"FIRST": 4, "WALKS": 2, "BATCH": 2}.items():
        monkeypatch.setattr(distil, name, value)
    with pytest.raises(SystemExit, match="no LoRA of this model"):
        distil.export(tmp_path, tmp_path / "out", model=folder)
    for resume in (False, True):
        distil.train(tmp_path, minutes=0, seed=0, resume=resume, model=folder, rank=2)
    with pytest.raises(SystemExit, match="give --rank 2"):
        distil.train(tmp_path, minutes=0, seed=0, resume=True, model=folder, rank=3)
    place = distil.place(folder, tmp_path)
    assert running.load(place / "lora.safetensors")[1]["step"] == 2
    monkeypatch.setattr(distil_measure.scores, "__defaults__", (("a cat", "a dog"), 2))
    found = distil.measure(tmp_path, model=folder)
    assert found["prompts"] == 2 and found["teacher"] > 0 and found["teacher detail"] == 1.0
    assert (place / "sheet.png").stat().st_size > 0
    size = distil.export(tmp_path, tmp_path / "out", model=folder)
    assert (tmp_path / "out" / "starter-lcm.safetensors").stat().st_size == size
    text = (tmp_path / "out" / "README.md").read_text(encoding="utf-8")
    assert f"| {found['few']:.3f} |" in text and "rank 2" in text


def test_the_nearest_is_the_nearest_and_blur_costs_detail() -> None:
    bank = torch.stack([torch.zeros(2, 3), torch.full((2, 3), 4.0)], 1)
    assert distil_measure.nearest(torch.full((2, 3), 3.0), bank) == 1.0
    picture = torch.rand(1, 3, 16, 16)
    assert distil_measure.detail(torch.nn.functional.avg_pool2d(picture, 3, 1, 1)) < 0.5 * distil_measure.detail(
        picture
    )
