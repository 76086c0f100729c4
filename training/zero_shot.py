"""What the two towers are worth: labels of people signs without a classifier, and search by words, counted.

A label is the nearest of a few texts, as in CLIP's paper: no head is trained. Everything is counted on the art itself,
as it is shown, apart for families of signs that the vision tower was trained on and for those that it has never met.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random

import numpy as np
import torch
from safetensors import safe_open
from torch import Tensor
from torch.nn import functional
from transformers import CLIPModel, CLIPProcessor

from safety.bias.intervals import wilson
from training import claims, data, vision
from training.captions import Scene, draw_scene
from training.data import STYLES, Record
from training.pairs import halved
from training.pictures import batch

BEGIN, END = "<!-- measured: begin -->", "<!-- measured: end -->"
GENDERS = ("woman", "man", "person")
TONES = ("light", "medium-light", "medium", "medium-dark", "dark")
TEMPLATES = ("{}", "a {}", "{} icon", "a picture of a {}", *(f"{{}}, {style} style" for style in STYLES))
FEWEST = 5


@dataclass(frozen=True, slots=True)
class Confusion:
    """`counts` is what a picture is -> what it is said to be -> pictures."""

    title: str
    names: tuple[str, ...]
    counts: Mapping[str, Mapping[str, int]]

    def lines(self) -> Iterator[str]:
        """A table for the card, with Wilson intervals at 95 %."""
        yield f"| {self.title} | {' | '.join(f'said {name}' for name in self.names)} | right |"
        yield f"|---|{'---|' * (len(self.names) + 1)}"
        for name in self.names:
            row = self.counts[name]
            total = sum(row.values())
            yield f"| {name} | {' | '.join(str(row[said]) for said in self.names)} | {share(row[name], total)} |"
        right = sum(self.counts[name][name] for name in self.names)
        total = sum(sum(row.values()) for row in self.counts.values())
        yield f"| all |{' |' * len(self.names)} {share(right, total)} |"


def share(hits: int, total: int) -> str:
    """ "41 of 50, 82 % [69, 90]"; too few are only counted."""
    if total < FEWEST:
        return f"{hits} of {total}"
    low, high = (float(end) for end in wilson(hits, total))
    return f"{hits} of {total}, {hits / total:.0%} [{100 * low:.0f}, {100 * high:.0f}]".replace("%", " %")


def confusion(title: str, names: Sequence[str], known: Sequence[str], said: Sequence[str]) -> Confusion:
    """Counts of pairs."""
    counts = {name: dict.fromkeys(names, 0) for name in names}
    for one, other in zip(known, said, strict=True):
        counts[one][other] += 1
    return Confusion(title, tuple(names), counts)


def gender_of(records: Sequence[Record]) -> dict[int, str]:
    """Rows of pictures with a known gender presentation: signs of one adult whose family has all three forms."""
    people = [row for row, one in enumerate(records) if one.group == data.PEOPLE and one.subgroup in claims.SIGNS]
    forms: dict[str, set[int]] = {}
    for row in people:
        forms.setdefault(claims.family(records[row].base), set()).add(min(3, claims.gender(records[row].base) or 3))
    whole = {name for name, found in forms.items() if found == {1, 2, 3}}
    return {
        row: GENDERS[min(3, claims.gender(records[row].base) or 3) - 1]
        for row in people
        if claims.family(records[row].base) in whole
    }


def tone_of(records: Sequence[Record]) -> dict[int, str]:
    """Rows of pictures of one person whose skin tone is named."""
    rows = (row for row, one in enumerate(records) if one.group == data.PEOPLE and one.subgroup in claims.SIGNS)
    return {row: TONES[records[row].tone - 1] for row in rows if 1 <= records[row].tone <= len(TONES)}


class Pair:
    """A CLIPModel with its processor, asked in batches."""

    def __init__(self, model: CLIPModel, processor: CLIPProcessor) -> None:
        self.model, self.processor = model, processor

    @torch.no_grad()
    def texts(self, texts: Sequence[str]) -> Tensor:
        """Unit vectors (N, 256)."""
        parts = []
        for start in range(0, len(texts), 64):
            given = self.processor(text=list(texts[start : start + 64]), return_tensors="pt", padding=True)
            states = self.model.text_model(input_ids=given["input_ids"]).pooler_output
            parts.append(functional.normalize(self.model.text_projection(states), dim=-1))
        return torch.cat(parts)

    @torch.no_grad()
    def pictures(self, pixels: Tensor) -> Tensor:
        """Pixels (N, 3, 64, 64) in [-1, 1] to unit vectors (N, 256)."""
        parts = []
        for part in torch.split(pixels, 128):
            states = self.model.vision_model(pixel_values=part).pooler_output
            parts.append(functional.normalize(self.model.visual_projection(states), dim=-1))
        return torch.cat(parts)

    def prompts(self, subjects: Mapping[str, Sequence[str]]) -> tuple[tuple[str, ...], Tensor]:
        """A unit vector for each name: the mean over its subjects in all templates."""
        vectors = []
        for wordings in subjects.values():
            texts = [template.format(wording) for wording in wordings for template in TEMPLATES]
            vectors.append(functional.normalize(self.texts(texts).mean(dim=0), dim=-1))
        return tuple(subjects), torch.stack(vectors)


GENDER_TEXTS: Mapping[str, Sequence[str]] = {name: (name,) for name in GENDERS}
TONE_TEXTS: Mapping[str, Sequence[str]] = {
    tone: tuple(f"{who}: {tone} skin tone" for who in ("person", "woman", "man")) for tone in TONES
}


def labelled(pair: Pair, seen: Tensor, texts: Mapping[str, Sequence[str]]) -> list[str]:
    """The name whose texts lie nearest, for each row of `seen`."""
    names, vectors = pair.prompts(texts)
    return [names[place] for place in (seen @ vectors.T).argmax(dim=1).tolist()]


def found(pair: Pair, seen: Tensor, records: Sequence[Record], rows: Sequence[int], most: int = 10) -> tuple[int, int]:
    """(hits, asked): for each different label, whether a picture of it is among the `most` nearest of `seen`."""
    labels = sorted({records[row].label for row in rows})
    near = (pair.texts(labels) @ seen.T).topk(most, dim=1).indices.tolist()
    named = [{records[rows[place]].label for place in places} for places in near]
    return sum(label in names for label, names in zip(labels, named, strict=True)), len(labels)


def measure(work: Path, model: Path, sights: Path, *, seed: int = 5, most: int = 1500) -> Iterator[str]:
    """The measured part of the card, line by line; of pictures that were trained on at most `most` a table."""
    pictures, records = data.load(work)
    with safe_open(sights / "model.safetensors", "pt") as file:
        honest = (file.metadata() or {}).get("held_out") == "1"
    never = "never shown in training" if honest else "held out here, but not from the tower that training began with"
    pair = Pair(*vision.load_clip(model, sights))
    rng = Random(seed)

    def seen(rows: Sequence[int], scenes: Sequence[Scene]) -> Tensor:
        parts = []
        for start in range(0, len(rows), 128):
            small = np.stack([halved(pictures[row]) for row in rows[start : start + 128]])
            parts.append(pair.pictures(batch(small, list(range(len(small))), list(scenes[start : start + 128]))))
        return torch.cat(parts)

    for title, known, texts in (
        ("gender presentation", gender_of(records), GENDER_TEXTS),
        ("skin tone", tone_of(records), TONE_TEXTS),
    ):
        for unseen in (True, False):
            rows = [row for row in known if claims.held_out(records[row]) is unseen]
            rows = rows if unseen else rng.sample(rows, min(len(rows), most))
            vectors = seen(rows, [draw_scene(records[row], rng) for row in rows])
            said = labelled(pair, vectors, texts)
            where = f"signs {never}" if unseen else "signs of the training"
            yield from confusion(f"{title}, {where}", list(texts), [known[row] for row in rows], said).lines()
            yield ""
            if unseen:
                for style in STYLES:
                    part = [place for place, row in enumerate(rows) if records[row].style == style]
                    hits = sum(known[rows[place]] == said[place] for place in part)
                    yield f"- {title}, held out, {style}: {share(hits, len(part))}"
                yield ""
    plain = [row for row, one in enumerate(records) if not one.tone and one.style == "cartoon"]
    vectors = seen(plain, [Scene()] * len(plain))
    for first in (1, 10):
        hits, asked = found(pair, vectors, records, plain, first)
        where = f"{len(plain)} cartoon pictures, in the first {first}"
        yield f"- search by a sign's name among {where}: {share(hits, asked)}"


def write(work: Path, model: Path, sights: Path) -> None:
    """Prints what is measured and puts it into the card between its marks."""
    lines = []
    for line in measure(work, model, sights):
        print(line, flush=True)
        lines.append(line)
    card = sights / "README.md"
    if card.exists():
        text = card.read_text(encoding="utf-8")
        before, _, rest = text.partition(BEGIN)
        _, _, after = rest.partition(END)
        card.write_text(before + "\n".join((BEGIN, "", *lines, "", END)) + after, encoding="utf-8")
