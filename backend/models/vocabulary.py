"""CLIP's vocabulary and the tokenizers made of it: data only, without torch and without transformers."""

from __future__ import annotations

import gzip
import importlib.metadata
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from tokenizers import Regex, Tokenizer, normalizers, pre_tokenizers
from tokenizers.models import BPE

from backend.errors import UnreadableModel

START, END = "<|startoftext|>", "<|endoftext|>"

_PACKAGE, _FILE = "clip-anytorch", "bpe_simple_vocab_16e6.txt.gz"
_MERGES = 49152 - 256 - 2
_WORD_END = "</w>"
_WORDS = r"<\|startoftext\|>|<\|endoftext\|>|'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+"
"""What CLIP takes for a word, from its paper's code (Radford et al. 2021)."""


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """A byte pair encoding: token ids by token, and the pairs in the order in which they are joined."""

    ids: Mapping[str, int]
    merges: tuple[tuple[str, str], ...]


def clip() -> Vocabulary:
    """OpenAI's CLIP vocabulary (49,408 tokens), read as data from the package that carries it (no code imported)."""
    files = importlib.metadata.files(_PACKAGE) or []
    source = next(Path(str(file.locate())) for file in files if file.name == _FILE)
    with gzip.open(source, "rt", encoding="utf-8") as text:
        lines = text.read().split("\n")[1 : _MERGES + 1]
    merges = tuple((first, second) for first, second in (line.split() for line in lines))
    letters = _byte_letters()
    tokens = (*letters, *(letter + _WORD_END for letter in letters), *("".join(pair) for pair in merges), START, END)
    return Vocabulary({token: number for number, token in enumerate(tokens)}, merges)


def tokenizer(folder: Path | None = None) -> Tokenizer:
    """The tokenizer kept in `folder` (tokenizer.json, or CLIP's vocab.json with merges.txt); CLIP's own without one.

    Raises UnreadableModel if the folder holds neither or they cannot be read.
    """
    if folder is None:
        return _clip_tokenizer(clip())
    try:
        if (folder / "tokenizer.json").is_file():
            return Tokenizer.from_str((folder / "tokenizer.json").read_text(encoding="utf-8"))
        return _clip_tokenizer(_from_folder(folder))
    except Exception as error:  # the library raises bare Exception for every flaw of a file
        detail = f"The tokenizer cannot be read ({type(error).__name__}: {str(error)[:200]})."
        raise UnreadableModel(folder.name, detail, "Copy or download the model again.") from error


def _from_folder(folder: Path) -> Vocabulary:
    ids = json.loads((folder / "vocab.json").read_text(encoding="utf-8"))
    lines = (folder / "merges.txt").read_text(encoding="utf-8").split("\n")
    pairs = (line.split() for line in lines if line.strip() and not line.startswith("#version"))
    return Vocabulary(ids, tuple((first, second) for first, second in pairs))


def _clip_tokenizer(vocabulary: Vocabulary) -> Tokenizer:
    model = BPE(
        vocab=dict(vocabulary.ids),
        merges=list(vocabulary.merges),
        continuing_subword_prefix="",
        end_of_word_suffix=_WORD_END,
        unk_token=END,
    )
    made = Tokenizer(model)
    made.normalizer = normalizers.Sequence(
        [normalizers.NFC(), normalizers.Replace(Regex(r"\s+"), " "), normalizers.Lowercase()]
    )
    made.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(_WORDS), behavior="removed", invert=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False),
        ]
    )
    made.add_special_tokens([START, END])
    return made


def _byte_letters() -> tuple[str, ...]:
    """GPT-2's printable stand-ins for the 256 byte values, in CLIP's order (visible ones first)."""
    visible = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    hidden = [byte for byte in range(256) if byte not in visible]
    return (*map(chr, visible), *(chr(256 + number) for number in range(len(hidden))))
