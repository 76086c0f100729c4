"""LoRAs on a model with two text encoders: names, training, and what the file says."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from backend.engine.lora import Assignment, RowAdditions, bind, read_adapter
from backend.engine.lora_dataset import TrainingImage
from backend.engine.lora_training import Trainer, TrainingSettings
from backend.errors import InvalidParameter
from backend.models.catalog import Catalog
from backend.models.loader import LoadedModel, load
from benchmarks._original import unet_name
from tests.support import tiny
from tests.support.lora import ATTENTION, TEXT, kohya, merged, product, random_lora, save


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> LoadedModel:
    folder = tmp_path_factory.mktemp("checkpoints")
    tiny.save_folder(tiny.pipeline("sdxl", seed=4), folder / "xl")
    return load(Catalog((), (folder,)).find("xl"), torch.device("cpu"), torch.float32)


def _denoised(model: LoadedModel, unet: torch.nn.Module) -> Tensor:
    dice = torch.Generator().manual_seed(2)
    width = model.unet.config.cross_attention_dim
    pooled = model.text_encoders[1].config.projection_dim
    added = {
        "text_embeds": torch.randn(2, pooled, generator=dice),
        "time_ids": torch.tensor([[32.0, 32, 0, 0, 32, 32]] * 2),
    }
    x, text = torch.randn(2, 4, 8, 8, generator=dice), torch.randn(2, 7, width, generator=dice)
    with torch.inference_mode():
        times = torch.tensor([700.0, 20.0])
        out: Tensor = unet(x, times, encoder_hidden_states=text, added_cond_kwargs=added, return_dict=False)[0]
    return out


def test_a_file_of_sdxls_trainers_reaches_the_unet_and_both_text_encoders(model: LoadedModel, tmp_path: Path):
    unet = random_lora(model.unet, ATTENTION)
    renamed = {unet_name(f"{path}.weight", model.unet.config).removesuffix(".weight"): unet[path] for path in unet}
    texts = [random_lora(encoder, TEXT, seed=n) for n, encoder in enumerate(model.text_encoders)]
    tensors = kohya(renamed, alpha=4.0)
    for number, lora in enumerate(texts, 1):
        short = {path.removeprefix("text_model."): pair for path, pair in lora.items()}
        tensors |= kohya(short, f"lora_te{number}_text_model", alpha=4.0)
    bound = bind(read_adapter(save(tmp_path / "xl.safetensors", tensors), "xl"), model)
    assert not bound.unused
    assert [len(sites) for _, sites in bound.parts] == [len(unet), *(len(lora) for lora in texts)]
    additions = RowAdditions()
    with additions.applied(model.unet, [Assignment(slice(0, 2), ((bound, 1.0, ()),))]):
        made = _denoised(model, model.unet)
    wanted = _denoised(model, merged(model.unet, {path: product(*pair) for path, pair in unet.items()}))
    assert (made - wanted).abs().max() < 5e-5
    ids = torch.tensor([list(range(77))])
    for encoder, lora in zip(model.text_encoders, texts, strict=True):
        other = merged(encoder, {path: product(*pair) for path, pair in lora.items()})
        with additions.applied(encoder, [Assignment(slice(None), ((bound, 1.0, ()),))]), torch.inference_mode():
            said = encoder(ids).last_hidden_state
            assert (said - other(ids).last_hidden_state).abs().max() < 5e-5
    additions.forget()


def test_an_sd1_lora_is_refused(model: LoadedModel, tmp_path: Path):
    narrow = tiny.pipeline("sd1").unet
    adapter = read_adapter(save(tmp_path / "sd1.safetensors", kohya(random_lora(narrow))), "old")
    with pytest.raises(InvalidParameter, match="old"):
        bind(adapter, model)


def test_sdxl_can_be_trained_with_both_text_encoders(model: LoadedModel, tmp_path: Path):
    pixels = np.full((32, 32, 3), 90, np.uint8)
    settings = TrainingSettings(rank=2, steps=12, learning_rate=2e-3, resolution=32, seed=1, train_text_encoder=True)
    trainer = Trainer(model, [TrainingImage(pixels, "a red cat")], settings, tmp_path)
    reports = [trainer.step() for _ in range(12)]
    file = trainer.save(tmp_path / "xl.safetensors")
    trainer.close()
    assert all(np.isfinite(report.loss) for report in reports)
    adapter = read_adapter(file, "xl")
    assert adapter.metadata["ss_base_model_version"] == "sdxl_base_v1-0"
    assert adapter.metadata["modelspec.architecture"] == "stable-diffusion-xl-v1-base/lora"
    assert {layer[:9] for layer in adapter.layers} == {"lora_unet", "lora_te1_", "lora_te2_"}
    bound = bind(adapter, model)
    assert not bound.unused
    plain, additions = _denoised(model, model.unet), RowAdditions()
    with additions.applied(model.unet, [Assignment(slice(0, 2), ((bound, 1.0, ()),))]):
        assert not torch.equal(_denoised(model, model.unet), plain)
    additions.forget()
    assert torch.equal(_denoised(model, model.unet), plain)
    with pytest.raises(InvalidParameter, match="half precision"):
        Trainer(replace(model, dtype=torch.float16), [TrainingImage(pixels, "")], settings, tmp_path)
