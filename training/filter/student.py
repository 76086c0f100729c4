"""The network of safety.prompt_filter.network in torch, started from the first layers of a sentence encoder.

The encoder is all-MiniLM-L6-v2 (Apache-2.0): word pieces projected onto their main axes, the feed-forward parts cut to
the neurons that speak most, the first layers only.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional as F

from safety.prompt_filter.wordpiece import FIRST, LAST, PADDING, UNKNOWN

HEADS, WIDTH = 12, 384


@dataclass(frozen=True, slots=True)
class Shape:
    pieces: int = 16_000
    narrow: int = 160
    layers: int = 2
    inner: int = 512
    longest: int = 64


def vocabulary(path: Path, keep: int) -> tuple[list[str], list[int]]:
    """The pieces to keep, in their old order, and their old numbers: the `keep` most frequent that are ASCII, and all
    single characters."""
    every = (path / "vocab.txt").read_text(encoding="utf-8").splitlines()
    special = (PADDING, UNKNOWN, FIRST, LAST)
    single = {number for number, piece in enumerate(every) if piece.isascii() and len(piece.removeprefix("##")) == 1}
    usual = [
        number
        for number, piece in enumerate(every)
        if piece.isascii() and not piece.startswith("[unused") and piece not in special
    ]
    kept = sorted({*usual[:keep], *single})
    numbers = [every.index(piece) for piece in special] + [n for n in kept if every[n] not in special]
    return [every[number] for number in numbers], numbers


class Block(nn.Module):
    def __init__(self, inner: int) -> None:
        super().__init__()
        self.join, self.mix = nn.Linear(WIDTH, 3 * WIDTH), nn.Linear(WIDTH, WIDTH)
        self.up, self.down = nn.Linear(WIDTH, inner), nn.Linear(inner, WIDTH)
        self.mix_norm, self.out_norm = nn.LayerNorm(WIDTH, 1e-12), nn.LayerNorm(WIDTH, 1e-12)
        self.drop = nn.Dropout(0.1)

    def forward(self, state: Tensor, present: Tensor) -> Tensor:
        texts, length, _ = state.shape
        queries, keys, values = self.join(state).view(texts, length, 3, HEADS, WIDTH // HEADS).permute(2, 0, 3, 1, 4)
        seen = F.scaled_dot_product_attention(queries, keys, values, attn_mask=present[:, None, None, :])
        state = self.mix_norm(state + self.drop(self.mix(seen.transpose(1, 2).reshape(texts, length, WIDTH))))
        inner = F.gelu(self.up(state), approximate="tanh")
        result: Tensor = self.out_norm(state + self.drop(self.down(inner)))
        return result


class Student(nn.Module):
    """(texts, length) numbers of pieces, 0 for padding -> (texts, heads) logits."""

    def __init__(self, shape: Shape, pieces: int, outputs: int) -> None:
        super().__init__()
        self.shape = shape
        self.pieces = nn.Embedding(pieces, shape.narrow)
        self.widen = nn.Linear(shape.narrow, WIDTH, bias=False)
        self.places = nn.Parameter(torch.zeros(shape.longest, WIDTH))
        self.input_norm = nn.LayerNorm(WIDTH, 1e-12)
        self.blocks = nn.ModuleList(Block(shape.inner) for _ in range(shape.layers))
        self.drop = nn.Dropout(0.1)
        self.head = nn.Linear(2 * WIDTH, outputs)

    def forward(self, numbers: Tensor) -> Tensor:
        present = numbers != 0
        state = self.widen(self.pieces(numbers)) + self.places[: numbers.shape[1]]
        state = self.drop(self.input_norm(state))
        for block in self.blocks:
            state = block(state, present)
        some = present[:, :, None]
        mean = (state * some).sum(1) / some.sum(1)
        most = state.masked_fill(~some, -1e9).amax(1)
        found: Tensor = self.head(self.drop(torch.cat([mean, most], 1)))
        return found

    def begin(self, encoder: Path, numbers: Sequence[int]) -> None:
        """Copies what fits from the encoder's file."""
        given = load_file(encoder / "model.safetensors")
        with torch.no_grad():
            words = given["embeddings.word_embeddings.weight"][torch.tensor(numbers)]
            # MiniLM adds the same "sentence A" vector to every piece: it becomes part of the places.
            common = words.mean(0) + given["embeddings.token_type_embeddings.weight"][0]
            centred = words - words.mean(0)
            left, sizes, axes = torch.linalg.svd(centred, full_matrices=False)
            kept = self.shape.narrow
            self.pieces.weight.copy_(left[:, :kept] * sizes[:kept])
            self.widen.weight.copy_(axes[:kept].T)
            self.places.copy_(given["embeddings.position_embeddings.weight"][: self.shape.longest] + common)
            _copy(self.input_norm, given, "embeddings.LayerNorm")
            for number, block in enumerate(self.blocks):
                assert isinstance(block, Block)
                _begin_block(block, given, f"encoder.layer.{number}")


def _begin_block(block: Block, given: Mapping[str, Tensor], name: str) -> None:
    for kind in ("weight", "bias"):
        parts = [given[f"{name}.attention.self.{part}.{kind}"] for part in ("query", "key", "value")]
        getattr(block.join, kind).copy_(torch.cat(parts))
    _copy(block.mix, given, f"{name}.attention.output.dense")
    _copy(block.mix_norm, given, f"{name}.attention.output.LayerNorm")
    _copy(block.out_norm, given, f"{name}.output.LayerNorm")
    up, up_bias = given[f"{name}.intermediate.dense.weight"], given[f"{name}.intermediate.dense.bias"]
    down = given[f"{name}.output.dense.weight"]
    loud = (up.norm(dim=1) * down.norm(dim=0)).topk(block.up.out_features).indices.sort().values
    block.up.weight.copy_(up[loud])
    block.up.bias.copy_(up_bias[loud])
    block.down.weight.copy_(down[:, loud])
    block.down.bias.copy_(given[f"{name}.output.dense.bias"])


def _copy(layer: nn.Module, given: Mapping[str, Tensor], name: str) -> None:
    layer.weight.copy_(given[f"{name}.weight"])  # type: ignore[operator]
    layer.bias.copy_(given[f"{name}.bias"])  # type: ignore[operator]
