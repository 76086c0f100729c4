"""The caption grammar: what may truthfully be said about a picture, drawn at random.

A `Scene` is a picture as it will be shown (background, hue, mirrored); `caption` says something true about
it in one of many short forms, so that the model learns words rather than sentences.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from random import Random

from training.data import FACES, FLAGS, FOOD, NATURE, OBJECTS, PEOPLE, SYMBOLS, TRAVEL, Record

COLOURS = {
    "white": (255, 255, 255),
    "red": (222, 45, 45),
    "orange": (247, 140, 35),
    "yellow": (250, 215, 60),
    "green": (75, 175, 75),
    "blue": (60, 120, 220),
    "light blue": (170, 215, 245),
    "purple": (140, 80, 190),
    "pink": (250, 165, 195),
    "brown": (130, 85, 55),
    "grey": (150, 150, 150),
    "black": (20, 20, 22),
}
HUES = {"red": 0, "yellow": 48, "green": 120, "blue": 215, "purple": 275, "pink": 325}  # degrees
COLOUR_WORD = re.compile(r"\b(red|orange|yellow|green|blue|purple|pink|brown|white|black|gray|grey|golden?|silver)\b")
SYNONYMS: dict[str, tuple[str, ...]] = {
    "3d": ("3d style", "3d render", "glossy 3d"),
    "flat": ("flat style", "flat design", "flat vector"),
    "cartoon": ("cartoon style", "cartoon"),
    "classic": ("classic style", "classic emoji"),
}
EMPTY, STYLED, COLOURED = 0.10, 0.5, 0.8


@dataclass(frozen=True, slots=True)
class Scene:
    """How a picture is shown: background colour by name, hue by name (or ""), mirrored or not."""

    background: str = "white"
    hue: str = ""
    mirrored: bool = False


def draw_scene(record: Record, rng: Random) -> Scene:
    """White background 60 % of the time, a hue shift for one picture in twelve that has no colour in its name."""
    background = "white" if rng.random() < 0.6 else rng.choice(list(COLOURS))
    paintable = record.group in (NATURE, FOOD, TRAVEL, OBJECTS) and not COLOUR_WORD.search(record.label)
    hue = rng.choice(list(HUES)) if paintable and rng.random() < 0.08 else ""
    return Scene(background, hue, record.flips and rng.random() < 0.5)


def article(noun: str) -> str:
    """`noun` with "a" or "an" unless it is plural or a name."""
    if noun[:1].isupper() or (noun.endswith("s") and not noun.endswith("ss")):
        return noun
    return f"{'an' if noun[:1].lower() in 'aeiou' else 'a'} {noun}"


def subject(record: Record, rng: Random) -> str:
    """The thing itself: label, label without attributes, or tags."""
    name = record.label
    if record.group == PEOPLE and rng.random() < 0.5:
        name = record.base if record.tone else name
        if rng.random() < 0.5:
            name = re.sub(r"^(wo)?man\b:?,? ?", "", name) or name
    elif record.group == FLAGS and name.startswith("flag: ") and rng.random() < 0.5:
        name = f"flag of {name.removeprefix('flag: ')}"
    # "dog face" answers to "dog" as well, but "smiling face" must stay a face.
    if record.group == NATURE and name.endswith(" face") and rng.random() < 0.5:
        name = name.removesuffix(" face")
    roll = rng.random()
    tags = [tag for tag in record.tags if tag.lower() not in name.lower()]
    if roll < 0.6 or not record.tags:
        return name
    if roll < 0.85 and tags:
        return ", ".join([name, *rng.sample(tags, min(len(tags), rng.randint(1, 3)))])
    return " ".join(rng.sample(record.tags, min(len(record.tags), rng.randint(1, 4))))


def caption(record: Record, scene: Scene, rng: Random, *, empty: float = EMPTY) -> str:
    """One true caption; empty with probability `empty`, so that guidance has something to lean on."""
    if rng.random() < empty:
        return ""
    text = subject(record, rng)
    if scene.hue:
        text = f"{scene.hue} {text}"
    form = rng.random()
    if form < 0.35 and "," not in text:
        text = article(text)
    elif form < 0.45 and record.group != FACES:
        text += rng.choice((" icon", " emoji", " drawing"))
    elif form < 0.5:
        text = f"a picture of {article(text)}"
    if scene.background != "white" and rng.random() < COLOURED:
        text += f" on {article(scene.background)} background"
    elif scene.background == "white" and rng.random() < 0.15:
        text += " on a white background"
    if rng.random() < STYLED:
        style = record.style
        said = rng.choice((f"{style} style", f"{style} style", rng.choice(SYNONYMS[style])))
        text = f"{text} in the style of {style}" if rng.random() < 0.2 else f"{text}, {said}"
    return text.lower() if rng.random() < 0.2 else text


def both(left: Record, right: Record) -> Record:
    """Two signs side by side as one: "cat and a dog". What may be said of both stays: the style."""
    label = f"{left.label} and {article(right.label)}"
    flips = left.flips and right.flips
    return replace(left, label=label, base=label, tags=(), group=OBJECTS, tone=0, flips=flips)


def vocabulary_texts(records: Iterable[Record]) -> list[str]:
    """What the tokenizer learns from: every label, every tag and the grammar's own words, common ones more often."""
    texts: list[str] = []
    for record in records:
        texts += [record.label] + [record.base] * (1 if record.group == SYMBOLS else 3) + list(record.tags)
    grammar = [*COLOURS, *HUES, *(word for words in SYNONYMS.values() for word in words)]
    grammar += ["a picture of", "on a background", "in the style of", "icon emoji drawing", "flag of", "a an the and"]
    return texts + grammar * 20
