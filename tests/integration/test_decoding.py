"""Latents to pixels whole and in tiles, and models streamed layer by layer."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from backend.engine.decoding import OVERLAP, decode
from backend.engine.offload import stream_layers
from backend.models.loader import LoadedModel, load
from backend.types import ModelInfo
from tests.support import tiny

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.save_folder(tiny.pipeline("sdxl"), tmp_path_factory.mktemp("xl") / "base")


@pytest.fixture
def model(folder: Path) -> LoadedModel:
    return load(ModelInfo("base", "base", "sdxl", str(folder), "diffusers", 2, 32, 1), CPU, torch.float32)


def smooth_latent() -> torch.Tensor:
    coarse = torch.randn(1, 4, 4, 5, generator=torch.Generator().manual_seed(3))
    return torch.nn.functional.interpolate(coarse, size=(48, 64), mode="bicubic") * 0.13


def test_a_picture_decoded_in_slices_is_the_same(model: LoadedModel):
    latent = smooth_latent()
    assert np.array_equal(decode(model, latent), decode(model, latent, measure="sliced"))


def test_a_tiled_picture_is_the_one_diffusers_blends_from_tiles_of_16_latents(model: LoadedModel):
    latent = smooth_latent()
    tiled = decode(model, latent, measure="tiled")
    vae = tiny.pipeline("sdxl").vae
    vae.enable_tiling()
    vae.tile_latent_min_size, vae.tile_sample_min_size, vae.tile_overlap_factor = 16, 32, OVERLAP
    with torch.no_grad():
        image = vae.decode(latent / 0.13025).sample
    assert np.array_equal(tiled, ((image[0] / 2 + 0.5).clamp(0, 1) * 255).round().permute(1, 2, 0))
    assert tiled.shape == (96, 128, 3)
    assert not np.array_equal(tiled, decode(model, latent))
    small = latent[:, :, :16, :16]
    assert np.array_equal(decode(model, small, measure="tiled"), decode(model, small))


def test_a_picture_after_a_tiled_one_is_decoded_plainly_again(model: LoadedModel):
    latent = smooth_latent()
    before = decode(model, latent)
    decode(model, latent, measure="tiled")
    assert np.array_equal(decode(model, latent), before)
    assert not model.vae.use_tiling


def test_pixels_are_those_of_diffusers_own_decoding(model: LoadedModel, folder: Path):
    latent = smooth_latent()
    vae = tiny.pipeline("sdxl").vae
    with torch.no_grad():
        image = vae.decode(latent / 0.13025).sample
    assert np.array_equal(decode(model, latent), ((image[0] / 2 + 0.5).clamp(0, 1) * 255).round().permute(1, 2, 0))


def test_a_model_streamed_layer_by_layer_predicts_the_same_bits(model: LoadedModel):
    x, text = torch.randn(1, 4, 16, 16), torch.randn(1, 77, 96)
    added = {"text_embeds": torch.randn(1, 64), "time_ids": torch.ones(1, 6)}
    words = torch.tensor([model.tokenizer("a cat", padding="max_length").input_ids])

    def run() -> tuple[torch.Tensor, ...]:
        with torch.inference_mode():
            noise = model.unet(x, torch.tensor([9]), encoder_hidden_states=text, added_cond_kwargs=added).sample
            return noise, model.text_encoder(words)[0], torch.from_numpy(decode(model, x))

    before = run()
    stream_layers(model)
    assert all(torch.equal(one, two) for one, two in zip(before, run(), strict=True))
