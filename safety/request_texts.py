"""Every text of a request, and what it says: what is drawn, what is kept out, and what a thing is called."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from backend.types import GenerationRequest, Words
from safety.prompt_filter.negation import inverted, opposite
from safety.prompt_filter.reading import Reader
from safety.prompt_filter.rules import Evidence, together
from safety.prompt_filter.weighing import Read

_MOST_EXTRAS = 64
_LONGEST_EXTRA = 4000
_SHORT_LABEL = 40
_CAMEL = re.compile(r"(?<=[a-z])(?=[A-Z])")


def second_pass(reader: Reader, request: GenerationRequest, steps: int) -> tuple[Read, ...]:
    """The second pass repaints what the first one made, so what they say counts together."""
    if request.hires is None:
        return ()
    return (
        reader.read(request.hires.prompt, steps, "hires.prompt"),
        reader.read(inverted(request.hires.negative), steps, "hires.negative"),
        Read(reader.absent(request.hires.negative, request.hires.prompt, steps), field="hires.negative"),
    )


def of_picture(reader: Reader, request: GenerationRequest, words: Words, steps: int) -> tuple[list[Read], Evidence]:
    """The texts one picture is made from, and what they say by leaving out."""
    field = "prompt" if words.prompt == request.prompt or not request.styles else "styles"
    reads = [reader.read(words.prompt, steps, field), reader.read(inverted(words.negative), steps, "negative")]
    extra: Evidence = reader.absent(words.negative, words.prompt, steps)
    for use in words.loras:
        if min(use.text, use.unet) < 0:
            extra = together(extra, opposite(use.id))
        else:
            reads.append(reader.read(_name(use.id), steps, "loras", name=True))
    return reads, extra


def beside(reader: Reader, request: GenerationRequest) -> Iterator[Read]:
    """What is read by itself: the labels of a sheet, and texts that a program sent to be kept with the picture."""
    if request.grid:
        yield reader.read(request.grid.title, field="grid.title")
        for label in dict.fromkeys((*request.grid.column_labels, *request.grid.row_labels)):
            yield reader.read(label, field="grid.labels", name=len(label) < _SHORT_LABEL)
    for text in _texts(request.client_extras):
        yield reader.read(text[:_LONGEST_EXTRA], field="client_extras", name=True)


def of_networks(reader: Reader, request: GenerationRequest) -> Iterator[Read]:
    """Names of what is chosen beside the prompt: they say little alone, but count with a person or a minor."""
    names = [request.model, request.vae, request.refiner.model if request.refiner else ""]
    names += [name for unit in request.control for name in (unit.model, unit.preprocessor)]
    for name in dict.fromkeys(name for name in names if name):
        yield reader.read(_name(name), field="model", name=True)


def _texts(value: Any, key: str = "") -> Iterator[str]:
    """The texts in what a program sent along, as far as somebody wrote them; those under a "negative" key are left."""
    stack: list[tuple[str, Any]] = [(key, value)]
    given = 0
    while stack and given < _MOST_EXTRAS:
        name, item = stack.pop()
        if "negative" in name.casefold():
            continue
        if isinstance(item, Mapping):
            stack += [(str(inner), each) for inner, each in item.items()]
        elif isinstance(item, list | tuple):
            stack += [(name, each) for each in item]
        elif isinstance(item, str) and any(char.isalpha() for char in item):
            given += 1
            yield item


def _name(name: str) -> str:
    """A network's name as words: "nude_v2.safetensors" is about "nude v2"."""
    stem = name.replace("\\", "/").rpartition("/")[2].removesuffix(".safetensors")
    return _CAMEL.sub(" ", stem.replace("_", " ").replace("-", " ").replace(".", " "))
