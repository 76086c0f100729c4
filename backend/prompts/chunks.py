"""From weighted text to the chunks a text encoder takes: 75 tokens each, start and end marks not counted.

Reference: A1111 1.10.1. A chunk that overflows is cut after its last comma if that is near enough, `BREAK` ends a
chunk, and the vectors of a textual inversion stay in one chunk.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from backend.prompts.attention import BREAK, Piece

Tokenise = Callable[[str], Sequence[int]]
"""Text to token ids, without start and end marks."""

PLACEHOLDER = 0
"""The token that stands where a vector of a textual inversion goes."""


@dataclass(frozen=True, slots=True)
class Chunk:
    """At most `size` tokens with their weights. `fixes` are (offset, name) of textual inversions to splice in."""

    tokens: tuple[int, ...]
    weights: tuple[float, ...]
    fixes: tuple[tuple[int, str], ...] = ()


@dataclass(frozen=True, slots=True)
class _Name:
    """A textual inversion: the tokens its name is written with, and how many vectors it has."""

    tokens: tuple[int, ...]
    name: str
    vectors: int


@dataclass(slots=True)
class _Draft:
    """The chunk being filled. `comma` is the place of the last comma, -1 for none."""

    tokens: list[int] = field(default_factory=list)
    weights: list[float] = field(default_factory=list)
    fixes: list[tuple[int, str]] = field(default_factory=list)
    comma: int = -1

    def add(self, tokens: Sequence[int], weight: float) -> None:
        self.tokens += tokens
        self.weights += [weight] * len(tokens)

    def cut(self, place: int) -> _Draft:
        """Take away everything from `place` on, as a draft of its own."""
        rest = _Draft(
            self.tokens[place:],
            self.weights[place:],
            [(offset - place, name) for offset, name in self.fixes if offset >= place],
        )
        del self.tokens[place:], self.weights[place:]
        self.fixes = [fix for fix in self.fixes if fix[0] < place]
        return rest

    def done(self) -> Chunk:
        return Chunk(tuple(self.tokens), tuple(self.weights), tuple(self.fixes))


def chunk(
    pieces: Iterable[Piece],
    tokenise: Tokenise,
    *,
    size: int = 75,
    comma: int | None,
    backtrack: int = 20,
    vectors: Mapping[str, int] | None = None,
) -> tuple[Chunk, ...]:
    """The chunks of a prompt, unpadded, at least one.

    `comma` is the token id of "," (None if the vocabulary has none), `backtrack` how many tokens after the last comma
    may be moved to the next chunk (0: never). `vectors` names the known textual inversions with their number of
    vectors; the longest name that fits is taken, and one with no vectors or more than `size` of them is plain text.
    """
    names = _names(tokenise, vectors or {}, size)
    chunks: list[Chunk] = []
    draft = _Draft()
    for piece in pieces:
        if piece.text == BREAK:
            chunks.append(draft.done())
            draft = _Draft()
            continue
        tokens = tuple(tokenise(piece.text)) if piece.text else ()
        place = 0
        while place < len(tokens):
            full = len(draft.tokens) == size
            if tokens[place] == comma:
                draft.comma = len(draft.tokens)
            elif full and backtrack and draft.comma >= 0 and len(draft.tokens) - draft.comma <= backtrack:
                rest = draft.cut(draft.comma + 1)
                chunks.append(draft.done())
                draft = rest
            if len(draft.tokens) == size:
                chunks.append(draft.done())
                draft = _Draft()
            known = _known(names, tokens, place)
            if known is None:
                draft.add(tokens[place : place + 1], piece.weight)
                place += 1
                continue
            if len(draft.tokens) + known.vectors > size:
                chunks.append(draft.done())
                draft = _Draft()
            draft.fixes.append((len(draft.tokens), known.name))
            draft.add([PLACEHOLDER] * known.vectors, piece.weight)
            place += len(known.tokens)
    if draft.tokens or not chunks:
        chunks.append(draft.done())
    return tuple(chunks)


def _names(tokenise: Tokenise, vectors: Mapping[str, int], size: int) -> Mapping[int, Sequence[_Name]]:
    """The names by their first token, the longest first."""
    usable = [_Name(tuple(tokenise(name)), name, count) for name, count in vectors.items() if 0 < count <= size]
    by_token: dict[int, list[_Name]] = {}
    for name in sorted(usable, key=lambda name: -len(name.tokens)):
        if name.tokens:
            by_token.setdefault(name.tokens[0], []).append(name)
    return by_token


def _known(names: Mapping[int, Sequence[_Name]], tokens: Sequence[int], place: int) -> _Name | None:
    for name in names.get(tokens[place], ()):
        if tokens[place : place + len(name.tokens)] == name.tokens:
            return name
    return None
