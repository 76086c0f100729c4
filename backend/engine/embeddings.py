"""Textual inversion (Gal et al. 2022): words whose token embeddings come from a file. Safetensors only."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from torch import Tensor

from backend.engine.lora_keys import text_encoders
from backend.errors import UnreadableModel
from backend.models import formats
from backend.models.loader import LoadedModel

MOST_VECTORS = 75
"""What fits between the start and end marks of one context."""
_SDXL = ("clip_l", "clip_g")


@dataclass(frozen=True, slots=True)
class Embedding:
    """A learned word: `vectors` (n, dim) float32, one for each text encoder (two for SDXL), all of the same n."""

    name: str
    vectors: tuple[Tensor, ...]

    def __len__(self) -> int:
        """How many tokens the word takes."""
        return len(self.vectors[0])


def read_embedding(path: Path, name: str) -> Embedding:
    """A1111's `emb_params`, the one tensor of diffusers under any name, or SDXL's `clip_l` and `clip_g`.

    Raises UnreadableModel, which says what is wrong.
    """
    if path.suffix.lower() in formats.PICKLE_SUFFIXES:
        detail = f"{path.suffix} files are pickles, which could run code when opened."
        raise UnreadableModel(name, detail, "Look for a .safetensors version of this embedding.")
    try:
        header = formats.read_header(path, name)
        keys = _SDXL if all(key in header for key in _SDXL) else tuple(header)
        if len(header) != len(keys) or (len(keys) != 1 and keys != _SDXL):
            detail = (
                f"The file holds {len(header)} tensors; a textual inversion has one, or clip_l and clip_g for SDXL."
            )
            raise UnreadableModel(name, detail)
        with safe_open(path, "pt") as file:
            vectors = tuple(_vectors(name, file.get_tensor(key)) for key in keys)
    except (OSError, SafetensorError) as error:
        raise UnreadableModel(name, f"The file cannot be read: {str(error)[:120]}.", "Download it again.") from error
    if len({len(one) for one in vectors}) != 1:
        raise UnreadableModel(name, "clip_l and clip_g hold different numbers of vectors.")
    return Embedding(name, vectors)


def _vectors(name: str, tensor: Tensor) -> Tensor:
    tensor = tensor[None] if tensor.ndim == 1 else tensor
    if tensor.ndim != 2 or not tensor.numel() or not tensor.is_floating_point():
        raise UnreadableModel(name, f"A textual inversion has vectors; this tensor is {tuple(tensor.shape)}.")
    if len(tensor) > MOST_VECTORS:
        raise UnreadableModel(name, f"The word takes {len(tensor)} tokens, and at most {MOST_VECTORS} fit a prompt.")
    tensor = tensor.float()
    if not bool(tensor.isfinite().all()):
        raise UnreadableModel(name, "The vectors hold values that are not numbers.")
    return tensor


def fits(embedding: Embedding, model: LoadedModel) -> bool:
    """Whether it was made for text encoders like this model's: as many, and of the same widths."""
    widths = [encoder.get_input_embeddings().embedding_dim for encoder in text_encoders(model)]
    return widths == [vectors.shape[1] for vectors in embedding.vectors]


@contextmanager
def spliced(text_encoder: Any, splices: Sequence[tuple[int, Tensor]]) -> Iterator[None]:
    """Within it, token embeddings (B, T, dim) of each row have `vectors` (n, dim) from position `offset` on.

    `splices` are (offset, vectors); positions count the start mark as 0. What would stand behind the end is cut off.
    """
    if not splices:
        yield
        return

    def replace(_module: Any, _inputs: Any, output: Tensor) -> Tensor:
        output = output.clone()
        for offset, vectors in splices:
            room = output[:, offset : offset + len(vectors)]
            room.copy_(vectors[: room.shape[1]].to(output.device, output.dtype))
        return output

    handle = text_encoder.get_input_embeddings().register_forward_hook(replace)
    try:
        yield
    finally:
        handle.remove()
