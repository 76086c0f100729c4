"""Text to embeddings, remembered: the same words for the same model are encoded once."""

from __future__ import annotations

from collections import OrderedDict

import torch
from torch import Tensor

from backend.models.loader import LoadedModel


class TextEncoder:
    """An LRU of embeddings (1, tokens, dim), kept by model identity and token ids. Used by the engine's loop alone."""

    def __init__(self, keep: int = 256) -> None:
        self._keep = keep
        self._memory: OrderedDict[tuple[int, tuple[int, ...]], Tensor] = OrderedDict()

    def encode(self, model: LoadedModel, text: str) -> Tensor:
        """(1, 77, dim). Words beyond the model's context are cut off, as `overflow` tells."""
        limit = model.tokenizer.model_max_length
        ids = model.tokenizer(text, padding="max_length", max_length=limit, truncation=True).input_ids
        key = (id(model.text_encoder), tuple(ids))
        if key not in self._memory:
            with torch.inference_mode():
                self._memory[key] = model.text_encoder(torch.tensor([ids], device=model.device))[0]
            if len(self._memory) > self._keep:
                self._memory.popitem(last=False)
        self._memory.move_to_end(key)
        return self._memory[key]

    def forget(self) -> None:
        """After a model was unloaded, its identity may be given to another."""
        self._memory.clear()


def overflow(model: LoadedModel, text: str) -> int:
    """How many tokens of `text` do not fit into the model's context (start and end marks not counted)."""
    ids = model.tokenizer(text, truncation=False, verbose=False).input_ids
    return max(0, len(ids) - int(model.tokenizer.model_max_length))
