"""Models of every family from disk to modules: folders and single files, autoencoders, precision. Offline."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from safetensors.torch import load_file, save_file
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

from backend.errors import InvalidParameter, Unavailable, UnreadableModel
from backend.models.catalog import config_folder
from backend.models.loader import LoadedModel, clip_tokenizer, dtype_for, load, load_vae
from backend.models.loader.precision import quantisation
from backend.models.loader.weights import read, under, weight_files
from backend.types import ModelInfo
from tests.support import tiny
from tests.support.tiny import Family

CPU = torch.device("cpu")
UNET = "diffusion_pytorch_model.safetensors"


def info_of(path: Path, family: str) -> ModelInfo:
    layout = "diffusers" if path.is_dir() else "single-file"
    return ModelInfo(path.stem, path.stem, family, str(path), layout, 2, tiny.SIZE, 1)


def open_model(path: Path, family: str, dtype: torch.dtype = torch.float32, precision: str = "auto") -> LoadedModel:
    return load(info_of(path, family), CPU, dtype, precision)


def modules(model: LoadedModel) -> tuple[Any, ...]:
    return (model.unet, model.vae, *model.text_encoders)


def same(first: Any, second: Any) -> bool:
    one, two = first.state_dict(), second.state_dict()
    return one.keys() == two.keys() and all(torch.equal(one[name], two[name]) for name in one)


@pytest.fixture(scope="module")
def xl(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An SDXL folder, not to be changed."""
    return tiny.save_folder(tiny.pipeline("sdxl"), tmp_path_factory.mktemp("xl") / "base")


# ---- families


@pytest.mark.parametrize("inpaint", [False, True], ids=["plain", "inpaint"])
@pytest.mark.parametrize("family", ["sd1", "sd2", "sdxl", "sdxl-refiner"])
def test_folder_and_single_file_give_the_weights_that_were_saved(tmp_path: Path, family: Family, inpaint: bool):
    pipe = tiny.pipeline(family, seed=5, inpaint=inpaint)
    folder = open_model(tiny.save_folder(pipe, tmp_path / "folder"), family)
    file = open_model(tiny.save_file_with_config(pipe, tmp_path / "file.safetensors"), family)
    texts = [part for part in (pipe.text_encoder, getattr(pipe, "text_encoder_2", None)) if part is not None]
    for saved, one, two in zip((pipe.unet, pipe.vae, *texts), modules(folder), modules(file), strict=True):
        assert same(saved, one)
        assert same(saved, two)
        assert not one.training
    assert folder.scheduler == file.scheduler
    for model in (folder, file):
        assert [words.pad_token for words in model.tokenizers] == {
            "sd1": ["<|endoftext|>"], "sd2": ["!"], "sdxl": ["<|endoftext|>", "!"], "sdxl-refiner": ["!"]
        }[family]  # fmt: skip
        assert (model.is_sdxl, model.is_refiner) == (family.startswith("sdxl"), family == "sdxl-refiner")
        assert (model.inpaints, model.latent_channels, model.latent_factor) == (inpaint, 4, 2)
        assert model.force_zeros == (family == "sdxl")


def test_a_loaded_sdxl_model_predicts_what_diffusers_predicts(xl: Path):
    model, stock = open_model(xl, "sdxl"), tiny.pipeline("sdxl")
    x, text = torch.randn(1, 4, 16, 16), torch.randn(1, 77, 96)
    added = {"text_embeds": torch.randn(1, 64), "time_ids": torch.tensor([[32.0, 32, 0, 0, 32, 32]])}
    with torch.inference_mode():
        ours, theirs = (
            unet(x, torch.tensor([500]), encoder_hidden_states=text, added_cond_kwargs=added).sample
            for unet in (model.unet, stock.unet)
        )
        words = torch.tensor([stock.tokenizer_2("a cat", padding="max_length").input_ids])
        pooled = [encoder(words).text_embeds for encoder in (model.text_encoders[1], stock.text_encoder_2)]
    assert torch.equal(ours, theirs)
    assert torch.equal(*pooled)


@pytest.mark.parametrize(
    ("family", "unet_millions", "texts"), [("sdxl", 2567.5, (123.1, 694.7)), ("sdxl-refiner", 2259.5, (694.7,))]
)
def test_the_shipped_sdxl_configurations_describe_the_real_models(
    tmp_path: Path, family: str, unet_millions: float, texts: tuple[float, ...]
):
    folder = config_folder(tmp_path / "none.safetensors", family)

    def millions(module: torch.nn.Module) -> float:
        return round(sum(parameter.numel() for parameter in module.parameters()) / 1e6, 1)

    def text(name: str) -> CLIPTextConfig:
        return CLIPTextConfig.from_pretrained(folder / name)

    with torch.device("meta"):
        unet = UNet2DConditionModel.from_config(UNet2DConditionModel.load_config(folder / "unet"))
        vae = AutoencoderKL.from_config(AutoencoderKL.load_config(folder / "vae"))
        encoders = [CLIPTextModelWithProjection(text("text_encoder_2"))]
        if family == "sdxl":
            encoders.insert(0, CLIPTextModel(text("text_encoder")))
    assert (millions(unet), millions(vae), tuple(map(millions, encoders))) == (unet_millions, 83.7, texts)
    assert unet.config.cross_attention_dim == sum(encoder.config.hidden_size for encoder in encoders)
    assert (vae.config.scaling_factor, vae.config.force_upcast) == (0.13025, True)


def test_marks_of_velocity_and_zero_terminal_snr_in_an_sdxl_file_are_heeded(tmp_path: Path):
    pipe = tiny.pipeline("sdxl")
    file = tiny.save_file_with_config(pipe, tmp_path / "marked.safetensors")
    plain = open_model(file, "sdxl")
    save_file({**load_file(file), "v_pred": torch.empty(0), "ztsnr": torch.empty(0)}, file)
    marked = open_model(file, "sdxl")
    assert (plain.prediction_type, marked.prediction_type) == ("epsilon", "v_prediction")
    assert (plain.scheduler["rescale_betas_zero_snr"], marked.scheduler["rescale_betas_zero_snr"]) == (False, True)


def test_the_words_of_a_file_without_a_tokenizer_are_clips(tmp_path: Path):
    file = tiny.save_file_with_config(tiny.pipeline("sdxl"), tmp_path / "bare.safetensors")
    for folder in ("tokenizer", "tokenizer_2"):
        for part in (tmp_path / "bare" / folder).iterdir():
            part.unlink()
        (tmp_path / "bare" / folder).rmdir()
    model = open_model(file, "sdxl")
    assert [len(words) for words in model.tokenizers] == [49408, 49408]
    assert model.tokenizers[1]("", padding="max_length", max_length=4).input_ids == [49406, 49407, 0, 0]
    assert clip_tokenizer()("", padding="max_length", max_length=4).input_ids == [49406, 49407, 49407, 49407]


# ---- layouts of folders


def test_shards_named_by_an_index_are_read_together(xl: Path, tmp_path: Path):
    folder = tiny.copy_model(xl, tmp_path / "sharded")
    whole = load_file(folder / "unet" / UNET)
    (folder / "unet" / UNET).unlink()
    halves = [dict(list(whole.items())[half::2]) for half in (0, 1)]
    for number, half in enumerate(halves):
        save_file(half, folder / "unet" / f"part-{number}.safetensors")
    index = {name: f"part-{number}.safetensors" for number, half in enumerate(halves) for name in half}
    index_file = folder / "unet" / f"{UNET}.index.json"
    index_file.write_text(json.dumps({"weight_map": index}))
    assert same(open_model(folder, "sdxl").unet, open_model(xl, "sdxl").unet)
    index_file.write_text(json.dumps({"weight_map": {"x": "../unet/part-0.safetensors"}}))
    with pytest.raises(UnreadableModel, match="missing"):
        weight_files(folder / "unet")


def test_a_folder_with_a_half_precision_variant_alone_is_read_and_the_plain_file_preferred(xl: Path, tmp_path: Path):
    folder = tiny.copy_model(xl, tmp_path / "variant") / "unet"
    half = folder / "diffusion_pytorch_model.fp16.safetensors"
    save_file({name: tensor.half() for name, tensor in load_file(folder / UNET).items()}, half)
    assert weight_files(folder) == (folder / UNET,)
    (folder / UNET).unlink()
    assert weight_files(folder) == (half,)
    assert open_model(folder.parent, "sdxl").unet.dtype == torch.float32


def test_attention_of_an_autoencoder_saved_long_ago_is_understood(xl: Path, tmp_path: Path):
    folder = tiny.copy_model(xl, tmp_path / "old")
    file = folder / "vae" / UNET
    names = {".to_q.": ".query.", ".to_k.": ".key.", ".to_v.": ".value.", ".to_out.0.": ".proj_attn."}

    def old(name: str) -> str:
        for new, before in names.items():
            name = name.replace(new, before)
        return name

    tensors = load_file(file)
    save_file({old(name): tensor for name, tensor in tensors.items()}, file)
    assert {old(name) for name in tensors} != set(tensors)
    assert same(open_model(folder, "sdxl").vae, open_model(xl, "sdxl").vae)


def test_only_the_wanted_tensors_are_read_and_floats_alone_change_their_type(tmp_path: Path):
    tensors = {
        "a.half": torch.randn(3, 2).half(), "a.byte": torch.tensor([[1, 2]], dtype=torch.uint8),
        "a.scalar": torch.tensor(2.5), "a.eight": torch.tensor([1.5]).to(torch.float8_e4m3fn), "b": torch.ones(2),
    }  # fmt: skip
    save_file(tensors, tmp_path / "x.safetensors")
    got = read(tmp_path / "x.safetensors", CPU, torch.float32, under("a."))
    assert {name: tensor.dtype for name, tensor in got.items()} == {
        "half": torch.float32, "byte": torch.uint8, "scalar": torch.float32, "eight": torch.float32
    }  # fmt: skip
    assert torch.equal(got["half"], tensors["a.half"].float())
    assert (got["scalar"].item(), got["eight"].item(), got["byte"].tolist()) == (2.5, 1.5, [[1, 2]])


def test_what_is_loaded_does_not_hang_on_its_file(tmp_path: Path):
    file = tmp_path / "x.safetensors"
    save_file({"a": torch.ones(1000)}, file)
    got = read(file, CPU, None)["a"]
    file.write_bytes(b"")
    assert torch.equal(got, torch.ones(1000))


# ---- other autoencoders


def vae_file(path: Path, seed: int, change: Callable[[str], str] = str) -> Path:
    save_file({change(name): tensor for name, tensor in _ldm_vae(seed).items()}, path)
    return path


def _ldm_vae(seed: int) -> dict[str, torch.Tensor]:
    tensors = tiny.to_ldm(tiny.pipeline("sdxl", seed=seed))
    return {name: tensor for name, tensor in tensors.items() if name.startswith("first_stage_model.")}


def test_another_autoencoder_is_read_whatever_its_names_are(xl: Path, tmp_path: Path):
    model, other = open_model(xl, "sdxl"), tiny.pipeline("sdxl", seed=9)
    whole = tiny.save_file_with_config(other, tmp_path / "whole.safetensors")
    bare = vae_file(tmp_path / "bare.safetensors", 9, lambda name: name.removeprefix("first_stage_model."))
    modern = tmp_path / "modern.safetensors"
    save_file(other.vae.state_dict(), modern)
    other.vae.save_pretrained(tmp_path / "folder")
    pipeline = tiny.save_folder(other, tmp_path / "pipeline")
    for path in (whole, bare, modern, tmp_path / "folder", pipeline):
        vae = load_vae(path, model)
        assert same(vae, other.vae), path
        assert vae.config.scaling_factor == model.vae.config.scaling_factor
        assert not same(vae, model.vae)
        assert replace(model, vae=vae).latent_factor == 2


def test_an_autoencoder_of_another_latent_space_is_refused(xl: Path, tmp_path: Path):
    model = open_model(xl, "sdxl")
    wide = AutoencoderKL(
        latent_channels=16, block_out_channels=(16, 32), norm_num_groups=8,
        down_block_types=("DownEncoderBlock2D",) * 2, up_block_types=("UpDecoderBlock2D",) * 2,
    )  # fmt: skip
    wide.save_pretrained(tmp_path / "wide")
    save_file(wide.state_dict(), tmp_path / "wide.safetensors")
    for name in ("wide", "wide.safetensors"):
        with pytest.raises(UnreadableModel, match="16 latent channels"):
            load_vae(tmp_path / name, model)


def test_a_spoilt_autoencoder_is_unreadable(xl: Path, tmp_path: Path):
    model = open_model(xl, "sdxl")
    holey = _ldm_vae(1)
    del holey["first_stage_model.encoder.conv_in.weight"]
    save_file(holey, tmp_path / "holey.safetensors")
    (tmp_path / "text.safetensors").write_text("hello")
    save_file({"x": torch.ones(1)}, tmp_path / "other.safetensors")
    for name in ("holey", "text", "other", "absent"):
        with pytest.raises(UnreadableModel):
            load_vae(tmp_path / f"{name}.safetensors", model)


# ---- precision


def test_the_autoencoder_of_sdxl_is_kept_wide_in_float16_unless_it_was_mended(xl: Path, tmp_path: Path):
    model = open_model(xl, "sdxl", torch.float16)
    assert (model.unet.dtype, model.text_encoder.dtype, model.vae.dtype) == (
        torch.float16,
        torch.float16,
        torch.float32,
    )
    assert open_model(xl, "sdxl", torch.bfloat16).vae.dtype == torch.bfloat16
    mended = tiny.copy_model(xl, tmp_path / "mended")
    config = json.loads((mended / "vae" / "config.json").read_text())
    (mended / "vae" / "config.json").write_text(json.dumps({**config, "force_upcast": False}))
    assert open_model(mended, "sdxl", torch.float16).vae.dtype == torch.float16
    assert load_vae(mended / "vae", model).dtype == torch.float32


def test_eight_bit_storage_halves_the_denoiser_and_still_predicts_nearly_the_same(xl: Path):
    plain, small = open_model(xl, "sdxl", torch.bfloat16), open_model(xl, "sdxl", torch.bfloat16, "fp8")
    x, text = torch.randn(1, 4, 16, 16).bfloat16(), torch.randn(1, 77, 96).bfloat16()
    added = {"text_embeds": torch.randn(1, 64).bfloat16(), "time_ids": torch.ones(1, 6).bfloat16()}
    with torch.inference_mode():
        one, two = (
            model.unet(x, torch.tensor([500]), encoder_hidden_states=text, added_cond_kwargs=added).sample.float()
            for model in (plain, small)
        )
    assert small.size < plain.size
    assert 0 < (one - two).norm() / one.norm() < 0.2


def test_the_precision_follows_the_device_unless_it_is_named():
    cuda, mps = torch.device("cuda"), torch.device("mps")
    assert dtype_for(CPU) == torch.float32
    assert dtype_for(mps) == torch.float16
    assert (dtype_for(cuda, "fp16"), dtype_for(mps, "fp32")) == (torch.float16, torch.float32)
    assert (dtype_for(CPU, "bf16"), dtype_for(CPU, "fp8")) == (torch.bfloat16, torch.bfloat16)
    with pytest.raises(InvalidParameter, match="fp12"):
        dtype_for(CPU, "fp12")


@pytest.mark.parametrize(
    ("precision", "package"),
    [("nf4", "bitsandbytes"), ("int8", "bitsandbytes"), ("int8-torchao", "torchao"), ("gguf", "gguf")],
)
def test_a_quantisation_says_which_package_it_is_missing(xl: Path, precision: str, package: str):
    with pytest.raises(Unavailable, match=package):
        quantisation(precision, torch.bfloat16)
    with pytest.raises(Unavailable, match=package):
        open_model(xl, "sdxl", torch.bfloat16, precision)
    assert quantisation("fp16", torch.float16) is None
