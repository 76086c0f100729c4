"""Textual inversion (Gal et al. 2022): the token embeddings of a new word, learned while everything else stays.

The word is its name, wherever that stands in a caption. Its vectors take the places of its tokens in the text encoder
exactly as when the embedding is used (`backend.engine.embeddings`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from torch import Tensor, nn

from backend.engine.conditioning import token_ids, whole_context
from backend.engine.embeddings import spliced
from backend.engine.encoding import said
from backend.engine.lora_dataset import TrainingImage, worded
from backend.engine.lora_file import write_whole
from backend.engine.lora_keys import text_encoders, tokenizers
from backend.engine.lora_objective import dice_of
from backend.engine.lora_settings import TrainingSettings
from backend.models.loader import LoadedModel
from backend.prompts.attention import Piece
from backend.prompts.chunks import Chunk, chunk

_KEYS = {1: ("emb_params",), 2: ("clip_l", "clip_g")}


class NewWord:
    """The vectors of `name` for each text encoder: (settings.vectors, dim), float32."""

    def __init__(self, model: LoadedModel, settings: TrainingSettings, name: str) -> None:
        self._model, self._settings, self._name = model, settings, name
        dice = dice_of(settings.seed, "vectors")
        self._vectors = [
            nn.Parameter(_start(encoder, tokenizer, settings, dice))
            for encoder, tokenizer in zip(text_encoders(model), tokenizers(model), strict=True)
        ]

    def groups(self) -> list[dict[str, Any]]:
        return [{"params": self._vectors, "lr": self._settings.learning_rate}]

    def named(self) -> Iterator[tuple[str, nn.Parameter]]:
        return zip(_KEYS[len(self._vectors)], self._vectors, strict=True)

    def captioned(self, pictures: Sequence[TrainingImage]) -> tuple[TrainingImage, ...]:
        return tuple(replace(picture, caption=worded(picture.caption, self._name)) for picture in pictures)

    @property
    def bare(self) -> str:
        """The word: nothing at all would teach it nothing."""
        return self._name

    def drawing(self) -> AbstractContextManager[None]:
        return nullcontext()

    def moves(self, caption: str) -> bool:
        return bool(caption)

    def said(self, caption: str) -> tuple[Tensor, Tensor | None]:
        """The first context of the caption; where it would end before the word, the word comes first."""
        read = [(tokenizer, self._read(tokenizer, caption)) for tokenizer in tokenizers(self._model)]
        ids = [whole_context(tokenizer, one)[0] for tokenizer, one in read]

        def around(number: int, encoder: Any) -> AbstractContextManager[None]:
            return spliced(encoder, [(place + 1, self._vectors[number]) for place, _ in read[number][1].fixes])

        return said(self._model, ids, around)

    def write(self, path: Path, told: Mapping[str, str]) -> None:
        """A1111's key for one text encoder, which diffusers reads too, and its two for SDXL."""
        tensors = {name: vectors.detach().cpu().contiguous() for name, vectors in self.named()}
        write_whole(path, safetensors.torch.save(tensors, dict(told)))

    def close(self) -> None:
        """Nothing was left on the model."""

    def _read(self, tokenizer: Any, caption: str) -> Chunk:
        first = self._first(tokenizer, caption)
        return first if first.fixes or not caption else self._first(tokenizer, f"{self._name}, {caption}")

    def _first(self, tokenizer: Any, caption: str) -> Chunk:
        size, vectors = int(tokenizer.model_max_length) - 2, {self._name: self._settings.vectors}
        pieces = (Piece(caption, 1.0),)
        return chunk(pieces, partial(token_ids, tokenizer), size=size, comma=None, vectors=vectors)[0]


def _start(encoder: Any, tokenizer: Any, settings: TrainingSettings, dice: torch.Generator) -> Tensor:
    """The embeddings of the words to begin with, repeated or cut; without any, drawn as the known ones are spread."""
    table: Tensor = encoder.get_input_embeddings().weight.detach().float()
    drawn = torch.randn(settings.vectors, table.shape[1], generator=dice).to(table.device)
    ids = token_ids(tokenizer, settings.init_word)
    if not ids:
        return table.mean(0) + table.std(0) * drawn
    places = torch.tensor([ids[place % len(ids)] for place in range(settings.vectors)], device=table.device)
    return table[places].clone()
