"""CLIP's tokenizer, from the vocabulary that a package carries: single-file checkpoints bring none."""

from __future__ import annotations

import gzip
import importlib.metadata
from pathlib import Path
from typing import Literal

from transformers import CLIPTokenizer

Pad = Literal["<|endoftext|>", "!"]

_PACKAGE, _FILE = "clip-anytorch", "bpe_simple_vocab_16e6.txt.gz"
_MERGES = 49152 - 256 - 2


def clip_tokenizer(pad: Pad = "<|endoftext|>") -> CLIPTokenizer:
    """OpenAI's CLIP vocabulary (49,408 tokens), read as data from the package that carries it (no code imported).

    Text encoders of OpenAI's CLIP pad with <|endoftext|>, those of OpenCLIP (SD 2.x, the second one of SDXL) with "!",
    which is token 0, as in their original repositories.
    """
    files = importlib.metadata.files(_PACKAGE) or []
    source = next(Path(str(file.locate())) for file in files if file.name == _FILE)
    with gzip.open(source, "rt", encoding="utf-8") as text:
        lines = text.read().split("\n")[1 : _MERGES + 1]
    merges = [(first, second) for first, second in (line.split() for line in lines)]
    letters = list(_byte_letters())
    tokens = [*letters, *(letter + "</w>" for letter in letters), *("".join(pair) for pair in merges)]
    vocab = {token: number for number, token in enumerate([*tokens, "<|startoftext|>", "<|endoftext|>"])}
    return CLIPTokenizer(vocab=vocab, merges=merges, model_max_length=77, pad_token=pad)


def _byte_letters() -> tuple[str, ...]:
    """GPT-2's printable stand-ins for the 256 byte values, in CLIP's order (visible ones first)."""
    visible = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    hidden = [byte for byte in range(256) if byte not in visible]
    return (*map(chr, visible), *(chr(256 + number) for number in range(len(hidden))))
