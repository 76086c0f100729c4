"""IP-Adapters: the same numbers as diffusers, for the rows that asked."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from backend.engine.control_loader import check_fit, load_control
from backend.engine.image_prompt import ImagePrompt, ImagePromptNet, image_attention
from backend.errors import InvalidParameter, Unavailable, UnreadableModel
from tests.support import control, tiny

CPU = torch.device("cpu")
SIDE = tiny.SIZE // 2


def made(folder: Path, *, plus: bool = False) -> ImagePromptNet:
    """An IP-Adapter file with its vision model, loaded."""
    save_file(control.image_prompt_tensors(tiny.pipeline("sd1").unet, plus=plus), folder / "faces.safetensors")
    control.vision_model().save_pretrained(folder / "clip" / "vit")
    loaded = load_control(
        control.info(folder / "faces.safetensors", "ip-adapter"), CPU, torch.float32, (folder / "clip",)
    )
    check_fit(loaded, tiny.pipeline("sd1").unet, 2)
    net: ImagePromptNet = loaded.net
    return net


def rows(count: int) -> tuple[Tensor, Tensor, Tensor]:
    dice = torch.Generator().manual_seed(0)
    inputs = torch.randn(count, 4, SIDE, SIDE, generator=dice)
    return inputs, torch.full((count,), 601.0), torch.randn(count, 77, 32, generator=dice)


def forward(unet: Any, batch: tuple[Tensor, Tensor, Tensor], **extra: Any) -> Tensor:
    inputs, times, texts = batch
    with torch.inference_mode():
        out: Tensor = unet(inputs, times, encoder_hidden_states=texts, return_dict=False, **extra)[0]
    return out


def picture() -> Tensor:
    return torch.rand(1, 3, 20, 31, generator=torch.Generator().manual_seed(3))


@pytest.mark.parametrize("plus", [False, True])
@pytest.mark.filterwarnings("ignore")
def test_the_denoiser_answers_as_in_diffusers(plus: bool, tmp_path: Path) -> None:
    net = made(tmp_path, plus=plus)
    prompt = ImagePrompt(net, net.tokens(picture()), weight=0.6)
    unet, stock, batch = tiny.pipeline("sd1").unet, tiny.pipeline("sd1").unet, rows(2)
    with image_attention(unet, [(slice(0, 2), [False, True], [prompt])]):
        ours = forward(unet, batch)
    tensors = control.image_prompt_tensors(stock, plus=plus)
    parts: dict[str, dict[str, Tensor]] = {"image_proj": {}, "ip_adapter": {}}
    for name, tensor in tensors.items():
        part, _, rest = name.partition(".")
        parts[part][rest] = tensor
    stock._load_ip_adapter_weights([parts], low_cpu_mem_usage=False)
    for processor in stock.attn_processors.values():
        if hasattr(processor, "scale"):
            processor.scale = [0.6]
    stock.encoder_hid_proj.image_projection_layers[0] = torch.nn.Identity()
    expected = forward(stock, batch, added_cond_kwargs={"image_embeds": [prompt.tokens[:, None]]})
    assert torch.allclose(ours, expected, atol=1e-5)
    assert not torch.allclose(ours, forward(unet, batch), atol=1e-3)


def test_only_the_rows_that_asked_see_the_picture(tmp_path: Path) -> None:
    net = made(tmp_path)
    unet, batch = tiny.pipeline("sd1").unet, rows(8)
    free = forward(unet, batch)
    prompt = ImagePrompt(net, net.tokens(picture()))
    with image_attention(unet, [(slice(2, 4), [False, True], [prompt]), (slice(4, 6), [False, True], [])]):
        mixed = forward(unet, batch)
    assert torch.equal(mixed[[0, 1, 4, 5, 6, 7]], free[[0, 1, 4, 5, 6, 7]])
    assert not torch.allclose(mixed[2:4], free[2:4], atol=1e-3)
    assert torch.equal(forward(unet, batch), free), "nothing stays behind"


def test_two_pictures_in_one_batch_each_have_their_own_weight(tmp_path: Path) -> None:
    net = made(tmp_path)
    unet, batch = tiny.pipeline("sd1").unet, rows(4)
    strong, weak = (ImagePrompt(net, net.tokens(picture()), weight=weight) for weight in (1.0, 0.3))
    parts = [(slice(0, 2), [False, True], [strong]), (slice(2, 4), [False, True], [weak])]
    outs = []
    for chosen in (parts, parts[:1], parts[1:]):
        with image_attention(unet, chosen):
            outs.append(forward(unet, batch))
    assert torch.equal(outs[0][:2], outs[1][:2])
    assert torch.equal(outs[0][2:], outs[2][2:])


def test_an_image_prompt_acts_from_its_start_until_its_end(tmp_path: Path) -> None:
    net = made(tmp_path)
    prompt = ImagePrompt(net, net.tokens(picture()), start=0.2, end=0.5)
    assert [prompt.active(share) for share in (0.0, 0.2, 0.4, 0.5)] == [False, True, True, False]


def test_a_missing_vision_model_is_named_with_its_place(tmp_path: Path) -> None:
    path = tmp_path / "faces.safetensors"
    save_file(control.image_prompt_tensors(tiny.pipeline("sd1").unet), path)
    with pytest.raises(Unavailable, match=r"CLIP vision model .*projection_dim 24") as caught:
        load_control(control.info(path, "ip-adapter"), CPU, torch.float32, (tmp_path / "clip",))
    assert str(tmp_path / "clip") in str(caught.value.problem.hint)


def test_a_vision_model_of_another_width_does_not_serve(tmp_path: Path) -> None:
    path = tmp_path / "faces.safetensors"
    tensors = control.image_prompt_tensors(tiny.pipeline("sd1").unet)
    tensors["image_proj.proj.weight"] = torch.zeros(4 * 32, 99)
    save_file(tensors, path)
    control.vision_model().save_pretrained(tmp_path / "image_encoder")
    with pytest.raises(Unavailable, match="projection_dim 99"):
        load_control(control.info(path, "ip-adapter"), CPU, torch.float32, (tmp_path / "clip",))


def test_an_adapter_for_another_text_width_is_refused(tmp_path: Path) -> None:
    made(tmp_path)
    loaded = load_control(
        control.info(tmp_path / "faces.safetensors", "ip-adapter"), CPU, torch.float32, (tmp_path / "clip",)
    )
    with pytest.raises(InvalidParameter, match="text width is 32, the checkpoint's 64"):
        check_fit(loaded, tiny.pipeline("sd2").unet, 2)


def test_an_adapter_with_too_few_attentions_is_refused(tmp_path: Path) -> None:
    unet = tiny.pipeline("sd1").unet
    tensors = control.image_prompt_tensors(unet)
    last = max(int(name.split(".")[1]) for name in tensors if name.startswith("ip_adapter."))
    kept = {name: tensor for name, tensor in tensors.items() if not name.startswith(f"ip_adapter.{last}.")}
    save_file(kept, tmp_path / "short.safetensors")
    control.vision_model().save_pretrained(tmp_path / "image_encoder")
    loaded = load_control(control.info(tmp_path / "short.safetensors", "ip-adapter"), CPU, torch.float32)
    with pytest.raises(InvalidParameter, match="attentions are not the checkpoint's"):
        check_fit(loaded, unet, 2)


def test_face_id_is_told_apart(tmp_path: Path) -> None:
    path = tmp_path / "face.safetensors"
    save_file(
        {f"image_proj.{n}.weight": torch.zeros(2, 2) for n in ("proj.0", "norm")}
        | {"ip_adapter.1.to_k_ip.weight": torch.zeros(2, 2)},
        path,
    )
    with pytest.raises(UnreadableModel, match="FaceID"):
        load_control(control.info(path, "ip-adapter"), CPU, torch.float32, (tmp_path,))
