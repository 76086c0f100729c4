"""From files on disk to modules that run: folders and single files alike, offline, and nothing that could run code."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from safetensors.torch import load_file, save_file
from transformers import CLIPTextConfig, CLIPTextModel

from backend.errors import UnreadableModel
from backend.models.catalog import Catalog, config_folder
from backend.models.hashes import file_sha256, model_sha256
from backend.models.loader import clip_tokenizer, load, predicts_velocity
from tests.support import tiny
from tests.support.bench import Bench, make_work
from tests.support.models import CPU, Shelf, shelf

__all__ = ["shelf"]


@pytest.mark.parametrize(("folder", "file"), [("one", "file"), ("wide", "wide-file")])
def test_a_folder_and_a_single_file_of_the_same_weights_make_the_same_picture_bit_by_bit(
    shelf: Shelf, folder: str, file: str
):
    bench = Bench()
    first, second = (bench.picture(make_work(name, shelf.info(name), seed=4)) for name in (folder, file))
    assert torch.equal(bench.engine.latents[folder, 0], bench.engine.latents[file, 0])
    assert np.array_equal(first, second)
    bench.close()


@pytest.mark.parametrize("half", [torch.float16, torch.bfloat16])
def test_weights_in_half_precision_are_run_in_the_precision_of_the_engine(shelf: Shelf, tmp_path: Path, half):
    pipe = tiny.pipeline("sd1").to(dtype=half)
    tiny.save_folder(pipe, tmp_path / "half")
    tiny.save_file_with_config(pipe, tmp_path / "half-file.safetensors")
    for info in Catalog((), (tmp_path,)).all():
        model = load(info, CPU, torch.float32)
        tensors = [*model.unet.parameters(), *model.vae.parameters(), *model.text_encoder.parameters()]
        assert {tensor.dtype for tensor in tensors} == {torch.float32}
        assert not any(tensor.requires_grad for tensor in tensors)
        assert model.size > info.size * 1.9


def test_the_parts_of_a_loaded_model_are_those_of_its_file(shelf: Shelf):
    model = shelf.model("file")
    assert (model.latent_factor, model.tokenizer.model_max_length) == (2, 77)
    assert model.scheduler["prediction_type"] == "epsilon"
    assert not model.unet.training


# ---- what cannot be loaded


def loaded(folder: Path, name: str) -> None:
    load(Catalog((), (folder,)).find(name), CPU, torch.float32)


WEIGHTS = {
    "unet": "unet/diffusion_pytorch_model.safetensors",
    "vae": "vae/diffusion_pytorch_model.safetensors",
    "text_encoder": "text_encoder/model.safetensors",
}


@pytest.mark.parametrize("part", WEIGHTS)
@pytest.mark.parametrize("how", ["cut off", "one tensor missing", "one tensor of another shape", "emptied"])
def test_a_folder_with_spoilt_weights_is_unreadable(shelf: Shelf, tmp_path: Path, part: str, how: str):
    file = tiny.copy_model(shelf.folder / "one", tmp_path / "spoilt") / WEIGHTS[part]
    tensors = load_file(file)
    name = sorted(name for name, tensor in tensors.items() if tensor.ndim > 1)[0]
    match how:
        case "cut off":
            file.write_bytes(file.read_bytes()[:-100])
        case "one tensor missing":
            del tensors[name]
            save_file(tensors, file)
        case "one tensor of another shape":
            tensors[name] = torch.zeros(3, 3)
            save_file(tensors, file)
        case "emptied":
            save_file({"nothing": torch.zeros(1)}, file)
    with pytest.raises(UnreadableModel) as caught:
        loaded(tmp_path, "spoilt")
    assert "spoilt" in caught.value.problem.title


@pytest.mark.parametrize(
    "drop",
    [
        "model.diffusion_model.input_blocks.0.0.weight",
        "first_stage_model.decoder.conv_in.weight",
        "cond_stage_model.transformer.text_model.embeddings.token_embedding.weight",
    ],
)
def test_a_single_file_without_one_of_its_tensors_is_unreadable(tmp_path: Path, drop: str):
    tiny.save_file_with_config(tiny.pipeline("sd1"), tmp_path / "holey.safetensors", drop=drop)
    with pytest.raises(UnreadableModel):
        loaded(tmp_path, "holey")


def test_a_header_with_overlapping_tensors_is_unreadable(shelf: Shelf, tmp_path: Path):
    data = (shelf.folder / "file.safetensors").read_bytes()
    length = int.from_bytes(data[:8], "little")
    header: dict[str, Any] = json.loads(data[8 : 8 + length])
    same_size: dict[int, list[str]] = {}
    for name, entry in header.items():
        if name != "__metadata__":
            begin, end = entry["data_offsets"]
            same_size.setdefault(end - begin, []).append(name)
    first, second = next(names for names in same_size.values() if len(names) > 1)[:2]
    header[second]["data_offsets"] = header[first]["data_offsets"]
    raw = json.dumps(header).encode()
    file = tmp_path / "overlap.safetensors"
    file.write_bytes(len(raw).to_bytes(8, "little") + raw + data[8 + length :])
    tiny.copy_model(shelf.folder / "file", tmp_path / "overlap")
    with pytest.raises(UnreadableModel):
        loaded(tmp_path, "overlap")


@pytest.mark.parametrize("part", ["unet", "vae", "text_encoder", "scheduler", "tokenizer"])
@pytest.mark.parametrize("text", ["{", "[]", '{"a": 1}'])
def test_a_folder_with_a_spoilt_configuration_is_unreadable_or_runs_on_defaults(
    shelf: Shelf, tmp_path: Path, part: str, text: str
):
    folder = tiny.copy_model(shelf.folder / "one", tmp_path / "spoilt")
    for file in (folder / part).glob("*.json"):
        file.write_text(text)
    try:
        loaded(tmp_path, "spoilt")
    except UnreadableModel:
        return
    assert part in ("scheduler", "tokenizer")


# ---- prediction of velocity


def test_a_unet_that_returns_its_input_is_taken_for_a_noise_predictor(shelf: Shelf):
    unet = shelf.model("wide").unet
    unet.conv_out.weight.zero_()
    unet.conv_out.bias.fill_(0.5)  # the probe's input is 0.5 everywhere
    assert not predicts_velocity(unet)
    unet.conv_out.bias.fill_(-1.0)
    assert predicts_velocity(unet)


def test_a_single_file_of_sd2_is_probed_and_one_of_sd1_is_not(tmp_path: Path):
    for family in ("sd1", "sd2"):
        pipe = tiny.pipeline(family)
        with torch.no_grad():
            pipe.unet.conv_out.weight.zero_()
            pipe.unet.conv_out.bias.fill_(-1.0)
        tiny.save_file_with_config(pipe, tmp_path / f"{family}.safetensors")
    catalog = Catalog((), (tmp_path,))
    assert load(catalog.find("sd2"), CPU, torch.float32).scheduler["prediction_type"] == "v_prediction"
    assert load(catalog.find("sd1"), CPU, torch.float32).scheduler["prediction_type"] == "epsilon"


def test_a_folder_is_believed_what_it_says_about_its_prediction(shelf: Shelf):
    assert shelf.model("velocity").scheduler["prediction_type"] == "v_prediction"


# ---- what is shipped for the families


def test_clips_vocabulary_gives_the_known_ids_and_pads_as_each_family_does():
    words = clip_tokenizer()
    assert words("a photo of a cat").input_ids == [49406, 320, 1125, 539, 320, 2368, 49407]
    assert len(words) == 49408
    assert words("", padding="max_length", max_length=4).input_ids == [49406, 49407, 49407, 49407]
    wide = clip_tokenizer("!")
    assert wide("", padding="max_length", max_length=4).input_ids == [49406, 49407, 0, 0]
    assert wide("A Photo  of a CAT").input_ids == words("a photo of a cat").input_ids


@pytest.mark.parametrize(
    ("family", "unet_millions", "text_millions", "width"), [("sd1", 859.5, 123.1, 768), ("sd2", 865.9, 340.4, 1024)]
)
def test_the_shipped_configurations_describe_the_real_models(
    tmp_path: Path, family: str, unet_millions: float, text_millions: float, width: int
):
    folder = config_folder(tmp_path / "none.safetensors", family)
    with torch.device("meta"):
        unet = UNet2DConditionModel.from_config(UNet2DConditionModel.load_config(folder / "unet"))
        vae = AutoencoderKL.from_config(AutoencoderKL.load_config(folder / "vae"))
        text = CLIPTextModel(CLIPTextConfig.from_pretrained(folder / "text_encoder"))

    def millions(module: torch.nn.Module) -> float:
        return round(sum(parameter.numel() for parameter in module.parameters()) / 1e6, 1)

    assert (millions(unet), millions(vae), millions(text)) == (unet_millions, 83.7, text_millions)
    assert unet.config.cross_attention_dim == text.config.hidden_size == width
    assert (vae.config.scaling_factor, vae.config.latent_channels, unet.config.in_channels) == (0.18215, 4, 4)


# ---- identity


def test_a_folders_hash_depends_on_its_weights_and_not_on_where_it_lies(shelf: Shelf, tmp_path: Path):
    copy = tiny.copy_model(shelf.folder / "one", tmp_path / "elsewhere")
    (copy / "README.md").write_text("a word")
    assert model_sha256(copy) == model_sha256(shelf.folder / "one") != model_sha256(shelf.folder / "two")
    file = copy / WEIGHTS["vae"]
    data = bytearray(file.read_bytes())
    data[-1] ^= 1
    file.write_bytes(data)
    assert model_sha256(copy) != model_sha256(shelf.folder / "one")
    assert model_sha256(file) == file_sha256(file)
