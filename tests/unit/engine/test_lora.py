"""LoRAs on rows: who gets what, and that nobody else and nothing afterwards notices."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from backend.engine.lora import Assignment, Bound, RowAdditions, Use, bind, block_weight, check_blocks, read_adapter
from backend.engine.lora_keys import BLOCKS, ldm_names
from backend.errors import InvalidParameter, UnreadableModel
from backend.models.loader import LoadedModel, load
from tests.support.lora import ATTENTION, TEXT, denoised, kohya, merged, product, random_lora, said, save
from tests.support.models import Shelf, shelf

__all__ = ["shelf"]

CONVS = ("conv1", "conv2", "conv_in", "downsamplers.0.conv")


@pytest.fixture(scope="module")
def model(shelf: Shelf) -> LoadedModel:
    return shelf.model("one")


def _bound(
    model: LoadedModel, folder: Path, name: str, seed: int, ends: Sequence[str] = ATTENTION, rank: int = 4
) -> Bound:
    lora = random_lora(model.unet, ends, rank=rank, seed=seed)
    words = random_lora(model.text_encoder, TEXT, rank=rank, seed=seed)
    tensors = kohya(lora, alpha=2.0) | kohya(words, "lora_te_text_model", alpha=2.0)
    return bind(read_adapter(save(folder / f"{seed}.safetensors", tensors), name), model)


@pytest.fixture(scope="module")
def loras(model: LoadedModel, tmp_path_factory: pytest.TempPathFactory) -> tuple[Bound, ...]:
    """Three of different ranks, one of them with convolutions; two with names that are not ASCII."""
    folder = tmp_path_factory.mktemp("loras")
    return (
        _bound(model, folder, "plain", 1),
        _bound(model, folder, "水彩 ✿", 2, (*ATTENTION, *CONVS), rank=7),
        _bound(model, folder, "Ölgemälde", 3, rank=1),
    )


@pytest.fixture
def additions() -> Iterator[RowAdditions]:
    made = RowAdditions()
    yield made
    made.forget()


def _with(model: LoadedModel, uses: dict[tuple[int, int], tuple[Use, ...]], rows: int, order: Sequence[int]) -> Tensor:
    """One forward of `rows` rows; row i holds the input number order[i]."""
    dice = torch.Generator().manual_seed(11)
    x, text = torch.randn(rows, 4, 8, 8, generator=dice), torch.randn(rows, 7, 32, generator=dice)
    times = torch.linspace(900, 100, rows)
    assignments = [Assignment(slice(*span), found) for span, found in uses.items()]
    additions, picked = RowAdditions(), list(order)
    with additions.applied(model.unet, assignments), torch.inference_mode():
        out: Tensor = model.unet(x[picked], times[picked], encoder_hidden_states=text[picked], return_dict=False)[0]
    additions.forget()
    return out


def test_several_at_once_add_up(model: LoadedModel, loras: tuple[Bound, ...], additions: RowAdditions):
    uses = ((loras[0], 0.6, ()), (loras[1], -0.4, ()), (loras[2], 1.3, ()))
    deltas: dict[str, Tensor] = {}
    for seed, ends, rank, weight in (
        (1, ATTENTION, 4, 0.6),
        (2, (*ATTENTION, *CONVS), 7, -0.4),
        (3, ATTENTION, 1, 1.3),
    ):
        for path, pair in random_lora(model.unet, ends, rank=rank, seed=seed).items():
            deltas[path] = deltas.get(path, 0) + weight * (2 / rank) * product(*pair)
    with additions.applied(model.unet, [Assignment(slice(0, 2), uses)]):
        made = denoised(model.unet)
    assert (made - denoised(merged(model.unet, deltas))).abs().max() < 5e-5


def test_pictures_with_different_loras_share_a_forward_and_each_is_as_if_alone(
    model: LoadedModel, loras: tuple[Bound, ...]
):
    first, second = ((loras[0], 0.8, ()), (loras[1], 0.5, ())), ((loras[2], 1.0, ()),)
    alone = _with(model, {(0, 2): first}, 8, [0, 1, *range(2, 8)])[0:2]
    other = _with(model, {(0, 2): second}, 8, [2, 3, 0, 1, *range(4, 8)])[0:2]
    plain = _with(model, {}, 8, range(8))
    together = _with(model, {(5, 7): first, (2, 4): second}, 8, [4, 5, 2, 3, 6, 0, 1, 7])
    assert torch.equal(together[5:7], alone)
    assert torch.equal(together[2:4], other)
    assert torch.equal(together[[0, 1, 4, 7]], plain[[4, 5, 6, 7]])
    assert not torch.equal(alone, plain[0:2])


@settings(max_examples=15, deadline=None)
@given(
    order=st.permutations(range(4)), weights=st.lists(st.sampled_from([0.0, 0.5, 1.0, -1.0]), min_size=4, max_size=4)
)
def test_any_company_at_any_place(model: LoadedModel, loras: tuple[Bound, ...], order: list[int], weights: list[float]):
    def uses(picture: int) -> tuple[Use, ...]:
        return ((loras[picture % 3], weights[picture], ()), (loras[(picture + 1) % 3], weights[picture] / 2, ()))

    together = _with(model, {(at, at + 1): uses(picture) for at, picture in enumerate(order)}, 4, order)
    for at, picture in enumerate(order):
        alone = _with(model, {(0, 1): uses(picture)}, 4, [picture, *(n for n in range(4) if n != picture)])
        assert torch.equal(together[at], alone[0])


def test_weight_zero_is_no_lora_and_registers_nothing(
    model: LoadedModel, loras: tuple[Bound, ...], additions: RowAdditions
):
    plain = denoised(model.unet)
    with additions.applied(model.unet, [Assignment(slice(0, 2), ((loras[0], 0.0, ()), (loras[1], 1.0, (0.0,) * 26)))]):
        assert torch.equal(denoised(model.unet), plain)
        assert not _hooks(model.unet)
    with additions.applied(model.unet, [Assignment(slice(0, 2), ((loras[0], 0.0, ()),))]):
        assert torch.equal(denoised(model.unet), plain)
        assert not _hooks(model.unet)


def _hooks(root: nn.Module) -> list[int]:
    return [id(hook) for module in root.modules() for hook in module._forward_hooks.values()]


def test_the_model_is_as_before_when_nobody_asks_for_a_lora(
    model: LoadedModel, loras: tuple[Bound, ...], additions: RowAdditions
):
    weights = {name: tensor.clone() for name, tensor in model.unet.state_dict().items()}
    plain = denoised(model.unet)
    assignments = [Assignment(slice(0, 1), ((loras[0], 1.0, ()),))]
    with additions.applied(model.unet, assignments):
        touched = denoised(model.unet)
    assert torch.equal(denoised(model.unet), plain), "outside, even while the hooks are kept"
    first = _hooks(model.unet)
    with additions.applied(model.unet, assignments):
        assert _hooks(model.unet) == first, "the same assignment costs nothing"
        assert torch.equal(denoised(model.unet), touched)
    with additions.applied(model.unet, []):
        assert torch.equal(denoised(model.unet), plain)
        assert not _hooks(model.unet)
    assert all(torch.equal(weights[name], tensor) for name, tensor in model.unet.state_dict().items())


def test_an_error_within_leaves_nothing_active(model: LoadedModel, loras: tuple[Bound, ...], additions: RowAdditions):
    plain = denoised(model.unet)
    with (
        pytest.raises(RuntimeError, match="cancelled"),
        additions.applied(model.unet, [Assignment(slice(0, 2), ((loras[0], 1.0, ()),))]),
    ):
        raise RuntimeError("cancelled")
    assert torch.equal(denoised(model.unet), plain)
    additions.forget()
    assert not _hooks(model.unet)


def test_text_and_pictures_keep_their_hooks_side_by_side(
    model: LoadedModel, loras: tuple[Bound, ...], additions: RowAdditions
):
    plain = said(model, model.text_encoder)
    whole = [Assignment(slice(None), ((loras[0], 0.5, ()),))]
    with additions.applied(model.text_encoder, whole):
        touched = said(model, model.text_encoder)
        with additions.applied(model.unet, []):
            denoised(model.unet)
        assert torch.equal(said(model, model.text_encoder), touched)
    assert not torch.equal(touched, plain)
    assert torch.equal(said(model, model.text_encoder), plain)


def test_a_picture_of_two_rows_is_its_own_company(model: LoadedModel, loras: tuple[Bound, ...]):
    """The hooks see rows in the order of the batch, whichever layer they sit on."""
    uses = ((loras[1], 1.0, ()),)
    both = _with(model, {(0, 2): uses, (2, 4): uses}, 4, [0, 1, 0, 1])
    assert torch.equal(both[:2], both[2:])


def test_block_weights_reach_their_blocks(
    model: LoadedModel, loras: tuple[Bound, ...], tmp_path: Path, additions: RowAdditions
):
    lora = random_lora(model.unet, (*ATTENTION, *CONVS))
    bound = bind(read_adapter(save(tmp_path / "b.safetensors", kohya(lora)), "b"), model)
    blocks = tuple(0.1 * number for number in range(26))
    names = ldm_names(model.unet)
    deltas = {}
    for path, pair in lora.items():
        stem = next(s for s in sorted(names, key=len, reverse=True) if path == s or path.startswith(s + "."))
        place, number, *_ = names[stem].split(".")
        index = {"input_blocks": 1 + int(number), "middle_block": 13, "output_blocks": 14 + int(number)}[place]
        deltas[path] = blocks[index] * product(*pair)
    with additions.applied(model.unet, [Assignment(slice(0, 2), ((bound, 1.0, blocks),))]):
        made = denoised(model.unet)
    assert (made - denoised(merged(model.unet, deltas))).abs().max() < 5e-5


@pytest.mark.parametrize("length", [12, 17, 20, 26])
def test_block_lists_begin_with_base_and_have_one_middle(length: int):
    labels = BLOCKS[length]
    assert len(labels) == len(set(labels)) == length
    assert labels[0] == "BASE"
    assert labels.count("M00") == 1
    assert block_weight(tuple(range(length)), "BASE") == 0
    assert block_weight(tuple(range(length)), "M00") == labels.index("M00")


def test_what_block_weights_leave_out():
    seventeen = (0.5,) * 17
    assert block_weight(seventeen, "IN03") == 0.0
    assert block_weight(seventeen, "") == 1.0
    assert block_weight((), "IN03") == 1.0


@pytest.mark.parametrize("length", [1, 16, 25, 100])
def test_block_weights_of_another_length_are_refused(
    model: LoadedModel, loras: tuple[Bound, ...], length: int, additions: RowAdditions
):
    with pytest.raises(InvalidParameter, match=f"{length} block weights"):
        check_blocks((1.0,) * length)
    use = (loras[0], 1.0, (1.0,) * length)
    with pytest.raises(InvalidParameter), additions.applied(model.unet, [Assignment(slice(0, 2), (use,))]):
        pass


def test_a_lora_for_another_width_of_text_is_refused_and_says_so(shelf: Shelf, tmp_path: Path):
    wide = shelf.model("wide")
    adapter = read_adapter(save(tmp_path / "w.safetensors", kohya(random_lora(wide.unet))), "Wide 水")
    with pytest.raises(InvalidParameter, match=r'"Wide 水" was made for .* width 64; this one has 32'):
        bind(adapter, shelf.model("one"))


def test_a_lora_for_layers_of_another_size_names_the_first(model: LoadedModel, tmp_path: Path):
    layer = "lora_unet_mid_block_attentions_0_proj_in"
    tensors = {
        f"{layer}.lora_down.weight": torch.zeros(4, 320, 1, 1),
        f"{layer}.lora_up.weight": torch.zeros(320, 4, 1, 1),
    }
    with pytest.raises(InvalidParameter, match=r"mid_block\.attentions\.0\.proj_in is 320 x 320 x 1 x 1; .* 64 x 64"):
        bind(read_adapter(save(tmp_path / "x.safetensors", tensors), "x"), model)


def test_a_lora_for_another_kind_of_network_is_refused_even_if_its_text_encoder_fits(
    model: LoadedModel, tmp_path: Path
):
    tensors = kohya(random_lora(model.text_encoder, TEXT), "lora_te1_text_model")
    pair = torch.zeros(4, 16), torch.zeros(16, 4)
    tensors |= kohya({"double_blocks.0.img_attn.qkv": pair})
    with pytest.raises(InvalidParameter, match="double_blocks"):
        bind(read_adapter(save(tmp_path / "flux.safetensors", tensors), "flux"), model)


def test_layers_that_this_model_lacks_are_listed(model: LoadedModel, tmp_path: Path):
    pair = torch.zeros(4, 16), torch.zeros(16, 4)
    tensors = kohya(random_lora(model.unet)) | kohya({"down_blocks.7.attentions.0.proj_in": pair})
    bound = bind(read_adapter(save(tmp_path / "more.safetensors", tensors), "more"), model)
    assert bound.unused == ("lora_unet_down_blocks_7_attentions_0_proj_in",)
    assert bound.size == sum(t.numel() * 4 for pair in random_lora(model.unet).values() for t in pair)


_ROLES: dict[str, dict[str, Any]] = {
    "half a pair": {"lora_down.weight": torch.zeros(4, 32)},
    "ranks that differ": {"lora_down.weight": torch.zeros(4, 32), "lora_up.weight": torch.zeros(32, 5)},
    "vectors": {"lora_down.weight": torch.zeros(4), "lora_up.weight": torch.zeros(32)},
    "half a LoHa": {"hada_w1_a": torch.zeros(32, 2), "hada_w1_b": torch.zeros(2, 32)},
    "half a LoKr": {"lokr_w1": torch.zeros(4, 4), "lokr_w2_a": torch.zeros(8, 2)},
}


@pytest.mark.parametrize("roles", _ROLES.values(), ids=_ROLES)
def test_incomplete_patches_are_refused_by_name(model: LoadedModel, tmp_path: Path, roles: dict[str, Tensor]):
    layer = "lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_attn1_to_q"
    tensors = {f"{layer}.{role}": tensor for role, tensor in roles.items()}
    with pytest.raises((UnreadableModel, InvalidParameter), match="incomplete"):
        bind(read_adapter(save(tmp_path / "half.safetensors", tensors), "half"), model)


_SIDES = st.sampled_from([0, 1, 2, 3, 4, 8, 16, 32, 64])
_ENDS = [
    "lora_up.weight", "lora_down.weight", "lora_mid.weight", "alpha", "dora_scale", "diff", "diff_b", "w_norm",
    "hada_w1_a", "hada_w1_b", "hada_w2_a", "hada_w2_b", "hada_t1", "hada_t2", "lokr_w1", "lokr_w1_a", "lokr_w1_b",
    "lokr_w2", "lokr_w2_a", "lokr_w2_b", "lokr_t2",
]  # fmt: skip
_SHAPES = st.dictionaries(
    st.sampled_from(_ENDS), st.lists(_SIDES, max_size=5).filter(lambda s: len(s) < 5 or 0 in s), min_size=1, max_size=5
)
_LAYERS = st.sampled_from(
    [
        "down_blocks_0_attentions_0_proj_in",
        "mid_block_resnets_0_conv1",
        "mid_block_resnets_0_norm1",
        "time_embedding_linear_1",
    ]
)


@settings(max_examples=150, deadline=None)
@given(layer=_LAYERS, shapes=_SHAPES)
def test_tensors_of_any_shape_are_used_or_refused(
    model: LoadedModel, tmp_path_factory: pytest.TempPathFactory, layer: str, shapes: dict[str, list[int]]
):
    tensors = {f"lora_unet_{layer}.{end}": torch.full(shape, 0.01) for end, shape in shapes.items()}
    file = save(tmp_path_factory.getbasetemp() / "any.safetensors", tensors)
    try:
        bound = bind(read_adapter(file, "any"), model)
    except (InvalidParameter, UnreadableModel):
        return
    additions = RowAdditions()
    with additions.applied(model.unet, [Assignment(slice(0, 1), ((bound, 1.0, ()),))]):
        assert denoised(model.unet).shape == (2, 4, 8, 8)
    additions.forget()


def test_factors_whose_product_would_fill_the_memory_are_never_multiplied(model: LoadedModel, tmp_path: Path):
    layer = "lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_attn1_to_q"
    big = torch.zeros(3000, 3000)
    for roles in (
        {"lokr_w1": big, "lokr_w2": big},
        {"hada_w1_a": big, "hada_w1_b": big, "hada_w2_a": big, "hada_w2_b": big},
    ):
        tensors = {f"{layer}.{role}": tensor.clone() for role, tensor in roles.items()}
        with pytest.raises(InvalidParameter, match="was made for"):
            bind(read_adapter(save(tmp_path / "bomb.safetensors", tensors), "bomb"), model)


def test_files_that_are_no_loras_are_refused_with_a_reason(tmp_path: Path):
    def refused(file: Path) -> str:
        with pytest.raises(UnreadableModel) as told:
            read_adapter(file, "mine")
        return told.value.problem.detail

    assert "No LoRA" in refused(save(tmp_path / "a.safetensors", {"model.out.weight": torch.zeros(2)}))
    assert "textual inversion" in refused(save(tmp_path / "a.safetensors", {"emb_params": torch.zeros(2, 4)}))
    assert "OFT" in refused(save(tmp_path / "a.safetensors", {"lora_unet_x.oft_blocks": torch.zeros(2, 4)}))
    assert "pickle" in refused(tmp_path / "a.pt")
    whole = {"lora_unet_x.lora_up.weight": torch.tensor([[1, 2]])}
    assert "floating-point" in refused(save(tmp_path / "a.safetensors", whole))
    nan = {"lora_unet_x.lora_up.weight": torch.full((2, 2), float("nan"))}
    assert "not numbers" in refused(save(tmp_path / "a.safetensors", nan))
    torn = save(tmp_path / "a.safetensors", {"lora_unet_x.lora_up.weight": torch.zeros(8, 8)})
    torn.write_bytes(torn.read_bytes()[:-5])
    assert "cut off" in refused(torn)


def test_metadata_and_a_unicode_name_come_along(model: LoadedModel, tmp_path: Path):
    metadata = {"ss_output_name": "Aquarell – 水彩", "modelspec.title": "Ａ"}
    file = save(tmp_path / "Aquarell – 水彩.safetensors", kohya(random_lora(model.unet)), metadata)
    adapter = read_adapter(file, "Aquarell – 水彩")
    assert (adapter.name, dict(adapter.metadata)) == ("Aquarell – 水彩", metadata)


def test_a_denoiser_kept_in_eight_bits_computes_loras_in_its_own_precision(shelf: Shelf, tmp_path: Path):
    small = load(shelf.info("one"), torch.device("cpu"), torch.float32, "fp8")
    bound = bind(read_adapter(save(tmp_path / "s.safetensors", kohya(random_lora(small.unet))), "s"), small)
    plain, additions = denoised(small.unet), RowAdditions()
    with additions.applied(small.unet, [Assignment(slice(0, 1), ((bound, 1.0, ()),))]):
        made = denoised(small.unet)
    assert torch.equal(made[1], plain[1])
    assert (made[0] - plain[0]).abs().max() > 1e-3
    additions.forget()
