"""Control models from folders and from single files of every layout, and refusals that say why."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import ControlNetModel
from safetensors.torch import load_file, save_file

from backend.engine.control_loader import LoadedControl, check_fit, load_control
from backend.engine.control_shapes import controlnet_config
from backend.errors import InvalidParameter, UnreadableModel
from tests.support import control, tiny

CPU = torch.device("cpu")
FULL_HINT = (16, 32, 96, 256)
"""The original layout knows no other entrance than this, which shrinks by 8."""


def load(path: Path, kind: Any = "controlnet", dtype: torch.dtype = torch.float32) -> LoadedControl:
    return load_control(control.info(path, kind), CPU, dtype)


def same(one: torch.nn.Module, other: torch.nn.Module) -> bool:
    mine, theirs = one.state_dict(), other.state_dict()
    return mine.keys() == theirs.keys() and all(torch.equal(mine[name], theirs[name]) for name in mine)


def test_an_original_file_with_a_configuration_beside_it_is_the_same_as_the_folder(tmp_path: Path) -> None:
    net = control.controlnet(hint=FULL_HINT)
    control.save_original(net, tmp_path / "edges.safetensors")
    net.save_config(tmp_path / "edges")
    net.save_pretrained(tmp_path / "folder")
    from_file, from_folder = load(tmp_path / "edges.safetensors").net, load(tmp_path / "folder").net
    assert same(from_file, from_folder)
    assert same(from_file, net)


@pytest.mark.parametrize("layout", ["original", "diffusers"])
def test_a_lonely_file_tells_its_own_shape(layout: str, tmp_path: Path) -> None:
    net = control.controlnet(hint=FULL_HINT, block_out_channels=(32, 64), norm_num_groups=32, attention_head_dim=[1, 1])
    path = tmp_path / "edges.safetensors"
    if layout == "original":
        control.save_original(net, path)
    else:
        save_file(net.state_dict(), path)
    loaded = load(path).net
    assert same(loaded, net)
    with torch.inference_mode():
        arguments = torch.randn(1, 4, 8, 8), torch.tensor([5.0]), torch.randn(1, 77, 32), torch.rand(1, 3, 64, 64)
        expected, made = net(*arguments, return_dict=False), loaded(*arguments, return_dict=False)
    assert torch.allclose(made[1], expected[1], atol=1e-5)  # the last bits depend on where weights lie in memory


@pytest.mark.parametrize(
    "options",
    [
        {"cross_attention_dim": 768},
        {"cross_attention_dim": 1024, "attention_head_dim": [5, 10, 20, 20], "use_linear_projection": True},
        {
            "block_out_channels": (320, 640, 1280),
            "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
            "cross_attention_dim": 2048,
            "attention_head_dim": [5, 10, 20],
            "transformer_layers_per_block": [1, 2, 10],
            "use_linear_projection": True,
            "addition_embed_type": "text_time",
            "addition_time_embed_dim": 256,
            "projection_class_embeddings_input_dim": 2816,
        },
    ],
    ids=["sd1", "sd2", "sdxl"],
)
def test_full_size_shapes_are_told_from_the_weights(options: dict[str, Any]) -> None:
    with torch.device("meta"):
        net = ControlNetModel(**options)
        told = ControlNetModel.from_config(controlnet_config(net.state_dict()))
    assert {name: t.shape for name, t in told.state_dict().items()} == {n: t.shape for n, t in net.state_dict().items()}
    heads = [module.heads for module in net.modules() if hasattr(module, "to_q")]
    assert heads == [module.heads for module in told.modules() if hasattr(module, "to_q")]


@pytest.mark.parametrize(
    ("kind", "channels"),
    [("full_adapter", (32, 64)), ("full_adapter_xl", (32, 64, 64)), ("light_adapter", (32, 64))],
)
def test_adapters_come_from_folders_and_from_files(kind: str, channels: tuple[int, ...], tmp_path: Path) -> None:
    net = control.adapter(kind=kind, channels=channels)
    net.save_pretrained(tmp_path / "folder")
    assert same(load(tmp_path / "folder", "t2i-adapter").net, net)
    factor = 16 if kind == "full_adapter_xl" else 8
    real = type(net)(channels=list(channels), num_res_blocks=2, downscale_factor=factor, adapter_type=kind)
    control.save_tencent(real, tmp_path / "lonely.safetensors")
    loaded = load(tmp_path / "lonely.safetensors", "t2i-adapter").net
    assert same(loaded, real)
    assert loaded.config.adapter_type == kind


def test_half_precision_files_are_read_in_the_precision_asked_for(tmp_path: Path) -> None:
    control.controlnet().half().save_pretrained(tmp_path / "half", variant="fp16")
    assert load(tmp_path / "half", dtype=torch.float32).net.dtype == torch.float32
    loaded = load(tmp_path / "half", dtype=torch.bfloat16)
    assert loaded.net.dtype == torch.bfloat16
    assert loaded.size == sum(2 * tensor.numel() for tensor in loaded.net.state_dict().values())


def test_a_shuffle_file_is_pooled_as_its_name_says(tmp_path: Path) -> None:
    net = control.controlnet(hint=FULL_HINT, norm_num_groups=32)
    for name in ("control_v11e_sd15_shuffle.safetensors", "control_v11p_sd15_canny.safetensors"):
        save_file(net.state_dict(), tmp_path / name)
        assert load(tmp_path / name).net.config.global_pool_conditions == ("shuffle" in name)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"cross_attention_dim": 64}, "text width is 64, the checkpoint's 32"),
        ({"block_out_channels": (32, 32)}, "channels"),
        ({"conditioning_embedding_out_channels": (8, 16, 16)}, "pixels per latent is 4, the checkpoint's 2"),
        ({"in_channels": 16}, "latent channels are 16"),
    ],
)
def test_a_control_for_another_architecture_is_refused_by_name(
    change: dict[str, Any], reason: str, tmp_path: Path
) -> None:
    control.controlnet(**change).save_pretrained(tmp_path / "other")
    with pytest.raises(InvalidParameter, match=f'"other" was made for another kind of model.*{reason}') as caught:
        check_fit(load(tmp_path / "other"), tiny.pipeline("sd1").unet, 2)
    assert caught.value.problem.field == "control"


def test_an_adapter_for_another_architecture_is_refused_by_name(tmp_path: Path) -> None:
    control.adapter(channels=(32, 96)).save_pretrained(tmp_path / "other")
    with pytest.raises(InvalidParameter, match="channels is"):
        check_fit(load(tmp_path / "other", "t2i-adapter"), tiny.pipeline("sd1").unet, 2)


def test_what_fits_is_let_through(tmp_path: Path) -> None:
    unet = tiny.pipeline("sd1").unet
    control.controlnet().save_pretrained(tmp_path / "edges")
    check_fit(load(tmp_path / "edges"), unet, 2)
    control.adapter().save_pretrained(tmp_path / "adapter")
    check_fit(load(tmp_path / "adapter", "t2i-adapter"), unet, 2)


def test_a_control_that_does_not_read_fits_any_text_width(tmp_path: Path) -> None:
    blocks = {"down_block_types": ("DownBlock2D", "DownBlock2D"), "mid_block_type": "UNetMidBlock2D"}
    control.controlnet(cross_attention_dim=99, **blocks).save_pretrained(tmp_path / "small")
    check_fit(load(tmp_path / "small"), tiny.pipeline("sd1").unet, 2)


def test_a_folder_may_name_no_other_class(tmp_path: Path) -> None:
    control.controlnet().save_pretrained(tmp_path / "odd")
    config = tmp_path / "odd" / "config.json"
    config.write_text(json.dumps({**json.loads(config.read_text()), "_class_name": "FluxControlNetModel"}))
    with pytest.raises(UnreadableModel, match="FluxControlNetModel, which is no controlnet"):
        load(tmp_path / "odd")


def test_python_in_a_folder_is_not_tolerated(tmp_path: Path) -> None:
    control.controlnet().save_pretrained(tmp_path / "odd")
    (tmp_path / "odd" / "model.py").write_text("raise SystemExit")
    with pytest.raises(UnreadableModel, match="Python files"):
        load(tmp_path / "odd")


def test_missing_weights_are_noticed(tmp_path: Path) -> None:
    control.controlnet().save_pretrained(tmp_path / "torn")
    file = tmp_path / "torn" / "diffusion_pytorch_model.safetensors"
    tensors = load_file(file)
    tensors.pop("conv_in.weight")
    save_file(tensors, file)
    with pytest.raises(UnreadableModel, match=r"conv_in\.weight"):
        load(tmp_path / "torn")
    file.unlink()
    with pytest.raises(UnreadableModel, match=r"no diffusion_pytorch_model\.safetensors"):
        load(tmp_path / "torn")


@pytest.mark.parametrize(
    ("tensor", "looks"),
    [("lora_controlnet", "Control-LoRA"), ("lllite_unet.a.weight", "ControlLLLite"), ("task_embedding", "Union")],
)
def test_relatives_that_cannot_be_run_are_told_apart(tensor: str, looks: str, tmp_path: Path) -> None:
    save_file({tensor: torch.zeros(1)}, tmp_path / "x.safetensors")
    with pytest.raises(UnreadableModel, match=looks):
        load(tmp_path / "x.safetensors")


@pytest.mark.parametrize("kind", ["controlnet", "t2i-adapter", "ip-adapter"])
def test_something_else_in_a_safetensors_file_is_refused(kind: Any, tmp_path: Path) -> None:
    save_file({"lora_unet.weight": torch.zeros(2, 2)}, tmp_path / "x.safetensors")
    with pytest.raises(UnreadableModel):
        load(tmp_path / "x.safetensors", kind)
    (tmp_path / "y.safetensors").write_bytes(b"\x80\x04pickle")
    with pytest.raises(UnreadableModel, match="pickle"):
        load(tmp_path / "y.safetensors", kind)
