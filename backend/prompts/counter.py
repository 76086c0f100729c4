"""How long a prompt is, counted in the studio as the engine will count it, without torch.

Reference: A1111 1.10.1, which shows the largest count among everything the prompt becomes while a picture is made.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tokenizers import Tokenizer

from backend.models import vocabulary
from backend.prompts import attention, chunks, comments, composition, networks, schedule

SIZE = 75
_MOST_TEXT = 500_000
"""Characters that are counted at most for one prompt: an alternation may be a different text at every step."""


@dataclass(frozen=True, slots=True)
class Count:
    """`tokens` of at most `limit`, the room of `chunks` chunks. A chunk that ends early counts in full."""

    tokens: int
    chunks: int
    limit: int


class Counter:
    """Counts with one model's tokenizer. Made once per tokenizer, used for every keystroke."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        self._comma = comma_of(tokenizer)

    @classmethod
    def of(cls, folder: Path | None = None) -> Counter:
        """For the tokenizer in a folder of a model, or for CLIP's own. Raises UnreadableModel."""
        return cls(vocabulary.tokenizer(folder))

    def count(self, text: str, steps: int, *, negative: bool = False) -> Count:
        """The longest text that `text` becomes in `steps` steps: over its AND parts and its scheduled segments.

        Tags of extra networks and comments are not counted. A negative prompt is not split at AND.
        """
        return max(
            (self._one(one) for one in _texts(text, steps, negative)), key=lambda count: (count.chunks, count.tokens)
        )

    def tokenise(self, text: str) -> tuple[int, ...]:
        """Token ids without start and end marks. Halves of surrogate pairs count as a question mark."""
        clean = text.encode("utf-8", errors="replace").decode("utf-8")
        return tuple(self._tokenizer.encode(clean, add_special_tokens=False).ids)

    def _one(self, text: str) -> Count:
        made = chunks.chunk(attention.parse(text), self.tokenise, size=SIZE, comma=self._comma)
        return Count((len(made) - 1) * SIZE + len(made[-1].tokens), len(made), len(made) * SIZE)


def comma_of(tokenizer: Tokenizer) -> int | None:
    """The id of "," as a word of its own, None if the vocabulary has none."""
    ids = tokenizer.encode(",", add_special_tokens=False).ids
    return int(ids[0]) if len(ids) == 1 else None


def _texts(text: str, steps: int, negative: bool) -> Iterator[str]:
    """Each different text once, as many as may be counted and at least one."""
    plain = networks.extract(comments.remove(text)).text
    parts = (plain,) if negative else tuple(part.text for part in composition.parts(plain))
    seen: set[str] = set()
    length = 0
    for part in parts:
        for segment in schedule.segments(part, steps):
            if segment.text in seen:
                continue
            if seen and length + len(segment.text) > _MOST_TEXT:
                return
            seen.add(segment.text)
            length += len(segment.text)
            yield segment.text
