"""The recipe of the geometry `full`, every stage of it, on pictures of 32 pixels."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import StableDiffusionPipeline
from torch.nn import functional

from training import __main__ as command
from training import data, denoiser, export, geometry, learned, running, towers
from training.data import Record
from training.geometry import FULL
from training.meanings import WIDTH, Meanings, names

pytestmark = pytest.mark.filterwarnings("ignore")
TINY = replace(
    FULL,
    size=32,
    factor=4,
    latent_channels=4,
    autoencoder_channels=(8, 8, 8),
    denoiser_channels=(32, 32),
    text_layers=2,
)


@pytest.fixture
def small_amounts(monkeypatch: pytest.MonkeyPatch) -> None:
    """`--geometry full` means TINY, batches are small, and nothing is fetched."""
    monkeypatch.setattr(geometry, "named", lambda _name: TINY)
    for module, amounts in (
        (learned, {"PROBE": 4}), (towers, {"BATCH": 4, "FULL_BATCH": 2}),
        (denoiser, {"BATCH": 4, "PAIRS": 2, "SCENES": 1}),
    ):  # fmt: skip
        for name, value in amounts.items():
            monkeypatch.setattr(module, name, value)

    def read(_work: Path, records: list[Record]) -> Meanings:
        signs, words = list(names(records)), ["apple", "pear"]
        unit = [functional.normalize(torch.randn(len(texts), WIDTH), dim=-1) for texts in (signs, words)]
        return Meanings(signs, unit[0], words, unit[1])

    monkeypatch.setattr(Meanings, "read", read)


def test_autoencoder_towers_denoiser_and_export_of_the_full_geometry_fit_each_other(
    small_amounts: None, tmp_path: Path
) -> None:
    work, out = tmp_path / "work", tmp_path / "model"
    work.mkdir()
    np.save(work / "pictures.npy", np.random.default_rng(0).integers(0, 255, (4, 32, 32, 4), dtype=np.uint8))
    labels = ("red apple", "cat", "house", "wrench")
    data.save_records([Record(label, label, label, ("thing",), "3d", 4, 0, 0, True, 1.0) for label in labels], work)
    for stage in ("autoencoder", "towers", "denoiser"):
        order = [stage, "--geometry", "full", "--work", str(work), "--minutes", "1e-6", "--threads", "1"]
        assert command.main(order) == 0
        facts = running.load(work / f"{stage}.safetensors")[1]
        assert (facts["geometry"], facts["step"]) == ("full", 1)
        assert command.main([*order, "--resume"]) == 0
        assert running.load(work / f"{stage}.safetensors")[1] == facts, "its time is up"
    assert command.main(["export", "--geometry", "full", "--work", str(work), "--out", str(out)]) == 0
    pipeline = StableDiffusionPipeline.from_pretrained(out, local_files_only=True)
    pipeline.set_progress_bar_config(disable=True)
    assert pipeline.vae.config.scaling_factor == pytest.approx(running.load(work / learned.FILE)[1]["scale"])
    assert pipeline.text_encoder.config.num_hidden_layers == 2
    assert pipeline("a red apple", height=32, width=32, num_inference_steps=2).images[0].size == (32, 32)
    assert export.assemble(work, TINY).unet.config.sample_size == TINY.latent_size
