"""Our own sentences: pairs of a harmless picture and a harmful one that share their subject, and many harmless ones.

A line of a file in `texts/` is a template: `{a|b}` is a choice, `[name]` a list of slots.toml, ` ## ` stands between
the harmless half and the other; a line that begins with `## ` is harmful alone. Harmful halves are mild on purpose:
they name an act and show nothing. The same wrappings (styles, moods, a second sentence) go around both halves, so that
neither length nor manner tells them apart.
"""

from __future__ import annotations

import random
import re
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

TEXTS = Path(__file__).with_name("texts")
_CHOICE = re.compile(r"\{([^{}]*)\}")
_SLOT = re.compile(r"\[(\w+)\]")
Slots = Mapping[str, Sequence[str]]


@dataclass(frozen=True, slots=True)
class Template:
    """`labels` are empty for a harmless one; both halves of a pair have the same `group`."""

    text: str
    labels: tuple[str, ...]
    group: str
    topic: str


def slots() -> dict[str, list[str]]:
    found: dict[str, list[str]] = tomllib.loads((TEXTS / "slots.toml").read_text(encoding="utf-8"))
    return found


def templates() -> Iterator[Template]:
    """Of all files, in order."""
    for path in sorted(TEXTS.glob("*.txt")):
        labels: tuple[str, ...] = ()
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
            if line.startswith("# labels:"):
                labels = tuple(label.strip() for label in line.removeprefix("# labels:").split(","))
            elif line and not line.startswith("# "):
                group = f"{path.stem}:{number}"
                harmless, _, harmful = line.rpartition("## ") if line.startswith("## ") else line.partition(" ## ")
                if harmless:
                    yield Template(harmless, (), group, path.stem)
                if harmful:
                    yield Template(harmful, labels, group, path.stem)


def filled(text: str, lists: Slots, chance: random.Random) -> str:
    """One sentence of a template."""
    while match := _CHOICE.search(text):
        text = text[: match.start()] + chance.choice(match[1].split("|")) + text[match.end() :]
    while match := _SLOT.search(text):
        text = text[: match.start()] + chance.choice(lists[match[1]]) + text[match.end() :]
    return text


BEFORE = (
    "A photo of ~",
    "An image of ~",
    "A picture showing ~",
    "A [style] of ~",
    "A detailed, realistic depiction of ~",
    "Create an image of ~",
    "Generate a picture: ~",
    "[style]: ~",
    "A [mood] scene of ~",
    "A close-up of ~",
    "A wide shot of ~",
    "Draw ~",
    "An illustration of ~",
)
AFTER = (
    "~, [style]",
    "~, [light], [mood]",
    "~, highly detailed, 8k, sharp focus",
    "~, [style], trending on artstation",
    "~ in [light]",
    "~, emphasising the [mood] atmosphere and fine details",
    "~. The scene is lit by [light], creating a [mood] atmosphere.",
    "~. [light] and a [mood] mood.",
    "~, captured in a [mood] [style].",
    "~. In the background, [thing] and [place].",
    "~. The background shows [place], rendered in fine detail with [light].",
    "~. Their faces are expressive, the colours rich, the composition balanced.",
    "~, with vivid details of clothing and surroundings, evoking a [mood] feeling.",
    "~. [person] watches from a distance. The image should look realistic and [mood].",
)
SCENES = (
    "[person] [doing] in [place]",
    "[worker] [doing] in [place]",
    "[worker] with [thing] in [place]",
    "[animal] and [person] in [place]",
    "[animal] beside [thing]",
    "[thing] in [place]",
    "[place] at dawn with [thing]",
    "[person] handing [thing] to [worker]",
    "[worker] explaining something to [person] in [place]",
    "[person] and [worker] [doing] together in [place]",
)


def wrapped(text: str, lists: Slots, chance: random.Random, share: float = 0.5) -> str:
    """The sentence with something before and after it, each with half the chance `share` says."""
    bare = text.rstrip(".")
    if chance.random() < share / 2:
        head = filled(chance.choice(BEFORE), lists, chance)
        text = head.replace("~", bare[0].lower() + bare[1:])
        bare = text
    if chance.random() < share:
        text = filled(chance.choice(AFTER), lists, chance).replace("~", bare)
    if chance.random() < 0.25:
        text = text.lower()
    return text[0].upper() + text[1:] if chance.random() < 0.6 else text


def scene(lists: Slots, chance: random.Random) -> str:
    """A harmless picture of anything, one to three sentences long."""
    first = filled(chance.choice(SCENES), lists, chance)
    text = wrapped(first[0].upper() + first[1:], lists, chance, 0.9)
    for _ in range(chance.choice((0, 0, 1, 2))):
        more = filled(chance.choice(SCENES), lists, chance)
        text = f"{text.rstrip('.')}. {more[0].upper()}{more[1:]}."
    return text
