"""The text of every picture: styles in, comments out, wildcards drawn, LoRAs found."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from backend.errors import InvalidParameter
from backend.prompts import composition, networks
from backend.prompts.expand import expand
from backend.prompts.styles import Style
from backend.requests.values import part, text
from backend.types import LoraUse, ModelInfo, ModelKind, Words

MAX_PARTS = 7
"""Parts of a prompt joined by AND: with the negative prompt they fill the largest batch."""
BLOCK_WEIGHTS = (0, 12, 17, 20, 26)
"""Numbers of block weights that mean something: SDXL's and SD's, with and without the blocks that have no attention."""
MOST_LORAS = 32
"""LoRAs of one picture."""
_LORA = ("lora", "lyco")
_MAX_WEIGHT = 10.0
_LONGEST_NAME = 300


class Models(Protocol):
    """What is asked of the catalogue. `find` raises UnknownModel or UnreadableModel, `fits` tells why not, or ""."""

    def find(self, name: str, kind: ModelKind | tuple[ModelKind, ...] = "checkpoint") -> ModelInfo: ...

    def fits(self, addition: ModelInfo, model: ModelInfo) -> str: ...


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """What prompts may refer to: styles by name, and the folder of wildcard files."""

    styles: Mapping[str, Style] = field(default_factory=dict)
    wildcards: Path | None = None


def words(
    prompt: str,
    negative: str,
    styles: Sequence[str],
    vocabulary: Vocabulary,
    *,
    models: Models,
    model: ModelInfo,
    seed: int,
    count: int,
    loras: Sequence[LoraUse] = (),
    limit: int,
) -> tuple[Words, ...]:
    """One for all pictures where they are equal, else one for each. `loras` are added to those of the tags.

    Raises InvalidParameter (no such style, too long once expanded, too many parts), UnknownModel (no such LoRA) or
    UnreadableModel.
    """
    pairs = expand(
        prompt, negative, styles, seed=seed, count=count, wildcards=vocabulary.wildcards, known=vocabulary.styles
    )
    found = {pair: _words(*pair, models, model, tuple(loras), limit) for pair in dict.fromkeys(pairs)}
    return tuple(found[pair] for pair in pairs) if len(found) > 1 else tuple(found.values())


def _words(
    prompt: str, negative: str, models: Models, model: ModelInfo, loras: tuple[LoraUse, ...], limit: int
) -> Words:
    if max(len(prompt), len(negative)) > 4 * limit:
        raise InvalidParameter("prompt", f"The prompt grows to {len(prompt):,} characters.", "Use fewer wildcards.")
    extracted = networks.extract(prompt)
    few_parts("prompt", extracted.text)
    _few_enough(len(extracted.networks) + len(loras))
    used = [_use(network, models, model) for network in extracted.networks]
    return Words(prompt=prompt, negative=negative, loras=(*used, *(_checked(use, models, model) for use in loras)))


def _use(network: networks.Network, models: Models, model: ModelInfo) -> LoraUse:
    if network.kind not in _LORA:
        detail = f"{network.raw[:80]} asks for a {network.kind}, which this studio does not run."
        raise InvalidParameter("prompt", detail, "Remove it, or use a LoRA.")
    use = LoraUse(id=network.name, text=network.text, unet=network.unet, blocks=network.blocks)
    return _checked(use, models, model)


def few_parts(field: str, plain: str) -> None:
    """Raises InvalidParameter for more parts joined by AND than a batch has rows for."""
    parts = composition.parts(plain)
    if len(parts) > MAX_PARTS:
        raise InvalidParameter(field, f"{len(parts)} parts are joined by AND; {MAX_PARTS} are the most.")


def second_words(
    prompt: str, negative: str, vocabulary: Vocabulary, first: Sequence[Words], *, models: Models, seed: int, count: int
) -> tuple[str, str]:
    """The hires pass's own texts, with what is random in them drawn: the same for every picture of the request.

    The LoRAs of the pass are those of the prompt; a tag that names another, or another weight, is refused.
    """
    pairs = set(expand(prompt, negative, seed=seed, count=count, wildcards=vocabulary.wildcards))
    if len(pairs) > 1:
        detail = "The hires prompt draws other words for each picture."
        raise InvalidParameter("hires.prompt", detail, "Ask for one picture, or write the words themselves.")
    drawn, without = pairs.pop()
    extracted = networks.extract(drawn)
    few_parts("hires.prompt", extracted.text)
    for network in extracted.networks:
        known = models.find(network.name, "lora").id if network.kind in _LORA else ""
        wanted = LoraUse(id=known, text=network.text, unet=network.unet, blocks=network.blocks)
        if not all(wanted in words.loras for words in first):
            detail = f"{network.raw[:80]} is not in the prompt; both passes are painted with the same LoRAs."
            raise InvalidParameter("hires.prompt", detail, "Move it to the prompt, or remove it.")
    return drawn, without


def _few_enough(number: int) -> None:
    if number > MOST_LORAS:
        raise InvalidParameter("loras", f"{number} LoRAs are asked for; {MOST_LORAS} are the most.", "Use fewer.")


def _checked(use: LoraUse, models: Models, model: ModelInfo) -> LoraUse:
    text("loras", use.id, _LONGEST_NAME)
    found = models.find(use.id, "lora")
    why_not = models.fits(found, model)
    if why_not:
        raise InvalidParameter("prompt", f'The LoRA "{found.title}" cannot be used here: {why_not}.', "Remove it.")
    if len(use.blocks) not in BLOCK_WEIGHTS:
        hint = "Give " + ", ".join(map(str, BLOCK_WEIGHTS[1:])) + " of them, or none."
        raise InvalidParameter("prompt", f"{len(use.blocks)} block weights fit no model.", hint)
    if max(abs(weight) for weight in (use.text, use.unet, *use.blocks)) > _MAX_WEIGHT:
        raise InvalidParameter("prompt", f'The weight of the LoRA "{found.title}" is beyond {_MAX_WEIGHT:g}.')
    return use.model_copy(update={"id": found.id})


def loras_given(value: Any) -> tuple[LoraUse, ...]:
    """LoRAs named beside the prompt: [{"id": ..., "unet": 0.8}]."""
    if not isinstance(value, list | tuple):
        raise InvalidParameter("loras", "loras must be a list.")
    _few_enough(len(value))
    return tuple(part(f"loras.{number}", item, LoraUse) for number, item in enumerate(value))
