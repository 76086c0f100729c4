"""What the report asks the model for: fixed prompts with fixed seeds, each with what a right answer shows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from random import Random

from training.captions import COLOURS, article
from training.data import STYLES
from training.judging import lists

PARTS = ("listed", "background", "pair", "synonym")
COLOUR_CONCEPTS = 10  # asked for on each of the twelve colours
FEWEST = 8  # of a part, however small the sample


@dataclass(frozen=True, slots=True)
class Ask:
    """One prompt. `concepts` has two entries for a pair; an empty `style` or `colour` is not asked for."""

    part: str
    prompt: str
    concepts: tuple[str, ...]
    seed: int
    style: str = ""
    colour: str = ""


def everything() -> list[Ask]:
    """All asks, part by part: 1,200 listed, 120 backgrounds, 120 pairs (both orders), and the synonyms."""
    colour_concepts = Random(12).sample(lists.concepts(), COLOUR_CONCEPTS)
    rows: list[tuple[str, str, tuple[str, ...], str, str]] = [
        ("listed", f"{article(concept)}, {style} style", (concept,), style, "")
        for concept in lists.concepts()
        for style in STYLES
    ]
    rows += [
        ("background", f"{article(concept)} on {article(colour)} background", (concept,), "", colour)
        for colour in COLOURS
        for concept in colour_concepts
    ]
    rows += [
        ("pair", f"{article(first)} and {article(second)}", (first, second), "", "")
        for one, two in lists.pairs()
        for first, second in ((one, two), (two, one))
    ]
    rows += [("synonym", word, (concept,), "", "") for word, concept in lists.synonyms()]
    return [
        Ask(part, prompt, concepts, seed=1000 + place, style=style, colour=colour)
        for place, (part, prompt, concepts, style, colour) in enumerate(rows)
    ]


def sample(asks: Sequence[Ask], count: int) -> list[Ask]:
    """About `count` of them, every part in its share but never fewer than eight, always the same ones."""
    if count >= len(asks):
        return list(asks)
    chosen: list[Ask] = []
    for part in PARTS:
        own = [ask for ask in asks if ask.part == part]
        wanted = min(len(own), max(FEWEST, round(count * len(own) / len(asks))))
        order = list(range(len(own)))
        Random(5).shuffle(order)
        # A prefix of one fixed order: a larger sample holds every smaller one.
        chosen += [own[place] for place in sorted(order[:wanted])]
    return chosen
