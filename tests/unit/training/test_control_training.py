"""The edge control of the starter model: what it starts from, what it learns on, and how it is judged."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from random import Random

import numpy as np
import pytest
import torch
from diffusers import UNet2DConditionModel

from backend.engine.control_loader import check_fit, load_control
from backend.types import Pixels
from tests.support import control as support
from training import control, control_pictures, denoiser, geometry, running


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
        latents, states, hints = pictures().draw(4, torch.zeros(77, 256))
        run.advance(partial(denoiser.loss_of, control.Guided(unet, net, hints), latents, states, signal))
    assert run.step == 2 and np.isfinite(run.loss)
    assert net.controlnet_mid_block.weight.abs().sum() > 0
    assert not torch.equal(net.conv_in.weight, unet.conv_in.weight)
    assert all(torch.equal(value, before[name]) for name, value in unet.state_dict().items())


def test_hints_are_the_studios_own_canny_and_some_pictures_have_no_words() -> None:
    torch.manual_seed(0)
    nothing = torch.full((77, 256), 7.0)
    latents, states, hints = pictures().draw(64, nothing)
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
    hint = control_pictures.edges(square(40))
    near, far = control.agreement(square(42), hint), control.agreement(square(60), hint)
    assert control.agreement(square(40), hint) == 1.0
    assert near > 0.9
    assert far < 0.7
    blank = np.full((128, 128, 3), 255, np.uint8)
    assert control.agreement(blank, hint) == 0.0
    assert control.agreement(blank, control_pictures.edges(blank)) == 1.0


def test_parts_are_read_held_out_or_not(tmp_path: Path) -> None:
    for number in range(3):
        one = pictures(4)
        tensors = {"latents": one.latents + number, "states": one.states, "pictures": one.pictures}
        running.save(tmp_path / "control" / f"own-{number:04d}.safetensors", tensors, {})
    assert torch.equal(control_pictures.Pictures.read(tmp_path, held=True).latents, pictures(4).latents)
    assert len(control_pictures.Pictures.read(tmp_path, held=False).latents) == 8
    with pytest.raises(SystemExit, match="no pictures yet"):
        control_pictures.Pictures.read(tmp_path / "nowhere", held=False)


def test_the_card_says_what_was_measured(tmp_path: Path) -> None:
    (tmp_path / "control").mkdir()
    (tmp_path / "control" / "scores.json").write_text('{"with": 0.714, "without": 0.3, "pictures": 32}')
    assert "On 32 held-out pictures" in control.card(tmp_path) and "F1 = 0.71" in control.card(tmp_path)


def test_what_is_exported_is_what_the_engine_loads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    real = geometry.denoiser()
    monkeypatch.setattr(control, "trained", lambda model, work: control.build(real).eval())
    assert control.export(tmp_path, tmp_path, tmp_path / "edges") < control.LIMIT
    assert "Not measured." in (tmp_path / "edges" / "README.md").read_text()
    loaded = load_control(support.info(tmp_path / "edges", "controlnet"), torch.device("cpu"), torch.float32)
    check_fit(loaded, real, 16)
    assert torch.allclose(loaded.net.conv_in.weight, real.conv_in.weight, atol=1e-3)
