"""Every layout of LoRA files against a copy of the model with the change merged into its weights."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from backend.engine.lora import Assignment, RowAdditions, bind, read_adapter
from backend.engine.lora_file import role_of
from backend.models.loader import LoadedModel
from benchmarks._original import unet_name
from tests.support.lora import (
    ATTENTION,
    TEXT,
    denoised,
    factors,
    kohya,
    layers,
    merged,
    product,
    random_lora,
    said,
    save,
)
from tests.support.models import Shelf, shelf

__all__ = ["shelf"]

CLOSE = 2e-5
CONVS = ("conv1", "conv2", "conv_shortcut", "downsamplers.0.conv", "upsamplers.0.conv", "conv_in", "conv_out")


@pytest.fixture(scope="module", params=["one", "wide"])
def model(shelf: Shelf, request: pytest.FixtureRequest) -> LoadedModel:
    """SD 1.x (1 x 1 convolutions around the transformers) and SD 2.x (Linears)."""
    return shelf.model(request.param)


Check = Callable[..., None]


@pytest.fixture
def check(model: LoadedModel, tmp_path: Path) -> Check:
    """Asserts that a file, at a weight, does to the UNet what adding weight * delta to its weights does."""

    def compare(
        tensors: Mapping[str, Tensor],
        deltas: Mapping[str, Tensor],
        biases: Mapping[str, Tensor] | None = None,
        *,
        weight: float = 0.7,
        metadata: Mapping[str, str] | None = None,
    ) -> None:
        bound = bind(read_adapter(save(tmp_path / "some.safetensors", tensors, metadata), "some"), model)
        assert not bound.unused
        assert len(bound.on(model.unet)) == len({*deltas, *(biases or {})})
        scaled = {path: weight * delta for path, delta in deltas.items()}
        wanted = denoised(merged(model.unet, scaled, {path: weight * b for path, b in (biases or {}).items()}))
        plain = denoised(model.unet)
        additions = RowAdditions()
        with additions.applied(model.unet, [Assignment(slice(0, 2), ((bound, weight, ()),))]):
            made = denoised(model.unet)
        assert (made - wanted).abs().max() < CLOSE
        assert (made - plain).abs().max() > 100 * CLOSE
        assert torch.equal(denoised(model.unet), plain)

    return compare


def test_kohya_with_alpha(model: LoadedModel, check: Check):
    lora = random_lora(model.unet, rank=4)
    check(kohya(lora, alpha=2.0), {path: product(*pair) / 2 for path, pair in lora.items()})


def test_kohya_without_alpha(model: LoadedModel, check: Check):
    lora = random_lora(model.unet)
    check(kohya(lora), {path: product(*pair) for path, pair in lora.items()})


def test_kohya_under_the_names_of_the_original_blocks(model: LoadedModel, check: Check):
    """As SDXL files have them: lora_unet_input_blocks_1_1_transformer_blocks_0_...; every layer, convolutions too."""
    lora = random_lora(model.unet, (*ATTENTION, *CONVS, "time_emb_proj", "linear_1", "linear_2"))
    renamed = {unet_name(f"{path}.weight", model.unet.config).removesuffix(".weight"): lora[path] for path in lora}
    assert len(renamed) == len(lora)
    assert any(name.startswith("output_blocks.1.1.conv") for name in renamed)
    check(kohya(renamed, alpha=4.0), {path: product(*pair) for path, pair in lora.items()})


@pytest.mark.parametrize(
    ("before", "down", "up"),
    [
        ("unet.", ".lora_A.weight", ".lora_B.weight"),
        ("unet.", ".lora.down.weight", ".lora.up.weight"),
        ("unet.", ".lora_A.default.weight", ".lora_B.default.weight"),
        ("base_model.model.", ".lora_A.weight", ".lora_B.weight"),
        ("base_model.model.unet.", ".lora_A.weight", ".lora_B.weight"),
    ],
)
def test_diffusers_and_peft(model: LoadedModel, check: Check, before: str, down: str, up: str):
    lora = random_lora(model.unet)
    tensors = {before + path + end: t for path, pair in lora.items() for end, t in zip((down, up), pair, strict=True)}
    check(tensors, {path: product(*pair) for path, pair in lora.items()})


def test_the_processors_of_early_diffusers(model: LoadedModel, check: Check):
    lora = random_lora(model.unet, ("to_q", "to_k", "to_v", "to_out.0"))
    tensors = {}
    for path, (down, up) in lora.items():
        attention, _, name = path.removesuffix(".0").rpartition(".")
        tensors[f"unet.{attention}.processor.{name}_lora.down.weight"] = down
        tensors[f"unet.{attention}.processor.{name}_lora.up.weight"] = up
    check(tensors, {path: product(*pair) for path, pair in lora.items()})


def test_alpha_in_the_metadata_of_diffusers(model: LoadedModel, check: Check):
    lora = random_lora(model.unet, rank=4)
    tensors = {f"unet.{path}.lora_A.weight": down for path, (down, _) in lora.items()}
    tensors |= {f"unet.{path}.lora_B.weight": up for path, (_, up) in lora.items()}
    stated = json.dumps({"unet.r": 4, "unet.lora_alpha": 12, "unet.alpha_pattern": {"to_k": 4}})
    deltas = {path: product(*pair) * (1 if path.endswith("to_k") else 3) for path, pair in lora.items()}
    check(tensors, deltas, weight=0.3, metadata={"lora_adapter_metadata": stated})


def test_convolutions(model: LoadedModel, check: Check):
    lora = random_lora(model.unet, CONVS)
    check(kohya(lora, alpha=4), {path: product(*pair) for path, pair in lora.items()})


def test_convolutions_with_a_tucker_core(model: LoadedModel, check: Check):
    dice = torch.Generator().manual_seed(3)
    tensors, deltas = {}, {}
    for path, module in layers(model.unet, ("conv1", "conv2", "downsamplers.0.conv")).items():
        out, into = module.weight.shape[:2]
        down, up = torch.randn(3, into, 1, 1, generator=dice) / 4, torch.randn(out, 5, 1, 1, generator=dice) / 4
        mid = torch.randn(5, 3, 3, 3, generator=dice) / 4
        layer = "lora_unet_" + path.replace(".", "_")
        tensors |= {f"{layer}.lora_down.weight": down, f"{layer}.lora_up.weight": up, f"{layer}.lora_mid.weight": mid}
        deltas[path] = torch.einsum("pi,ijkl,jr->prkl", up[..., 0, 0], mid, down[..., 0, 0])
    check(tensors, deltas)


def _loha(module: Any, dice: torch.Generator, rank: int = 3) -> dict[str, Tensor]:
    out, rest = module.weight.shape[0], module.weight[0].numel()
    shapes = {"hada_w1_a": (out, rank), "hada_w1_b": (rank, rest), "hada_w2_a": (out, rank), "hada_w2_b": (rank, rest)}
    return {role: torch.randn(shape, generator=dice) * 0.4 for role, shape in shapes.items()}


def _named(path: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {f"lora_unet_{path.replace('.', '_')}.{role}": tensor for role, tensor in tensors.items()}


def test_loha(model: LoadedModel, check: Check):
    dice = torch.Generator().manual_seed(1)
    tensors, deltas = {}, {}
    for path, module in layers(model.unet, (*ATTENTION, "conv1")).items():
        t = _loha(module, dice)
        tensors |= _named(path, {**t, "alpha": torch.tensor(1.5)})
        delta = (t["hada_w1_a"] @ t["hada_w1_b"]) * (t["hada_w2_a"] @ t["hada_w2_b"]) / 2
        deltas[path] = delta.reshape(module.weight.shape)
    check(tensors, deltas)


def test_loha_with_tucker_cores(model: LoadedModel, check: Check):
    dice = torch.Generator().manual_seed(1)
    tensors, deltas = {}, {}
    for path, module in layers(model.unet, ("conv1", "conv2")).items():
        out, into = module.weight.shape[:2]
        ends = {"w1_a": out, "w1_b": into, "w2_a": out, "w2_b": into}
        shapes = {role: (3, end) for role, end in ends.items()} | {"t1": (3, 3, 3, 3), "t2": (3, 3, 3, 3)}
        t = {f"hada_{role}": torch.randn(shape, generator=dice) * 0.4 for role, shape in shapes.items()}
        tensors |= _named(path, t)
        one, two = (
            torch.einsum("ijkl,ip,jr->prkl", *(t[f"hada_{role}"] for role in (f"t{n}", f"w{n}_a", f"w{n}_b")))
            for n in "12"
        )
        deltas[path] = one * two
    check(tensors, deltas)


@pytest.mark.parametrize("kind", ["whole", "small whole", "both factored"])
def test_lokr(model: LoadedModel, check: Check, kind: str):
    dice = torch.Generator().manual_seed(2)
    tensors, deltas = {}, {}

    def some(*shape: int) -> Tensor:
        return torch.randn(shape, generator=dice) * 0.2

    for path, module in layers(model.unet, ("to_q", "to_k", "to_out.0", "conv1", "proj_in")).items():
        out, into, *kernel = module.weight.shape
        big = out // 4, into // 2, *kernel
        t = {"alpha": torch.tensor(6.0), "lokr_w1": some(4, 2), "lokr_w2": some(*big)}
        small, large = t["lokr_w1"], t["lokr_w2"]
        scale = 1.0
        if kind != "whole":
            del t["lokr_w2"]
            t |= {"lokr_w2_a": some(big[0], 3), "lokr_w2_b": some(3, large[0].numel())}
            large, scale = (t["lokr_w2_a"] @ t["lokr_w2_b"]).reshape(big), 2.0
        if kind == "both factored":
            del t["lokr_w1"]
            t |= {"lokr_w1_a": some(4, 1), "lokr_w1_b": some(1, 2)}
            small = t["lokr_w1_a"] @ t["lokr_w1_b"]
        tensors |= _named(path, t)
        # Element by element: out = o1 * O2 + o2, in = i1 * I2 + i2.
        delta = torch.einsum("ab,cd...->acbd...", small, large)
        deltas[path] = delta.reshape(out, into, *kernel) * scale
    check(tensors, deltas)


def test_lokr_with_a_tucker_core(model: LoadedModel, check: Check):
    dice = torch.Generator().manual_seed(2)
    tensors, deltas = {}, {}
    for path, module in layers(model.unet, ("conv1",)).items():
        out, into = module.weight.shape[:2]
        shapes = {"w1": (4, 2), "w2_a": (3, out // 4), "w2_b": (3, into // 2), "t2": (3, 3, 3, 3)}
        t = {f"lokr_{role}": torch.randn(shape, generator=dice) * 0.3 for role, shape in shapes.items()}
        tensors |= _named(path, t)
        large = torch.einsum("ijkl,ip,jr->prkl", t["lokr_t2"], t["lokr_w2_a"], t["lokr_w2_b"])
        deltas[path] = torch.einsum("ab,cdkl->acbdkl", t["lokr_w1"], large).reshape(module.weight.shape)
    check(tensors, deltas)


def test_full_differences_with_biases_and_norms(model: LoadedModel, check: Check):
    dice = torch.Generator().manual_seed(4)
    tensors, deltas, biases = {}, {}, {}
    for path, module in layers(model.unet, ("to_q", "to_out.0", "conv1", "linear_1")).items():
        deltas[path] = torch.randn(module.weight.shape, generator=dice) * 0.1
        tensors |= _named(path, {"diff": deltas[path]})
        if module.bias is not None:
            biases[path] = torch.randn(module.bias.shape, generator=dice) * 0.1
            tensors |= _named(path, {"diff_b": biases[path]})
    for path, module in layers(model.unet, ("norm1", "norm2"), (nn.GroupNorm, nn.LayerNorm)).items():
        deltas[path], biases[path] = (torch.randn(module.weight.shape, generator=dice) * 0.3 for _ in "wb")
        tensors |= _named(path, {"w_norm": deltas[path], "b_norm": biases[path]})
    check(tensors, deltas, biases)


@pytest.mark.parametrize("kind", ["by output", "by input", "peft"])
def test_dora(model: LoadedModel, check: Check, kind: str):
    dice = torch.Generator().manual_seed(6)
    tensors, deltas = {}, {}
    for path, module in layers(model.unet, ("to_q", "to_v", "proj_in", "conv2")).items():
        down, up = factors(module, 2, dice, 0.3)
        weight = module.weight
        whole = weight + product(down, up)
        rest = tuple(range(2, weight.ndim))
        norm = torch.linalg.vector_norm(whole, dim=(0, *rest) if kind == "by input" else (1, *rest), keepdim=True)
        magnitude = norm * (1 + 0.3 * torch.rand(norm.shape, generator=dice))
        deltas[path] = magnitude * whole / norm - weight
        if kind == "peft":
            tensors |= {f"unet.{path}.lora_A.weight": down, f"unet.{path}.lora_B.weight": up}
            tensors[f"unet.{path}.lora_magnitude_vector"] = magnitude.flatten()
        else:
            tensors |= _named(path, {"lora_down.weight": down, "lora_up.weight": up, "dora_scale": magnitude})
    check(tensors, deltas)


def test_halves_and_bfloats_are_read(model: LoadedModel, check: Check):
    lora = {path: (d.half(), u.bfloat16()) for path, (d, u) in random_lora(model.unet).items()}
    check(kohya(lora), {path: product(down.float(), up.float()) for path, (down, up) in lora.items()})


def test_a_linear_written_as_a_convolution_and_the_other_way(model: LoadedModel, check: Check):
    lora = random_lora(model.unet, ("proj_in", "to_q"))
    swapped = {
        path: tuple(t.flatten(1) if t.ndim == 4 else t[..., None, None] for t in pair) for path, pair in lora.items()
    }
    check(kohya(swapped), {path: product(*pair) for path, pair in lora.items()})


@pytest.mark.parametrize(
    "stem", ["lora_te_text_model_", "lora_te1_text_model_", "text_encoder.text_model.", "text_encoder."]
)
def test_the_text_encoder(model: LoadedModel, tmp_path: Path, stem: str):
    lora = random_lora(model.text_encoder, TEXT)
    if stem.startswith("lora_"):
        tensors = kohya(lora, stem.removesuffix("_"), alpha=4)
    else:
        tensors = {f"{stem}{path}.lora_A.weight": down for path, (down, _) in lora.items()}
        tensors |= {f"{stem}{path}.lora_B.weight": up for path, (_, up) in lora.items()}
    bound = bind(read_adapter(save(tmp_path / "words.safetensors", tensors), "words"), model)
    plain = said(model, model.text_encoder)
    wanted = said(model, merged(model.text_encoder, {path: 0.5 * product(*pair) for path, pair in lora.items()}))
    additions = RowAdditions()
    with additions.applied(model.text_encoder, [Assignment(slice(0, 1), ((bound, 0.5, ()),))]):
        made = said(model, model.text_encoder)
    assert (made - wanted).abs().max() < CLOSE
    assert (made - plain).abs().max() > 100 * CLOSE
    assert torch.equal(said(model, model.text_encoder), plain)


@pytest.mark.parametrize(
    ("key", "layer", "role"),
    [
        ("lora_unet_mid.lora_up.weight", "lora_unet_mid", "up"),
        ("unet.mid.lora.alpha", "unet.mid", "alpha"),
        ("unet.mid.lora_magnitude_vector.default.weight", "unet.mid", "dora"),
        ("unet.mid.lora_magnitude_vector.default", "unet.mid", "dora"),
        ("a.processor.to_out_lora.up.weight", "a.to_out.0", "up"),
    ],
)
def test_the_parts_of_a_key(key: str, layer: str, role: str):
    assert role_of(key) == (layer, role)


def test_a_key_that_is_no_lora():
    assert role_of("model.diffusion_model.out.2.weight") is None
