"""Pictures as prompts (IP-Adapter, Ye et al. 2023): a second attention over image tokens beside the one over words.

The denoiser is left as it is. While a forward runs, hooks at its text attentions add, for exactly the rows that asked,
weight * attention(query, image keys, image values) before the output projection; all other rows pass untouched.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from diffusers.loaders.unet import UNet2DConditionLoadersMixin
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional
from transformers import CLIPVisionModelWithProjection

from backend.errors import Unavailable, UnreadableModel
from backend.models import formats

_MEAN, _STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
"""Of CLIP's training pictures, per channel."""


class ImagePromptNet(nn.Module):
    """An IP-Adapter with its vision model. `keys` and `values` are (inner, D) per text attention, in diffusers' order.

    `patches` says that the adapter looks at CLIP's patches ("plus" and "full face") and not at its one summary.
    """

    def __init__(
        self, projection: nn.Module, keys: Sequence[Tensor], values: Sequence[Tensor], encoder: Any, *, patches: bool
    ) -> None:
        super().__init__()
        self.projection = projection
        self.keys = nn.ParameterList([nn.Parameter(key, requires_grad=False) for key in keys])
        self.values = nn.ParameterList([nn.Parameter(value, requires_grad=False) for value in values])
        self.encoder = encoder
        self.patches = patches

    def mismatch(self, unet: Any) -> str:
        """Why this adapter does not fit the denoiser `unet`; "" if it does."""
        mine = [tuple(key.shape) for key in self.keys]
        theirs = [(attention.inner_dim, unet.config.cross_attention_dim) for attention in text_attentions(unet)]
        if mine[0][1] != theirs[0][1]:
            return f"its text width is {mine[0][1]}, the checkpoint's {theirs[0][1]}"
        return "" if mine == theirs else f"its {len(mine)} attentions are not the checkpoint's {len(theirs)}"

    def tokens(self, picture: Tensor) -> Tensor:
        """Image tokens (2, T, D) of a picture (1, 3, H, W) in [0, 1]: for unconditional rows and for rows with the
        prompt."""
        seen = _clip_input(picture, self.encoder.config.image_size).to(self.keys[0].dtype)
        if self.patches:  # the unconditional row sees a picture of nothing
            both = self.encoder(torch.cat([torch.zeros_like(seen), seen]), output_hidden_states=True).hidden_states[-2]
        else:
            summary = self.encoder(seen).image_embeds
            both = torch.cat([torch.zeros_like(summary), summary])
        made: Tensor = self.projection(both)
        return made


@dataclass(frozen=True, slots=True)
class ImagePrompt:
    """One IP-Adapter unit at work; `tokens` are what ImagePromptNet.tokens gave, computed once per picture."""

    net: ImagePromptNet
    tokens: Tensor
    weight: float = 1.0
    start: float = 0.0
    end: float = 1.0

    def active(self, share: float) -> bool:
        return self.weight != 0 and self.start <= share and (share < self.end or self.end >= 1)

    def rows(self, conditional: Sequence[bool]) -> Tensor:
        """Tokens (R, T, D) for rows that carry the prompt or do not."""
        return self.tokens[[int(here) for here in conditional]]


Part = tuple[slice, Sequence[bool], Sequence[ImagePrompt]]
"""Rows of one picture in the batch, which of them carry the prompt, and the units that act at this step."""


@contextmanager
def image_attention(unet: Any, parts: Sequence[Part]) -> Iterator[None]:
    """While open, forwards of `unet` look at the pictures as well. Costs nothing when no part has a unit."""
    work = [(rows, prompt, prompt.rows(conditional)) for rows, conditional, prompts in parts for prompt in prompts]
    with ExitStack() as hooks:
        if work:
            for number, attention in enumerate(text_attentions(unet)):
                for handle in _hook(attention, number, work):
                    hooks.callback(handle.remove)
        yield


def text_attentions(unet: Any) -> tuple[Any, ...]:
    """Down, up, middle: the order in which adapters number their weights."""
    return tuple(module for name, module in unet.named_modules() if name.endswith(".attn2"))


def _hook(attention: Any, number: int, work: Sequence[tuple[slice, ImagePrompt, Tensor]]) -> Iterator[Any]:
    queries: list[Tensor] = []

    def keep(_: nn.Module, __: Any, query: Tensor) -> None:
        queries.append(query)

    def add(_: nn.Module, arguments: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        query, hidden = queries.pop(), arguments[0].clone()
        for rows, prompt, tokens in work:
            key = functional.linear(tokens, prompt.net.keys[number])
            value = functional.linear(tokens, prompt.net.values[number])
            hidden[rows] += prompt.weight * _attend(query[rows], key, value, attention.heads)
        return (hidden, *arguments[1:])

    yield attention.to_q.register_forward_hook(keep)
    yield attention.to_out[0].register_forward_pre_hook(add)


def _attend(query: Tensor, key: Tensor, value: Tensor, heads: int) -> Tensor:
    """(R, N, inner) over (R, T, inner), as diffusers' own processors do it."""
    query, key, value = (t.view(*t.shape[:2], heads, -1).transpose(1, 2) for t in (query, key, value))
    return functional.scaled_dot_product_attention(query, key, value).transpose(1, 2).flatten(2).to(query.dtype)


def _clip_input(picture: Tensor, side: int) -> Tensor:
    """CLIP's own view: shorter side to `side` (bicubic), middle square, normalised."""
    height, width = picture.shape[-2:]
    factor = side / min(height, width)
    size = max(side, round(height * factor)), max(side, round(width * factor))
    scaled = functional.interpolate(picture.float(), size, mode="bicubic", antialias=True).clamp(0, 1)
    top, left = (size[0] - side) // 2, (size[1] - side) // 2
    square = scaled[..., top : top + side, left : left + side]
    mean, std = (torch.tensor(values, device=picture.device).view(1, 3, 1, 1) for values in (_MEAN, _STD))
    return (square - mean) / std


def load(path: Path, encoders: Sequence[Path], dtype: torch.dtype) -> ImagePromptNet:
    """An IP-Adapter file with the vision model it was trained on, looked for below `encoders` and beside the file."""
    formats.read_header(path)
    tensors = load_file(path)
    projection, attention = _part(tensors, "image_proj."), _part(tensors, "ip_adapter.")
    if not projection or not attention:
        raise UnreadableModel(path.name, "The file has no image_proj and ip_adapter weights, so it is no IP-Adapter.")
    entrance, patches = _entrance(path, projection)
    encoder = _encoder((*encoders, path.parent / "image_encoder"), entrance, patches=patches)
    numbers = sorted({int(name.split(".")[0]) for name in attention if name.endswith("to_k_ip.weight")})
    module: nn.Module = UNet2DConditionLoadersMixin()._convert_ip_adapter_image_proj_to_diffusers(
        projection, low_cpu_mem_usage=False
    )
    net = ImagePromptNet(
        module,
        [attention[f"{number}.to_k_ip.weight"] for number in numbers],
        [attention[f"{number}.to_v_ip.weight"] for number in numbers],
        encoder,
        patches=patches,
    )
    return net.to(dtype)


def _part(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}


def _entrance(path: Path, projection: Mapping[str, Tensor]) -> tuple[int, bool]:
    """(width the adapter expects from the vision model, whether it looks at patches)."""
    named = projection.keys()
    faces = "perceiver_resampler.proj_in.weight" in named or {"proj.0.weight", "norm.weight"} <= named
    if faces:
        raise UnreadableModel(path.name, "This is a FaceID adapter, which needs a face recognition model.")
    for name, patches in (("proj.weight", False), ("proj_in.weight", True), ("proj.0.weight", True)):
        if name in projection:
            return int(projection[name].shape[1]), patches
    raise UnreadableModel(path.name, "The image projection of this IP-Adapter is of an unknown kind.")


def _encoder(folders: Sequence[Path], width: int, *, patches: bool) -> Any:
    """The first CLIP vision model whose output is `width` wide."""
    key = "hidden_size" if patches else "projection_dim"
    for folder in folders:
        for candidate in (folder, *sorted(path for path in folder.glob("*") if path.is_dir())):
            if not (candidate / "config.json").is_file() or not (candidate / "model.safetensors").is_file():
                continue
            config = formats.read_json(candidate / "config.json")
            if config.get("model_type") == "clip_vision_model" and config.get(key) == width:
                formats.read_header(candidate / "model.safetensors")
                return CLIPVisionModelWithProjection.from_pretrained(
                    candidate, local_files_only=True, use_safetensors=True
                )
    raise Unavailable(
        f"This IP-Adapter needs the CLIP vision model it was trained with ({key} {width}), and none was found.",
        f"Put its folder (config.json and model.safetensors) below {folders[0]}.",
    )
