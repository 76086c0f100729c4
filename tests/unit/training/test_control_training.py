"""The controls of the starter model: what they start from, what they learn on, and how they are judged."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from random import Random
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from diffusers import UNet2DConditionModel

from backend.engine.control_loader import check_fit, load_control
from backend.preprocessors import canonical
from backend.types import Pixels
from tests.support import control as support
from training import control, control_hints, control_pictures, denoiser, geometry, running, sheet
from training.control_hints import KINDS


@pytest.fixture(scope="module")
def unet() -> UNet2DConditionModel:
    torch.manual_seed(0)
    return geometry.denoiser(channels=(32, 64)).requires_grad_(False)


def pictures(count: int = 8) -> control_pictures.Pictures:
    dice = torch.Generator().manual_seed(1)
    return control_pictures.Pictures(
        latents=torch.randn(count, 24, 8, 8, generator=dice).half(),
        states=torch.randn(count, 77, 256, generator=dice).half(),
        pictures=torch.randint(0, 256, (count, 128, 128, 3), generator=dice, dtype=torch.uint8),
    )


def square(left: int) -> Pixels:
    picture = np.full((128, 128, 3), 255, np.uint8)
    picture[40:90, left : left + 50] = 0
    return picture


def test_a_fresh_control_has_the_denoisers_weights_and_changes_nothing(unet: UNet2DConditionModel) -> None:
    net = control.build(unet)
    assert torch.equal(net.conv_in.weight, unet.conv_in.weight)
    assert torch.equal(net.mid_block.resnets[0].conv1.weight, unet.mid_block.resnets[0].conv1.weight)
    noisy, steps, states = torch.randn(2, 24, 8, 8), torch.tensor([3, 900]), torch.randn(2, 77, 256)
    with torch.no_grad():
        guided = control.Guided(unet, net, torch.rand(2, 3, 128, 128))(noisy, steps, states).sample
        assert torch.equal(guided, unet(noisy, steps, states).sample)


def test_the_real_one_fits_the_budget_and_the_starter() -> None:
    real = geometry.denoiser()
    net = control.build(real)
    assert 2 * sum(value.numel() for value in net.state_dict().values()) < control.LIMIT


def test_training_changes_the_control_and_leaves_the_denoiser(unet: UNet2DConditionModel) -> None:
    torch.manual_seed(0)
    before = {name: value.clone() for name, value in unet.state_dict().items()}
    net = control.build(unet)
    run = running.begin(net, minutes=1, peak=1e-2)
    signal = geometry.scheduler().alphas_cumprod.float()
    for _ in range(2):  # the first step moves the last layers alone: all others stand behind zeros
        latents, states, hints = pictures().draw(4, torch.zeros(77, 256), control_hints.some_edges)
        run.advance(partial(denoiser.loss_of, control.Guided(unet, net, hints), latents, states, signal))
    assert run.step == 2 and np.isfinite(run.loss)
    assert net.controlnet_mid_block.weight.abs().sum() > 0
    assert not torch.equal(net.conv_in.weight, unet.conv_in.weight)
    assert all(torch.equal(value, before[name]) for name, value in unet.state_dict().items())


def test_hints_are_the_studios_own_canny_and_some_pictures_have_no_words() -> None:
    torch.manual_seed(0)
    nothing = torch.full((77, 256), 7.0)
    latents, states, hints = pictures().draw(64, nothing, KINDS["edges"].some_hint)
    assert latents.shape == (64, 24, 8, 8) and hints.shape == (64, 3, 128, 128)
    assert set(hints.unique().tolist()) == {0.0, 1.0}
    silent = (states == 7).all(dim=(1, 2)).sum().item()
    assert 8 <= silent <= 32


def test_held_out_concepts_are_in_no_other_part() -> None:
    def concepts(part: int) -> set[str]:
        said = control_pictures.prompts(part, Random(part))
        assert len(said) == control_pictures.PART
        return {text.split(" on ")[0].split(", ")[0] for text in said}

    assert not concepts(0) & set().union(*(concepts(part) for part in range(1, 12)))
    assert control_pictures.prompts(3, Random(3)) == control_pictures.prompts(3, Random(3))


def test_agreement_is_one_for_the_same_edges_and_falls_with_distance() -> None:
    hint = control_hints.edges(square(40))
    near, far = (control.agreement(control_hints.edges(square(left)), hint) for left in (42, 60))
    assert control.agreement(hint, hint) == 1.0
    assert near > 0.9
    assert far < 0.7
    blank = np.full((128, 128, 3), 255, np.uint8)
    assert control.agreement(control_hints.edges(blank), hint) == 0.0
    assert control.agreement(control_hints.edges(blank), control_hints.edges(blank)) == 1.0


def test_parts_are_read_held_out_or_not(tmp_path: Path) -> None:
    for number in range(3):
        one = pictures(4)
        tensors = {"latents": one.latents + number, "states": one.states, "pictures": one.pictures}
        running.save(tmp_path / f"own-{number:04d}.safetensors", tensors, {})
    running.save(tmp_path / "scribble.safetensors", {"average.x": torch.zeros(1)}, {})  # a net is no part
    assert torch.equal(control_pictures.Pictures.read(tmp_path, held=True).latents, pictures(4).latents)
    assert len(control_pictures.Pictures.read(tmp_path, held=False).latents) == 8
    with pytest.raises(SystemExit, match="no pictures of this model yet"):
        control_pictures.Pictures.read(tmp_path / "nowhere", held=False)


def test_the_card_says_what_was_measured(tmp_path: Path) -> None:
    (tmp_path / "scribble.json").write_text('{"with": 0.714, "without": 0.3, "pictures": 32}')
    card = control.card(tmp_path, KINDS["scribble"])
    assert "# Starter scribble" in card and "On 32 held-out pictures" in card and "F1 = 0.71" in card
    assert "Not measured." in control.card(tmp_path, KINDS["edges"])


@pytest.mark.parametrize(("kind", "preprocessor"), [("edges", "canny"), ("scribble", "scribble")])
def test_what_is_exported_is_what_the_engine_loads(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, preprocessor: str
) -> None:
    torch.manual_seed(0)
    real = geometry.denoiser()
    monkeypatch.setattr(control, "trained", lambda model, work, kind: control.build(real).eval())
    folder = tmp_path / f"starter-{kind}"
    assert control.export(tmp_path, tmp_path, KINDS[kind], folder) < control.LIMIT
    assert "Not measured." in (folder / "README.md").read_text()
    about = json.loads((folder / "signet.json").read_text())
    assert (about["title"], about["preprocessor"]) == (f"Starter {kind}", preprocessor)
    assert canonical(about["preprocessor"]) == preprocessor
    loaded = load_control(support.info(folder, "controlnet"), torch.device("cpu"), torch.float32)
    check_fit(loaded, real, 16)
    assert torch.allclose(loaded.net.conv_in.weight, real.conv_in.weight, atol=1e-3)


# ---- scribbles


def test_strokes_lie_where_the_edges_are_and_are_broader() -> None:
    thin, broad = control_hints.edges(square(40))[..., 0] > 0, control_hints.strokes(square(40))[..., 0] > 0
    assert (broad & thin).sum() > 0.95 * thin.sum()
    assert 2 * thin.sum() < broad.sum() < 8 * thin.sum()
    assert not broad[60:70, 60:70].any() and not broad[:20].any()


def test_a_trembling_hand_misses_by_no_more_than_it_may() -> None:
    torch.manual_seed(0)
    hint = control_hints.strokes(square(40))
    bent = control_hints.wobbled(hint, control_hints.WOBBLE)
    assert not np.array_equal(bent, hint)
    assert control.agreement(np.where(bent > 127, 255, 0).astype(np.uint8), hint) > 0.95
    assert np.array_equal(control_hints.wobbled(hint, 0.0), hint)


def test_scribbles_to_learn_from_differ_from_draw_to_draw_and_are_grey_hints_of_the_pictures_size() -> None:
    torch.manual_seed(0)
    drawn = [control_hints.some_scribble(square(40)) for _ in range(12)]
    assert {hint.shape for hint in drawn} == {(128, 128, 3)} and {hint.dtype.name for hint in drawn} == {"uint8"}
    assert len({hint.tobytes() for hint in drawn}) == 12
    assert all((hint == hint[..., :1]).all() for hint in drawn)
    assert sum(int(hint.max()) == 255 for hint in drawn) >= 6


# ---- starting from an older control, and belonging to one model


def test_a_control_starts_from_a_checkpoint_or_from_an_exported_file(
    unet: UNet2DConditionModel, tmp_path: Path
) -> None:
    torch.manual_seed(0)
    old = control.build(unet)
    with torch.no_grad():
        old.controlnet_mid_block.weight.fill_(0.5)
    run = running.begin(old, minutes=1, peak=1e-3)
    run.save(tmp_path / "edges.safetensors")
    old.half().save_pretrained(tmp_path / "exported", safe_serialization=True)
    for file in (tmp_path / "edges.safetensors", tmp_path / "exported" / "diffusion_pytorch_model.safetensors"):
        net = control.build(unet)
        control.begin(net, file)
        assert net.dtype == torch.float32
        assert all(torch.allclose(one, other.float(), atol=1e-3) for one, other in zip(
            net.state_dict().values(), old.state_dict().values(), strict=True
        ))  # fmt: skip


def test_a_start_that_does_not_fit_or_is_not_there_changes_nothing(unet: UNet2DConditionModel, tmp_path: Path) -> None:
    net = control.build(unet)
    before = {name: value.clone() for name, value in net.state_dict().items()}
    other = control.build(geometry.denoiser(channels=(32, 96)))
    other.save_pretrained(tmp_path, safe_serialization=True)
    with pytest.raises(SystemExit, match="another geometry"):
        control.begin(net, tmp_path / "diffusion_pytorch_model.safetensors")
    with pytest.raises(SystemExit, match="no file"):
        control.begin(net, tmp_path / "nothing.safetensors")
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())


def test_another_denoiser_has_another_place_so_that_nothing_stale_is_used(tmp_path: Path) -> None:
    model = tmp_path / "model" / "unet"
    for value in (0, 1):
        running.save(model / "weights.safetensors", {"x": torch.full((1,), float(value))}, {})
        (control_pictures.place(tmp_path / "model", tmp_path)).mkdir(parents=True)
    places = sorted((tmp_path / "control").iterdir())
    assert len(places) == 2
    assert control_pictures.place(tmp_path / "model", tmp_path) in places


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_a_stage_of_each_kind_trains_saves_and_resumes(
    unet: UNet2DConditionModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    monkeypatch.setattr(sheet, "load", lambda folder: SimpleNamespace(unet=unet))
    monkeypatch.setattr(control, "words", lambda pipeline, said: torch.zeros(len(said), 77, 256))
    monkeypatch.setattr(control, "BATCH", 2)
    folder = control_pictures.place(tmp_path / "model", tmp_path)
    for number in range(2):
        one = pictures(4)
        tensors = {"latents": one.latents, "states": one.states, "pictures": one.pictures}
        running.save(folder / f"own-{number:04d}.safetensors", tensors, {})
    timing = {"seed": 0, "shards": 1}
    control.train(tmp_path / "model", tmp_path, KINDS[kind], minutes=0.0, resume=False, **timing)
    control.train(tmp_path / "model", tmp_path, KINDS[kind], minutes=0.0, resume=True, **timing)
    assert running.load(folder / f"{kind}.safetensors")[1]["step"] == 2
    with torch.no_grad():
        fresh = control.trained(tmp_path / "model", tmp_path, KINDS[kind])
    assert fresh.controlnet_mid_block.weight.abs().sum() > 0
