"""Text to embeddings, and which of them counts at which step.

The grammar is backend.prompts'. Here its pieces become token chunks, the chunks embeddings (remembered: the same words
for the same model are encoded once), and a scheduled prompt a Timeline. Behaviour follows A1111 1.10.1.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from torch import Tensor

from backend.engine.embeddings import Embedding, spliced
from backend.engine.lora import Assignment, Bound, RowAdditions
from backend.models.loader import LoadedModel
from backend.prompts import attention, composition, networks, schedule
from backend.prompts.chunks import Chunk, chunk
from backend.types import Emphasis


@dataclass(frozen=True, slots=True)
class Encoded:
    """Text for one row: `states` (1, 77·n, dim), and for SDXL `pooled` (1, dim)."""

    states: Tensor
    pooled: Tensor | None = None


@dataclass(frozen=True, slots=True)
class Timeline:
    """One part of a prompt over the steps: `(until, text)` in order, `until` counted from 1 and inclusive.

    `read` are the chunks of each segment as the first tokenizer sees them: which word stands where in the text.
    """

    segments: tuple[tuple[int, Encoded], ...]
    read: tuple[tuple[Chunk, ...], ...] = ()

    def at(self, step: int) -> Encoded:
        """The text of step number `step`, counted from 0."""
        return next((text for until, text in self.segments if step < until), self.segments[-1][1])

    def read_at(self, step: int) -> tuple[Chunk, ...]:
        """The chunks of that text, without padding."""
        found = next((read for (until, _), read in zip(self.segments, self.read, strict=False) if step < until), None)
        return found if found is not None else self.read[-1] if self.read else ()


@dataclass(frozen=True, slots=True)
class Conditioning:
    """`parts` are the conditional texts with their weights (one unless AND joins several); `negative` the other row."""

    negative: Timeline | None
    parts: tuple[tuple[Timeline, float], ...]

    @property
    def tokens(self) -> int:
        """Length of every text."""
        return int(self.parts[0][0].segments[0][1].states.shape[1])


@dataclass(frozen=True, slots=True)
class Reading:
    """How text is read: `loras` are (bound LoRA, weight for the text encoder), `embeddings` by name."""

    clip_skip: int = 1
    emphasis: Emphasis = "original"
    loras: tuple[tuple[Bound, float], ...] = ()
    embeddings: Mapping[str, Embedding] = field(default_factory=dict)

    @property
    def key(self) -> Hashable:
        """What a chunk's embedding depends on beside its tokens; good as long as the reading itself is kept."""
        loras = tuple((id(bound), weight) for bound, weight in self.loras)
        embeddings = tuple(sorted((name, id(found)) for name, found in self.embeddings.items()))
        return self.clip_skip, self.emphasis, loras, embeddings


class Conditioner:
    """Remembers chunks by model, tokens and reading. Used by the engine's loop alone."""

    def __init__(self, keep: int = 512) -> None:
        self._keep = keep
        self._memory: OrderedDict[Hashable, tuple[Encoded, Reading]] = OrderedDict()
        self._additions = RowAdditions()

    def forget(self) -> None:
        """After something was unloaded, its identity may be given to another."""
        self._memory.clear()
        self._additions.forget()

    def conditioning(
        self,
        model: LoadedModel,
        prompt: str,
        negative: str,
        steps: int,
        reading: Reading,
        *,
        guided: bool,
        first_steps: int | None = None,
    ) -> Conditioning:
        """The texts of one pass of `steps` steps; a hires pass gives the steps of the pass before as `first_steps`.

        With `guided` False the negative prompt is left out, unless several parts need something to differ from.
        """
        plain = networks.extract(prompt).text
        parts = composition.parts(plain)
        with_negative = guided or len(parts) > 1
        texts = [part.text for part in parts] + ([networks.extract(negative).text] if with_negative else [])
        chunked = [self._segments(model, text, steps, reading, first_steps) for text in texts]
        longest = max(len(chunks) for segments in chunked for _, chunks in segments)
        blank = not negative.strip() and model.force_zeros
        lines = [
            Timeline(
                tuple(
                    (
                        until,
                        self._encode(model, _padded(chunks, longest), reading, zeros=blank and number >= len(parts)),
                    )
                    for until, chunks in segments
                ),
                tuple(tuple(columns[0] for columns in chunks) for _, chunks in segments),
            )
            for number, segments in enumerate(chunked)
        ]
        return Conditioning(
            lines[-1] if with_negative else None,
            tuple((line, part.weight) for line, part in zip(lines, parts, strict=False)),
        )

    def _segments(
        self, model: LoadedModel, text: str, steps: int, reading: Reading, first_steps: int | None
    ) -> list[tuple[int, tuple[tuple[Chunk, ...], ...]]]:
        """For each segment its chunks, as one tuple per text encoder with equal numbers of chunks."""
        found = schedule.segments(text, steps, hires=first_steps is not None, first_steps=first_steps or 0)
        return [(segment.until, self._chunks(model, segment.text, reading)) for segment in found]

    def _chunks(self, model: LoadedModel, text: str, reading: Reading) -> tuple[tuple[Chunk, ...], ...]:
        """One entry per chunk: the chunk as each encoder's tokenizer sees it."""
        pieces: Sequence[attention.Piece] = attention.parse(text)
        if reading.emphasis == "none":
            pieces = (attention.Piece(text, 1.0),)
        elif reading.emphasis == "ignore":
            pieces = tuple(
                attention.Piece(piece.text, 1.0) if piece.text != attention.BREAK else piece for piece in pieces
            )
        vectors = {name: len(found.vectors[0]) for name, found in reading.embeddings.items()}
        columns = [
            chunk(
                pieces,
                partial(token_ids, tokenizer),
                size=int(tokenizer.model_max_length) - 2,
                comma=_comma(tokenizer),
                vectors=vectors,
            )
            for tokenizer in model.tokenizers
        ]
        most = max(len(column) for column in columns)
        return tuple(zip(*(_filled(column, most) for column in columns), strict=True))

    def _encode(
        self, model: LoadedModel, chunks: tuple[tuple[Chunk, ...], ...], reading: Reading, *, zeros: bool
    ) -> Encoded:
        encoded = [self._chunk(model, one, reading) for one in chunks]
        states = torch.cat([one.states for one in encoded], dim=1)
        pooled = encoded[0].pooled
        if zeros:  # SDXL was trained with nothing at all for "no negative prompt"
            return Encoded(torch.zeros_like(states), None if pooled is None else torch.zeros_like(pooled))
        return Encoded(states, pooled)

    def _chunk(self, model: LoadedModel, one: tuple[Chunk, ...], reading: Reading) -> Encoded:
        key = (id(model.text_encoders[0]), one, reading.key)
        if key not in self._memory:
            # The reading is kept with it, so that the identities in its key stay taken.
            self._memory[key] = self._run(model, one, reading), reading
            if len(self._memory) > self._keep:
                self._memory.popitem(last=False)
        self._memory.move_to_end(key)
        return self._memory[key][0]

    def _run(self, model: LoadedModel, one: tuple[Chunk, ...], reading: Reading) -> Encoded:
        states, pooled = [], None
        for number, (encoder, tokenizer, own) in enumerate(
            zip(model.text_encoders, model.tokenizers, one, strict=True)
        ):
            ids, weights = whole_context(tokenizer, own)
            splices = [(offset + 1, reading.embeddings[name].vectors[number]) for offset, name in own.fixes]
            uses = tuple((bound, weight, ()) for bound, weight in reading.loras)
            with (
                torch.inference_mode(),
                self._additions.applied(encoder, [Assignment(slice(None), uses)] if uses else []),
                spliced(encoder, splices),
            ):
                out = encoder(torch.tensor([ids], device=model.device), output_hidden_states=True)
            states.append(_weighted(_layer(encoder, out, model, reading.clip_skip), weights, reading.emphasis))
            pooled = getattr(out, "text_embeds", pooled)
        return Encoded(torch.cat(states, dim=-1), pooled)


def token_ids(tokenizer: Any, words: str) -> Sequence[int]:
    ids: list[int] = tokenizer(words, add_special_tokens=False, verbose=False).input_ids
    return ids


def _comma(tokenizer: Any) -> int:
    return int(tokenizer(",", add_special_tokens=False).input_ids[0])


def _filled(chunks: Sequence[Chunk], most: int) -> tuple[Chunk, ...]:
    return (*chunks, *(Chunk((), ()) for _ in range(most - len(chunks))))


def _padded(chunks: tuple[tuple[Chunk, ...], ...], most: int) -> tuple[tuple[Chunk, ...], ...]:
    """Empty chunks up to `most`, so that all rows of a picture have texts of one length."""
    empty = tuple(Chunk((), ()) for _ in chunks[0])
    return (*chunks, *(empty for _ in range(most - len(chunks))))


def whole_context(tokenizer: Any, own: Chunk) -> tuple[list[int], tuple[float, ...]]:
    """Token ids and weights of a whole context: start, the chunk, end, padding."""
    limit = int(tokenizer.model_max_length)
    missing = limit - 2 - len(own.tokens)
    pad = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else tokenizer.eos_token_id
    ids = [tokenizer.bos_token_id, *own.tokens, tokenizer.eos_token_id, *[pad] * missing]
    return ids, (1.0, *own.weights, 1.0, *(1.0,) * missing)


def _layer(encoder: Any, out: Any, model: LoadedModel, skip: int) -> Tensor:
    """The layer that speaks: the last one, normalised, for SD; the one before it, as it is, for SDXL."""
    hidden: tuple[Tensor, ...] = out.hidden_states
    if model.is_sdxl or model.is_refiner:
        return hidden[-min(skip + 1, len(hidden))]
    if skip == 1:
        return out.last_hidden_state  # type: ignore[no-any-return]
    core = getattr(encoder, "text_model", encoder)
    normalised: Tensor = core.final_layer_norm(hidden[-min(skip, len(hidden))])
    return normalised


def _weighted(states: Tensor, weights: tuple[float, ...], emphasis: Emphasis) -> Tensor:
    """Attention by scaling the states; "original" then restores their mean (A1111 1.10.1)."""
    if all(weight == 1.0 for weight in weights):
        return states
    scaled = states * torch.tensor(weights, device=states.device, dtype=states.dtype)[None, :, None]
    return scaled * (states.mean() / scaled.mean()) if emphasis == "original" else scaled
