"""What a training step is asked to do."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from diffusers import DDPMScheduler
from hypothesis import given
from hypothesis import strategies as st

from backend.engine.lora_objective import chosen, dice_of, rate_share, snr_weights, target
from backend.engine.lora_settings import TrainingSettings


@given(st.integers(1, 12), st.integers(1, 7), st.integers(0, 5))
def test_every_picture_comes_once_before_any_comes_again(count: int, batch: int, seed: int):
    settings = TrainingSettings(batch=batch, seed=seed)
    drawn = [number for step in range(count * 2) for number in chosen(count, settings, step)]
    for epoch in range(len(drawn) // count):
        assert sorted(drawn[epoch * count : (epoch + 1) * count]) == list(range(count))


def test_every_step_has_dice_of_its_own_that_do_not_change():
    first, again, next_, other = (torch.rand(3, generator=dice_of(*at)) for at in ((1, 5), (1, 5), (1, 6), (2, 5)))
    assert torch.equal(first, again)
    assert not torch.equal(first, next_)
    assert not torch.equal(first, other)


def test_the_learning_rate_rises_and_falls():
    plain = TrainingSettings(steps=10, warmup=4)
    assert [rate_share(plain, step) for step in range(6)] == pytest.approx([0.2, 0.4, 0.6, 0.8, 1.0, 1.0])
    falling = replace(plain, schedule="cosine")
    assert rate_share(falling, 4) == pytest.approx(1.0)
    assert rate_share(falling, 7) == pytest.approx(0.5)
    assert rate_share(falling, 10) == pytest.approx(0.0)


def test_a_perfect_answer_gives_the_picture_back():
    """From the target of each kind the clean latent follows by the formula of that kind."""
    dice = torch.Generator().manual_seed(0)
    clean, noise = torch.randn(3, 4, 2, 2, generator=dice), torch.randn(3, 4, 2, 2, generator=dice)
    times = torch.tensor([1, 400, 998])
    for kind in ("epsilon", "v_prediction", "sample"):
        noising = DDPMScheduler(prediction_type=kind, clip_sample=False)
        kept = noising.alphas_cumprod[times].reshape(-1, 1, 1, 1)
        noisy, answer = noising.add_noise(clean, noise, times), target(noising, clean, noise, times)
        back = {
            "epsilon": (noisy - (1 - kept).sqrt() * answer) / kept.sqrt(),
            "v_prediction": kept.sqrt() * noisy - (1 - kept).sqrt() * answer,
            "sample": answer,
        }[kind]
        assert torch.allclose(back, clean, atol=1e-4)


@pytest.mark.parametrize("kind", ["epsilon", "v_prediction", "sample"])
def test_min_snr_is_the_same_weight_for_the_picture_whatever_is_predicted(kind: str):
    noising = DDPMScheduler(prediction_type=kind)
    times = torch.arange(0, 1000, 50)
    assert torch.equal(snr_weights(noising, times, None), torch.ones(20))
    weights = snr_weights(noising, times, 5.0)
    snr = noising.alphas_cumprod[times] / (1 - noising.alphas_cumprod[times])
    in_picture = weights * {"epsilon": snr, "v_prediction": snr + 1, "sample": torch.ones(20)}[kind]
    assert torch.allclose(in_picture, snr.clamp(max=5.0), rtol=1e-4), "as an error of the picture: min(SNR, gamma)"
