"""What captions claim and what is so: which caption of a batch is true of which picture, and who is drawn together."""

from __future__ import annotations

import hashlib
import re
from collections import defaultdict
from collections.abc import Sequence
from random import Random

import numpy as np
import torch
from torch import Tensor

from training import data
from training.captions import COLOURS, HUES, SYNONYMS, Scene
from training.data import STYLES, Record

RELATIVES = 4
"""Pictures of a group of close relatives."""
HELD_OUT = 6
"""One family of people signs in so many is never shown in training."""
SIGNS = range(23, 30)
"""Subgroups of emojibase that show one person: person, gesture, role, fantasy, activity, sport, resting."""
_GENDER = re.compile(r"\b(?:(?P<woman>wom[ae]n)|(?P<man>m[ae]n)|(?P<person>person|people))\b:?,? ?")


Facts = tuple[int, int, int, int, int, int]


def family(base: str) -> str:
    """What a sign is of, whoever does it: "woman health worker" and "health worker" are one family."""
    return _GENDER.sub("", base).removesuffix(": facing right").strip() or "person"


def gender(text: str) -> int:
    """0 nothing said, 1 woman, 2 man, 3 person, 4 several of them."""
    found = {match.lastgroup for match in _GENDER.finditer(text.lower())}
    return 4 if len(found) > 1 else next((("woman", "man", "person").index(name) + 1 for name in found if name), 0)


def held_out(record: Record) -> bool:
    """Whether a picture is kept from training: a fixed share of the families of people signs."""
    if record.group != data.PEOPLE or record.subgroup not in SIGNS:
        return False
    return hashlib.sha256(family(record.base).encode()).digest()[0] % HELD_OUT == 0


def facts_of(record: Record, scene: Scene, kin: int) -> Facts:
    """The truth about a picture: family, gender, tone, style, ground and hue as numbers, 0 where there is nothing."""
    hue = [*HUES].index(scene.hue) + 1 if scene.hue else 0
    return (
        kin,
        gender(record.base),
        record.tone,
        STYLES.index(record.style) + 1,
        [*COLOURS].index(scene.background) + 1,
        hue,
    )


def claims_of(text: str, facts: Facts) -> Facts:
    """What a caption made for that picture says of it; 0 where it says nothing."""
    low = text.lower()
    kin, person, tone, style, ground, hue = facts
    styled = any(word in low for word in (*SYNONYMS[STYLES[style - 1]], f"style of {STYLES[style - 1]}"))
    grounded = f"{[*COLOURS][ground - 1]} background" in low
    said = (
        person if gender(low) == person else 0,
        tone if "skin tone" in low else 0,
        style * styled,
        ground * grounded,
    )
    return kin, *said, hue


def true_of(claims: Sequence[Facts], facts: Sequence[Facts]) -> Tensor:
    """Bool (B, B): whether caption i is true of picture j."""
    said, so = np.array(claims)[:, None], np.array(facts)[None]
    return torch.from_numpy(((said == so) | (said == 0)).all(axis=2))


class Shown:
    """Draws batches: half of them by weight, half in groups of close relatives."""

    def __init__(self, records: Sequence[Record]) -> None:
        self.records = records
        self.rows = [row for row, record in enumerate(records) if not held_out(record)]
        self.weights = [records[row].weight ** 0.5 for row in self.rows]
        names = {name: number for number, name in enumerate(dict.fromkeys(family(one.base) for one in records), 1)}
        self.kin = [names[family(record.base)] for record in records]
        self.relatives: dict[int, list[int]] = defaultdict(list)
        self.alike: dict[int, list[int]] = defaultdict(list)
        for row in self.rows:
            self.relatives[self.kin[row]].append(row)
            self.alike[records[row].subgroup].append(row)

    def draw(self, rng: Random, count: int) -> list[int]:
        """Rows of the pictures to show."""
        found = rng.choices(self.rows, self.weights, k=count // 2)
        while len(found) < count:
            first = rng.choices(self.rows, self.weights)[0]
            near = self.relatives[self.kin[first]] if rng.random() < 0.6 else self.alike[self.records[first].subgroup]
            found += [first, *rng.choices(near, k=RELATIVES - 1)]
        return found[:count]
