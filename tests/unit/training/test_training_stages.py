"""The recipe as commands: seeds, budgets, going on, ending well, and what is said when something is wrong."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from random import Random
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from tests.unit.training.command import asked, said
from training import __main__ as command
from training import autoencoder, data, geometry, learned, prepared, progress, running, stages
from training.control_hints import KINDS
from training.data import Record
from training.errors import BadInput, CannotWrite, Diverged, MissingFile, NotHere
from training.geometry import FULL, SMALL

pytestmark = pytest.mark.filterwarnings("ignore")

TINY = replace(FULL, name="full", size=16, factor=2, latent_channels=4, autoencoder_channels=(8, 8))
"""The full geometry's recipe on pictures of 16 pixels."""


@pytest.fixture
def work(tmp_path: Path) -> Path:
    """A work folder with eight noisy pictures."""
    pictures = np.random.default_rng(0).integers(0, 255, (8, TINY.size, TINY.size, 4), dtype=np.uint8)
    pictures[..., 3] = 255
    np.save(tmp_path / "pictures.npy", pictures)
    data.save_records(
        [Record(f"{n:04x}", f"thing {n}", "thing", (), "3d", 7, 0, 0, True, 1.0) for n in range(8)], tmp_path
    )
    return tmp_path


@pytest.fixture(autouse=True)
def few_pictures_to_measure_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(learned, "PROBE", 8)


@pytest.fixture
def tiny(monkeypatch: pytest.MonkeyPatch) -> None:
    """`--geometry full` means TINY."""
    monkeypatch.setattr(geometry, "named", lambda name: {"small": SMALL, "full": TINY}[name])


def stopping(monkeypatch: pytest.MonkeyPatch, after: int, how: Callable[[], object]) -> list[Tensor]:
    """Calls `how` in the loss of step number `after`; gives what every step was shown, and its random numbers."""
    shown: list[Tensor] = []
    loss_of = learned.loss_of

    def loss(module: nn.Module, real: Tensor, alike: None = None) -> Tensor:
        before = torch.get_rng_state()
        shown.append(torch.cat([real.flatten(), torch.rand(4)]))
        torch.set_rng_state(before)
        if len(shown) == after:
            how()
        return loss_of(module, real, alike)

    monkeypatch.setattr(learned, "loss_of", loss)
    return shown


def trained(folder: Path, *, resume: bool, until: int, monkeypatch: pytest.MonkeyPatch) -> list[Tensor]:
    """Runs the autoencoder's stage until it is stopped after some steps; what it was shown."""
    with (
        monkeypatch.context() as patch,
        progress.watching(folder, "autoencoder", geometry="full", resume=resume) as watch,
    ):
        shown = stopping(patch, until, lambda: setattr(watch, "stopped", True))
        learned.train(folder, minutes=1e4, seed=3, resume=resume, shape=TINY)
    return shown


# ---- geometries


def test_the_full_geometry_is_256_pixels_over_32_x_32_learned_latents_with_text_at_16_and_8() -> None:
    with torch.device("meta"):
        unet, tower, vae = (
            geometry.denoiser(shape=FULL), geometry.text_tower(shape=FULL), geometry.autoencoder(shape=FULL),
        )  # fmt: skip
        latents = vae.encode(torch.empty(1, 3, FULL.size, FULL.size)).latent_dist.mean
        made = unet(latents, torch.empty(1), torch.empty(1, geometry.TOKENS, geometry.TEXT_WIDTH)).sample
    assert latents.shape == made.shape == (1, 16, 32, 32)
    assert 15e6 < sum(value.numel() for value in unet.parameters()) < 28e6
    assert unet.config.down_block_types == ("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D")
    assert tower.config.num_hidden_layers == 6


def test_the_plain_names_are_those_of_the_small_geometry() -> None:
    assert (geometry.SIZE, geometry.LATENT_CHANNELS, geometry.LATENT_SIZE) == (128, 24, 8)
    with torch.device("meta"):
        unet = geometry.denoiser()
        assert unet.config.block_out_channels == (128, 192)
        assert unet.config.down_block_types == ("DownBlock2D", "CrossAttnDownBlock2D")
        assert geometry.text_tower().config.num_hidden_layers == 4
        assert geometry.autoencoder().config.latent_channels == 24


def test_the_full_noise_table_ends_four_times_noisier_because_its_latents_have_four_times_the_side() -> None:
    small, full = (float(geometry.scheduler(shape).sigmas.max()) for shape in (SMALL, FULL))
    assert full / small == pytest.approx(4, rel=0.02)


def test_an_unknown_geometry_is_named_with_those_there_are() -> None:
    with pytest.raises(BadInput, match=r'no geometry "huge".*small, full'):
        geometry.named("huge")


# ---- going on


def test_a_resumed_run_draws_what_an_uninterrupted_one_draws(work: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = trained(work, resume=False, until=6, monkeypatch=monkeypatch)
    kept = running.part(running.load(work / learned.FILE)[0], "module")
    (work / learned.FILE).unlink()
    first = trained(work, resume=False, until=2, monkeypatch=monkeypatch)
    then = trained(work, resume=True, until=4, monkeypatch=monkeypatch)
    again, facts = running.load(work / learned.FILE)
    assert len(first) == 2 and len(then) == 4 and facts["step"] == 6
    assert all(torch.equal(one, other) for one, other in zip(whole, first + then, strict=True))
    assert all(torch.allclose(value, again[f"module.{name}"], atol=1e-5) for name, value in kept.items())


class LastChannelFirst(torch.autograd.Function):
    """Changes nothing; its gradient lies in memory as those of float32 convolutions may."""

    @staticmethod
    def forward(_context: Any, weight: torch.Tensor) -> torch.Tensor:
        return weight.clone()

    @staticmethod
    def backward(_context: Any, *gradients: torch.Tensor) -> torch.Tensor:
        return gradients[0].to(memory_format=torch.channels_last)


def test_a_step_moves_every_weight_against_its_own_gradient() -> None:
    weight, towards = nn.Parameter(torch.zeros(4, 3, 5, 2)), torch.randn(4, 3, 5, 2)
    run = running.begin(nn.ParameterList([weight]), minutes=1, peak=1e-3, weight_decay=0)
    run.advance(lambda: -(LastChannelFirst.apply(weight) * towards).sum())
    assert torch.equal(torch.sign(weight), torch.sign(towards))


def test_a_checkpoint_from_before_random_states_were_kept_still_goes_on(tmp_path: Path) -> None:
    run = running.begin(nn.Linear(2, 1), minutes=1, peak=1e-2)
    run.advance(lambda: run.module(torch.ones(1, 2)).mean())
    run.save(tmp_path / "new.safetensors")
    tensors, facts = running.load(tmp_path / "new.safetensors")
    old = {name: value for name, value in tensors.items() if not name.startswith("random.")}
    running.save(tmp_path / "old.safetensors", old, {name: facts[name] for name in ("step", "seconds", "loss")})
    rng = Random(0)
    again = running.begin(nn.Linear(2, 1), minutes=1, peak=1e-2, rng=rng)
    again.resume(tmp_path / "old.safetensors")
    assert again.step == 1
    assert rng.random() == Random(1).random()


def test_pythons_random_numbers_go_on_where_they_were(tmp_path: Path) -> None:
    rng = Random(5)
    run = running.begin(nn.Linear(2, 1), minutes=1, peak=1e-2, rng=rng)
    rng.random()
    run.save(tmp_path / "some.safetensors")
    expected = [rng.random() for _ in range(3)]
    other = Random(99)
    running.begin(nn.Linear(2, 1), minutes=1, peak=1e-2, rng=other).resume(tmp_path / "some.safetensors")
    assert [other.random() for _ in range(3)] == expected


def test_a_stage_whose_time_is_up_trains_no_further_when_resumed(work: Path) -> None:
    learned.train(work, minutes=1e-6, seed=0, resume=False, shape=TINY)
    before = (work / learned.FILE).read_bytes()
    learned.train(work, minutes=1e-6, seed=0, resume=True, shape=TINY)
    assert (work / learned.FILE).read_bytes() == before


def test_the_learned_autoencoder_reports_the_scale_that_makes_its_latents_unit(work: Path) -> None:
    learned.train(work, minutes=1e-6, seed=0, resume=False, shape=TINY)
    coded = autoencoder.codec(work, TINY)
    pictures, records = data.load(work)
    latents = coded.latents(autoencoder.draw(pictures, records, Random(1), learned.PROBE)) * coded.scale
    assert latents.shape == (learned.PROBE, 4, 8, 8)
    assert float(latents.std()) == pytest.approx(1, abs=0.02)
    assert autoencoder.load(work, TINY).config.scaling_factor == pytest.approx(coded.scale)


def test_the_learned_autoencoder_learns(work: Path) -> None:
    torch.manual_seed(0)
    run = running.begin(geometry.autoencoder(shape=TINY), minutes=10, peak=1e-1)
    real = torch.rand(2, 3, 16, 16)
    losses = []
    for _ in range(12):
        run.advance(lambda: learned.loss_of(run.module, real))
        losses.append(float(learned.loss_of(run.module, real)))
    assert losses[-1] < 0.8 * losses[0]


# ---- ending well


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_saves_and_ends_and_the_stage_can_go_on(
    work: Path, tiny: None, number: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    handler = signal.getsignal(number)
    with monkeypatch.context() as patch:
        stopping(patch, 2, lambda: os.kill(os.getpid(), number))
        status = asked("autoencoder", "--geometry", "full", "--work", work, "--minutes", 100)
    assert status == 1
    assert "saved. Go on with --resume" in said(capsys)
    assert signal.getsignal(number) == handler
    facts = running.load(work / learned.FILE)[1]
    assert facts["step"] == 2
    assert facts["geometry"] == "full"
    assert asked("autoencoder", "--geometry", "full", "--work", work, "--minutes", "1e-6", "--resume") == 0


def test_a_loss_that_is_no_number_ends_the_run_and_leaves_the_weights() -> None:
    run = running.begin(nn.Linear(2, 1), minutes=1, peak=1e-2)
    before = [value.clone() for value in run.module.parameters()]
    with pytest.raises(Diverged, match="nan at step 0"):
        run.advance(lambda: run.module(torch.full((1, 2), torch.nan)).mean())
    assert all(torch.equal(one, other) for one, other in zip(before, run.module.parameters(), strict=True))


# ---- files that are wrong


def test_a_checkpoint_of_another_geometry_is_refused_before_anything_is_written(
    work: Path, tiny: None, capsys: pytest.CaptureFixture[str]
) -> None:
    assert asked("autoencoder", "--geometry", "full", "--work", work, "--minutes", "1e-6") == 0
    before = {path: path.read_bytes() for path in work.rglob("*") if path.is_file()}
    for resume in ("--resume", "--restart"):
        assert asked("autoencoder", "--geometry", "small", "--work", work, resume) == 2
        assert "another geometry" in said(capsys)
    assert {path: path.read_bytes() for path in work.rglob("*") if path.is_file()} == before


def test_a_checkpoint_with_other_shapes_is_refused_by_the_run_itself(tmp_path: Path) -> None:
    running.begin(nn.Linear(2, 1), minutes=1, peak=1e-2).save(tmp_path / "some.safetensors")
    run = running.begin(nn.Linear(3, 1), minutes=1, peak=1e-2)
    before = run.module.weight.clone()
    with pytest.raises(BadInput, match=r"weight is \(1, 2\) there and \(1, 3\) here"):
        run.resume(tmp_path / "some.safetensors")
    assert torch.equal(before, run.module.weight)


@pytest.mark.parametrize("keep", [0, 5, 200, -1])
def test_a_truncated_checkpoint_is_named_and_left_alone(
    work: Path, tiny: None, keep: int, capsys: pytest.CaptureFixture[str]
) -> None:
    learned.train(work, minutes=1e-6, seed=0, resume=False, shape=TINY)
    path = work / learned.FILE
    path.write_bytes(path.read_bytes()[:keep])
    before = path.read_bytes()
    assert asked("autoencoder", "--geometry", "full", "--work", work, "--resume") == 2
    assert f"{path} is damaged or cut short" in said(capsys)
    assert path.read_bytes() == before


def test_a_missing_checkpoint_is_a_missing_file_in_words(tmp_path: Path) -> None:
    with pytest.raises(MissingFile, match=r"is missing\. Run the stage that makes it") as raised:
        running.load(tmp_path / "towers.safetensors")
    assert isinstance(raised.value, FileNotFoundError)


def test_a_full_disk_leaves_the_old_checkpoint_and_no_draft(tmp_path: Path) -> None:
    resource = pytest.importorskip("resource")
    path = tmp_path / "some.safetensors"
    running.save(path, {"a": torch.zeros(10)}, {"step": 1})
    before, limits = path.read_bytes(), resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, limits[1]))
    try:
        with pytest.raises(CannotWrite, match=r"the disk is full\. The file of that name is as it was"):
            running.save(path, {"a": torch.zeros(100_000)}, {"step": 2})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_too_little_room_is_found_out_before_writing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.disk_usage", lambda _path: SimpleNamespace(free=1000))
    with pytest.raises(CannotWrite, match=r"the disk is full\. Nothing is left of it\. Make room"):
        running.save(tmp_path / "some.safetensors", {"a": torch.zeros(10)}, {})
    assert not list(tmp_path.iterdir())


# ---- what can be seen


def test_the_log_and_the_plot_survive_a_resume_and_forget_what_came_after_the_checkpoint(
    work: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(progress, "EVERY", 0)
    trained(work, resume=False, until=3, monkeypatch=monkeypatch)
    table = work / "plots" / "autoencoder.csv"
    with table.open("a", encoding="utf-8") as file:
        file.write("0,9,1.0,5.0,5.0,0.1\n0,4,cut")
    trained(work, resume=True, until=2, monkeypatch=monkeypatch)
    rows = progress.read(table)
    assert [row.step for row in rows] == [1, 2, 3, 4, 5]
    assert all(row.loss > 0 and row.rate > 0 for row in rows)
    picture = (work / "plots" / "autoencoder.png").read_bytes()
    assert picture.startswith(b"\x89PNG")
    trained(work, resume=False, until=1, monkeypatch=monkeypatch)
    assert [row.step for row in progress.read(table)] == [1], "a fresh run begins a fresh log"


def test_the_plot_shows_a_line_for_every_run() -> None:
    rows = [
        progress.Row(run, step, step, 1 / step + run, 1 / step + run, 1e-3) for run in (0, 1) for step in range(1, 50)
    ]
    drawn = progress.plot(rows, "some stage")
    seen = {colour for _, colour in drawn.getcolors(1 << 20)}
    for colour in progress.COLOURS[:2]:
        assert tuple(bytes.fromhex(colour[1:])) in seen
    assert progress.plot([], "nothing yet").size == drawn.size


def test_a_plot_that_cannot_be_written_does_not_end_the_training(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "plots").write_text("in the way", encoding="utf-8")
    with progress.watching(tmp_path, "towers") as watch:
        watch.log().tell(1, 0.1, 0.5, 1.0, 1.0, 1e-3)
    assert "no log and no plot this time" in capsys.readouterr().err


# ---- the command line


def test_a_fresh_run_does_not_write_over_a_checkpoint_unless_told(
    work: Path, tiny: None, capsys: pytest.CaptureFixture[str]
) -> None:
    order = ("autoencoder", "--geometry", "full", "--work", work, "--minutes", "1e-6")
    assert asked(*order) == 0
    assert asked(*order) == 2
    assert "is there already. Go on with --resume, or give --restart" in said(capsys)
    assert asked(*order, "--restart") == 0


def test_missing_pictures_are_said_with_the_command_that_makes_them(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert asked("decoder", "--work", tmp_path) == 2
    assert f"is missing. Run: python -m training data --work {tmp_path}" in said(capsys)
    assert asked("encoder", "--geometry", "full", "--work", tmp_path) == 2
    assert "has no parts" in said(capsys)


def test_pictures_of_another_size_are_refused(work: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert asked("autoencoder", "--work", work) == 2
    assert "pictures.npy (16 pixels)" in said(capsys)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_gpu_that_is_not_there_is_no_input(work: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert asked("autoencoder", "--geometry", "full", "--work", work, "--device", "cuda") == 2
    assert "no GPU that this build of torch can use" in said(capsys)


@pytest.mark.parametrize(
    "arguments",
    [["paint"], ["data", "--minutes", "0"], ["data", "--minutes", "nan"], ["towers", "--resume", "--restart"]],
)
def test_a_command_line_that_cannot_be_read_ends_with_status_2(arguments: Sequence[str]) -> None:
    with pytest.raises(SystemExit) as raised:
        command.parse(arguments)
    assert raised.value.code == 2


def test_the_full_geometry_has_a_work_folder_of_its_own() -> None:
    assert command.parse(["towers"]).work == Path("training/work")
    assert command.parse(["towers", "--geometry", "full"]).work == Path("training/work/full")


def test_the_parts_of_the_autoencoder_still_answer_to_their_names(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    ran: list[tuple[str, float]] = []
    monkeypatch.setattr(autoencoder, "train", lambda work, part, *, minutes, **rest: ran.append((part, minutes)))
    assert asked("decoder", "--work", tmp_path, "--minutes", 8) == 0
    assert asked("autoencoder", "--part", "encoder", "--work", tmp_path, "--minutes", 8) == 0
    assert asked("autoencoder", "--work", tmp_path, "--minutes", 8) == 0
    assert ran == [("decoder", 8), ("encoder", 8), ("decoder", 6), ("encoder", 2)]


def test_a_stage_that_this_checkout_lacks_is_said_to_be_absent() -> None:
    with pytest.raises(BadInput, match=r'no stage "poetry" in this checkout: training/verses\.py has no train'):
        stages.function_of(stages.Stage("poetry", "verses", "train", ""))


def test_a_stage_gets_the_options_it_has_parameters_for() -> None:
    def train(work: Path, *, minutes: float, out: Path | None = None) -> None: ...

    known = {"work": Path("w"), "minutes": 3.0, "seed": 1, "out": None}
    stage = stages.Stage("some", "some", "train", "")
    assert stages.arguments_for(stage, train, known, geometry="small", device="auto") == {
        "work": Path("w"),
        "minutes": 3.0,
    }
    with pytest.raises(BadInput, match='does not know the geometry "full" yet'):
        stages.arguments_for(stage, train, known, geometry="full", device="auto")
    with pytest.raises(BadInput, match="runs on a CPU only so far"):
        stages.arguments_for(stage, train, known, geometry="small", device="cuda")


def test_the_whole_recipe_runs_in_order_shares_out_its_hours_and_names_what_is_absent(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ran: list[tuple[str, float]] = []

    def function_of(stage: stages.Stage) -> Callable[..., None]:
        if stage.name == "styles":
            raise NotHere("absent")

        def work_on(work: Path, minutes: float, shape: object) -> None:
            ran.append((stage.name, minutes))

        return work_on

    monkeypatch.setattr(stages, "function_of", function_of)
    assert asked("all", "--hours", 10, "--work", tmp_path) == 0
    assert [name for name, _ in ran] == [name for name in stages.NAMES if name != "styles"]
    assert sum(minutes for name, minutes in ran) == pytest.approx(600 * 0.96, abs=0.1)
    assert "all: left out: absent" in capsys.readouterr().err
    assert sum(stage.share for stage in stages.STAGES) == pytest.approx(1)


def test_the_whole_recipe_leaves_out_what_does_not_know_the_geometry(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ran: list[str] = []

    def function_of(stage: stages.Stage) -> Callable[..., None]:
        def knows(shape: geometry.Geometry) -> None:
            assert shape == FULL
            ran.append(stage.name)

        return knows if stage.name == "towers" else lambda: ran.append(stage.name)

    monkeypatch.setattr(stages, "function_of", function_of)
    assert asked("all", "--geometry", "full", "--work", tmp_path) == 0
    assert ran == ["data", "towers", "styles", "upscaler", "judge", "sheet"]
    assert 'all: left out: The stage "denoiser" does not know the geometry "full" yet' in capsys.readouterr().err


def test_what_nobody_foresaw_is_one_line_too(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken(work: Path) -> None:
        raise ZeroDivisionError("a\nb")

    monkeypatch.setattr(stages, "function_of", lambda stage: broken)
    assert asked("towers", "--work", tmp_path) == 1
    assert "towers: ZeroDivisionError: a b (" in said(capsys)


def test_control_and_upscaler_make_their_pictures_before_they_train(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    done: list[tuple[object, ...]] = []

    def note(name: str) -> Callable[..., None]:
        return lambda *given, **options: done.append((name, *given[2:3], options.get("minutes")))

    monkeypatch.setattr(prepared.control_pictures, "prepare", note("pictures"))
    monkeypatch.setattr(prepared.control, "train", note("control"))
    monkeypatch.setattr(prepared.upscaler_pictures, "prepare", note("scenes"))
    monkeypatch.setattr(prepared.upscaler, "train", note("upscaler"))
    assert asked("control", "--work", tmp_path, "--minutes", 8) == 0
    assert asked("upscaler", "--work", tmp_path, "--minutes", 8) == 0
    kinds = [("control", kind, 8 / len(KINDS)) for kind in KINDS.values()]
    assert done[:2] == [("pictures", "art", None), ("pictures", "own", None)]
    assert done[2:-2] == kinds
    assert [name for name, *_ in done[-2:]] == ["scenes", "upscaler"]
    assert done[-1][-1] == 8
