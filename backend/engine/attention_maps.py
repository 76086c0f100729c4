"""Where the words of a prompt looked: cross-attention read off beside a forward that runs as it always does.

A text attention gives every place of the picture a share of 1 to spend on the tokens of the text. While `recording` is
open those shares are computed a second time, from the queries and keys that the forward makes anyway, so that nothing
it returns can differ by a bit. They are averaged over heads, layers and forwards (Tang et al. 2023, "What the DAAM").
"""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import torch
from torch import Tensor, nn

from backend import images
from backend.engine.image_prompt import text_attentions
from backend.engine.stage import Stage
from backend.prompts.chunks import PLACEHOLDER, Chunk
from backend.types import Pixels
from backend.wire import WordMap

MOST_WORDS = 24
SIDE = 64
"""Pixels of a heat map along its longer side."""
_END_OF_WORD = "</w>"


@dataclass(frozen=True, slots=True)
class Word:
    """A word of part number `part` of the prompt (AND makes several); `places` are those of its tokens in the text."""

    text: str
    part: int
    places: tuple[int, ...]


def words_of(stage: Stage) -> tuple[Word, ...]:
    """The words that count at the stage's present step, in order, at most MOST_WORDS; punctuation is none."""
    voice = stage.voice
    tokenizer = voice.model.tokenizers[0]
    found = (
        word
        for number, (line, _) in enumerate(voice.texts.parts)
        for word in _words(line.read_at(stage.stepper.step), tokenizer, number)
    )
    return tuple(word for word, _ in zip(found, range(MOST_WORDS), strict=False))


def _words(chunks: Sequence[Chunk], tokenizer: Any, part: int) -> Iterator[Word]:
    """Tokens up to one that ends a word; a textual inversion is one word. Every chunk begins with a start mark."""
    for number, chunk in enumerate(chunks):
        first = number * int(tokenizer.model_max_length) + 1
        names = dict(chunk.fixes)
        marks = tokenizer.convert_ids_to_tokens(list(chunk.tokens))
        begin = 0
        while begin < len(marks):
            end = begin + 1
            if begin in names:
                while end < len(marks) and chunk.tokens[end] == PLACEHOLDER and end not in names:
                    end += 1
            else:
                while end < len(marks) and not marks[end - 1].endswith(_END_OF_WORD) and end not in names:
                    end += 1
            text = names.get(begin) or tokenizer.decode(list(chunk.tokens[begin:end])).strip()
            if not _punctuation(text):
                yield Word(text, part, tuple(range(first + begin, first + end)))
            begin = end


def _punctuation(text: str) -> bool:
    return all(unicodedata.category(character)[0] in "PZC" for character in text)


class Heat:
    """What was recorded of one picture since it was last taken away. Mutable, and known to the engine's loop alone."""

    def __init__(self) -> None:
        self.words: tuple[Word, ...] = ()
        self._sum: Tensor | None = None
        self._layers = 0

    def add(self, shares: Tensor) -> None:
        """One layer: (words, H, W)."""
        self._sum = shares if self._sum is None else self._sum + shares
        self._layers += 1

    def take(self) -> Tensor:
        """(words, H, W): the share that each place of the picture spent on each word. Starts anew."""
        mean = torch.zeros(0, 1, 1) if self._sum is None else (self._sum / self._layers).cpu()
        self._sum, self._layers = None, 0
        return mean


Watched = tuple[Stage, int, Heat]
"""A picture's stage, the row of the batch with the first part of its prompt, and where to put what is found."""


@contextmanager
def recording(unet: Any, watched: Sequence[Watched]) -> Iterator[None]:
    """While open, forwards of `unet` are looked at for these pictures. Costs nothing without any.

    To be opened last: what LoRAs and others add to queries and keys has then been added.
    """
    with ExitStack() as hooks:
        for stage, _, heat in watched:
            heat.words = words_of(stage)
        if watched:
            for attention in text_attentions(unet):
                for handle in _hooks(attention, watched):
                    hooks.callback(handle.remove)
        yield


def _hooks(attention: Any, watched: Sequence[Watched]) -> Iterator[Any]:
    queries: list[Tensor] = []

    def keep(_: nn.Module, __: Any, query: Tensor) -> None:
        queries.append(query)

    def look(_: nn.Module, __: Any, key: Tensor) -> None:
        query = queries.pop()
        for stage, row, heat in watched:
            if heat.words:
                heat.add(_looked(attention, query, key, row, heat.words, stage))

    yield attention.to_q.register_forward_hook(keep)
    yield attention.to_k.register_forward_hook(look)


def _looked(attention: Any, query: Tensor, key: Tensor, row: int, words: Sequence[Word], stage: Stage) -> Tensor:
    """(words, H, W) of one layer, at most SIDE along the longer side."""
    rows, columns = tuple(stage.stepper.x.shape[-2:])
    size = _within(rows, columns)
    shares = {part: _shares(attention, query[row + part], key[row + part]) for part in {word.part for word in words}}
    spent = torch.stack([shares[word.part][:, list(word.places)].sum(1) for word in words])
    grid = spent.view(len(words), 1, *_grid(spent.shape[1], rows, columns))
    resized = nn.functional.interpolate(grid, size, mode="bicubic", antialias=True)
    return resized[:, 0].clamp_(min=0)


def _shares(attention: Any, query: Tensor, key: Tensor) -> Tensor:
    """(N, inner) over (T, inner): (N, T), each row adding up to 1."""
    query, key = (value.float().view(len(value), attention.heads, -1).transpose(0, 1) for value in (query, key))
    return torch.softmax(query @ key.transpose(1, 2) / math.sqrt(query.shape[-1]), dim=-1).mean(0)


def _grid(places: int, rows: int, columns: int) -> tuple[int, int]:
    """The shape of a layer: the latent's, halved (upwards) until it has that many places."""
    while rows * columns > places:
        rows, columns = -(-rows // 2), -(-columns // 2)
    return rows, columns


def _within(rows: int, columns: int) -> tuple[int, int]:
    longest = max(rows, columns)
    return max(1, round(SIDE * rows / longest)), max(1, round(SIDE * columns / longest))


def drawn(
    words: Sequence[Word], maps: Tensor, show: Callable[[Pixels], Pixels] = lambda pixels: pixels
) -> tuple[WordMap, ...]:
    """One small PNG per word in viridis: from dark, the least of this word, to bright, the most.

    `share` is the word's part of all that was spent on these words; together they make 1. `show` has the last word on
    each picture: it may blur it.
    """
    if not len(maps):
        return ()
    totals = maps.mean((1, 2)).double()
    shares = (totals / totals.sum().clamp(min=1e-12)).tolist()
    return tuple(
        WordMap(word.text, share, images.encode_png(show(_viridis(one))))
        for word, share, one in zip(words, shares, maps, strict=True)
    )


def _viridis(shares: Tensor) -> Pixels:
    low, high = float(shares.min()), float(shares.max())
    level = (shares - low) / max(high - low, 1e-12)
    grey = (level * 255).round().to(torch.uint8).numpy()
    return np.ascontiguousarray(cv2.applyColorMap(grey, cv2.COLORMAP_VIRIDIS)[..., ::-1])
