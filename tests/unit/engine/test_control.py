"""ControlNets and T2I-Adapters: the same numbers as diffusers, row by row, and nothing for anybody else."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import StableDiffusionControlNetPipeline
from torch import Tensor

from backend.engine.control import SOFT, Guide, Residuals, distances, masked_hint, residuals, scatter
from backend.engine.control_loader import LoadedControl, load_control
from tests.support import control, tiny

CPU = torch.device("cpu")
SIDE = tiny.SIZE // 2
pytestmark = pytest.mark.usefixtures("_one_thread")


@pytest.fixture(scope="module")
def _one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="module")
def unet() -> Any:
    return tiny.pipeline("sd1").unet


@pytest.fixture(scope="module")
def nets(tmp_path_factory: pytest.TempPathFactory) -> dict[str, LoadedControl]:
    folder = tmp_path_factory.mktemp("control")
    control.controlnet().save_pretrained(folder / "edges")
    control.controlnet(seed=11).save_pretrained(folder / "depth")
    control.controlnet(seed=12, global_pool_conditions=True).save_pretrained(folder / "pooled")
    control.adapter().save_pretrained(folder / "adapter")
    kinds = {"adapter": "t2i-adapter"}
    return {
        path.name: load_control(control.info(path, kinds.get(path.name, "controlnet")), CPU, torch.float32)
        for path in folder.iterdir()
    }


def rows(count: int, seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    """Denoiser inputs, times and texts of `count` rows."""
    dice = torch.Generator().manual_seed(seed)
    inputs = torch.randn(count, 4, SIDE, SIDE, generator=dice)
    return inputs, torch.full((count,), 601.0), torch.randn(count, 77, 32, generator=dice)


def hint(seed: int = 5) -> Tensor:
    return torch.rand(1, 3, tiny.SIZE, tiny.SIZE, generator=torch.Generator().manual_seed(seed))


def forward(unet: Any, batch: tuple[Tensor, Tensor, Tensor], extra: dict[str, Any] | None = None) -> Tensor:
    inputs, times, texts = batch
    with torch.inference_mode():
        out: Tensor = unet(inputs, times, encoder_hidden_states=texts, return_dict=False, **(extra or {}))[0]
    return out


def guided(guides: list[Guide], batch: tuple[Tensor, Tensor, Tensor], share: float = 0.0) -> Residuals | None:
    conditional = [bool(number % 2) for number in range(len(batch[0]))] if len(batch[0]) > 1 else [True]
    with torch.inference_mode():
        return residuals(guides, *batch, None, conditional, share)


def found(guides: list[Guide], batch: tuple[Tensor, Tensor, Tensor], share: float = 0.0) -> Residuals:
    made = guided(guides, batch, share)
    assert made is not None
    return made


def test_a_whole_picture_comes_out_as_in_the_stock_pipeline(nets: dict[str, LoadedControl]) -> None:
    pipe = tiny.pipeline("sd1")
    parts = {name: part for name, part in pipe.components.items() if name != "image_encoder"}
    stock = StableDiffusionControlNetPipeline(**parts, controlnet=control.controlnet(), requires_safety_checker=False)
    stock.set_progress_bar_config(disable=True)
    start = torch.randn(1, 4, SIDE, SIDE, generator=torch.Generator().manual_seed(1))
    texts = torch.randn(2, 77, 32, generator=torch.Generator().manual_seed(2))
    expected = stock(
        prompt_embeds=texts[1:], negative_prompt_embeds=texts[:1], image=hint(), latents=start, output_type="latent",
        num_inference_steps=4, guidance_scale=5.0, controlnet_conditioning_scale=0.7, control_guidance_start=0.25,
        control_guidance_end=0.75,
    ).images  # fmt: skip
    scheduler = pipe.scheduler
    scheduler.set_timesteps(4)
    guide = Guide(nets["edges"], hint(), weight=0.7, start=0.25, end=0.75)
    sample = start * scheduler.init_noise_sigma
    for step, time in enumerate(scheduler.timesteps):
        batch = (sample.repeat(2, 1, 1, 1), time.float().repeat(2), texts)
        made = guided([guide], batch, share=step / 4)
        assert (made is not None) == (step in (1, 2))
        outputs = forward(pipe.unet, batch, scatter([(slice(0, 2), made)], 2) if made else {})
        unconditional, conditional = outputs.chunk(2)
        sample = scheduler.step(unconditional + 5.0 * (conditional - unconditional), time, sample).prev_sample
    assert torch.allclose(sample, expected, atol=1e-5)


def test_rows_without_control_come_out_bit_by_bit_as_if_nobody_had_any(
    unet: Any, nets: dict[str, LoadedControl]
) -> None:
    batch = rows(8)
    own = tuple(tensor[2:4] for tensor in batch)
    guides = [Guide(nets["edges"], hint()), Guide(nets["adapter"], hint(6))]
    mixed = forward(unet, batch, scatter([(slice(2, 4), found(guides, own))], 8))
    free = forward(unet, batch)
    others = [0, 1, 4, 5, 6, 7]
    assert torch.equal(mixed[others], free[others])
    assert not torch.allclose(mixed[2:4], free[2:4], atol=1e-3)


def test_each_picture_in_a_batch_gets_its_own_control(unet: Any, nets: dict[str, LoadedControl]) -> None:
    batch = rows(4)
    first, second = tuple(t[:2] for t in batch), tuple(t[2:] for t in batch)
    of_first, of_second = found([Guide(nets["edges"], hint())], first), found([Guide(nets["adapter"], hint(6))], second)
    mixed = forward(unet, batch, scatter([(slice(0, 2), of_first), (slice(2, 4), of_second)], 4))
    alone = forward(unet, batch, scatter([(slice(0, 2), of_first)], 4))
    other = forward(unet, batch, scatter([(slice(2, 4), of_second)], 4))
    assert torch.equal(mixed[:2], alone[:2])
    assert torch.equal(mixed[2:], other[2:])


def test_a_batch_without_control_passes_nothing() -> None:
    assert scatter([], 8) == {}


def test_a_guide_acts_from_its_start_until_its_end(nets: dict[str, LoadedControl]) -> None:
    guide = Guide(nets["edges"], hint(), start=0.2, end=0.5)
    acting = [step / 10 for step in range(10) if guided([guide], rows(1), step / 10)]
    assert acting == [0.2, 0.3, 0.4]
    assert guided([Guide(nets["edges"], hint(), end=1.0)], rows(1), 1.0) is not None
    assert guided([Guide(nets["edges"], hint(), weight=0.0)], rows(1)) is None
    assert guided([], rows(1)) is None


def test_the_effect_grows_with_the_weight(nets: dict[str, LoadedControl]) -> None:
    half, whole = (found([Guide(nets["edges"], hint(), weight=weight)], rows(2)) for weight in (0.5, 1.0))
    assert all(torch.allclose(2 * a, b) for a, b in zip(half.down, whole.down, strict=True))
    assert half.mid is not None and whole.mid is not None
    assert torch.allclose(2 * half.mid, whole.mid)


def test_my_prompt_first_weakens_blocks_far_from_the_middle(nets: dict[str, LoadedControl]) -> None:
    plain, soft = (found([Guide(nets["edges"], hint(), mode=mode)], rows(2)) for mode in ("balanced", "prompt"))
    blocks = len(plain.down)
    for number, (one, other) in enumerate(zip(plain.down, soft.down, strict=True)):
        assert torch.allclose(other, one * SOFT ** (blocks - number))
    assert plain.mid is not None and soft.mid is not None
    assert torch.equal(plain.mid, soft.mid)


def test_soft_weights_are_those_of_a1111_for_sd1_and_sdxl() -> None:
    assert distances(12) == tuple(range(12, -1, -1))
    assert distances(9) == tuple(range(12, 2, -1)), "the middle of SDXL counts as its tenth block, three from the end"


@pytest.mark.parametrize("name", ["edges", "adapter", "pooled"])
def test_control_first_leaves_the_unconditional_rows_alone(name: str, nets: dict[str, LoadedControl]) -> None:
    made = found([Guide(nets[name], hint(), mode="control")], rows(2))
    tensors = [*made.down, *(made.intrablock or ()), *([made.mid] if made.mid is not None else [])]
    assert tensors
    assert all(not tensor[0].any() and tensor[1].any() for tensor in tensors)


def test_a_pooled_control_speaks_to_the_conditional_row_alone_and_everywhere_alike(
    unet: Any, nets: dict[str, LoadedControl]
) -> None:
    made = found([Guide(nets["pooled"], hint())], rows(2))
    assert all(tensor.shape[2:] == (1, 1) and not tensor[0].any() for tensor in made.down)
    batch = rows(4)
    both = scatter([(slice(0, 2), made), (slice(2, 4), found([Guide(nets["edges"], hint())], rows(2)))], 4)
    assert torch.equal(forward(unet, batch, both)[0], forward(unet, batch)[0])


def test_units_add_up(nets: dict[str, LoadedControl]) -> None:
    one, two, three = (Guide(nets[name], hint()) for name in ("edges", "depth", "adapter"))
    together, first, second = (found(guides, rows(2)) for guides in ([one, two, three], [one], [two]))
    assert all(
        torch.allclose(a, b + c, atol=1e-6)
        for a, b, c in zip(together.down, first.down, second.down, strict=True)
    )  # fmt: skip
    assert together.intrablock is not None and first.intrablock is None


def test_adapters_act_as_in_diffusers(unet: Any, nets: dict[str, LoadedControl]) -> None:
    batch = rows(2)
    with torch.inference_mode():
        features = [feature.repeat(2, 1, 1, 1) * 0.8 for feature in control.adapter()(hint())]
    expected = forward(unet, batch, {"down_intrablock_additional_residuals": features})
    made = found([Guide(nets["adapter"], hint(), weight=0.8)], batch)
    assert torch.equal(forward(unet, batch, scatter([(slice(0, 2), made)], 2)), expected)


def test_a_repainting_denoiser_shows_the_control_its_latent_alone(nets: dict[str, LoadedControl]) -> None:
    inputs, times, texts = rows(2)
    nine = torch.cat([inputs, torch.randn(2, 5, SIDE, SIDE)], dim=1)
    plain, wide = (found([Guide(nets["edges"], hint())], (x, times, texts)) for x in (inputs, nine))
    assert all(torch.equal(a, b) for a, b in zip(plain.down, wide.down, strict=True))


def test_sdxl_conditions_reach_the_control(tmp_path: Path) -> None:
    added = {"addition_embed_type": "text_time", "addition_time_embed_dim": 8}
    control.controlnet(**added, projection_class_embeddings_input_dim=8 * 6 + 16).save_pretrained(tmp_path / "xl")
    net = load_control(control.info(tmp_path / "xl", "controlnet"), CPU, torch.float32)
    made = [
        residuals(
            [Guide(net, hint())], *rows(2), {"text_embeds": torch.ones(2, 16), "time_ids": torch.full((2, 6), size)},
            [False, True], 0.0,
        )
        for size in (512.0, 1024.0)
    ]  # fmt: skip
    assert made[0] is not None and made[1] is not None
    assert not torch.allclose(made[0].down[1], made[1].down[1])


def test_a_hint_for_repainting_marks_what_is_missing() -> None:
    mask = torch.zeros(1, 1, tiny.SIZE, tiny.SIZE)
    mask[..., :5] = 1
    marked = masked_hint(hint(), mask)
    assert (marked[..., :5] == -1).all()
    assert torch.equal(marked[..., 5:], hint()[..., 5:])
