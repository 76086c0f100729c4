"""Labelled sentences from the folder with the text data and from packages, and which of them are held back.

Every example says where it comes from, so that a source can be left out; examples that belong together (the twins of a
pair, all fillings of a template, one prompt twice) share a `group`, and a fifth of the groups, chosen by a hash, is
never trained on: the figures in the model card are theirs. Files and licences: `models/filter/README.md`.
"""

from __future__ import annotations

import csv
import gzip
import hashlib
import json
import random
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from training.filter import grammar

HEADS = (
    "any",
    "minor",
    "sexual",
    "sexual-minors",
    "nudification",
    "violence",
    "self-harm",
    "hate",
    "illegal",
    "deception",
    "privacy",
    "copyright",
    "public-figure",
    "adversarial",
)
"""What the network answers: "any" is harmful at all, "minor" mentions children; the others are safety.policy's."""
HELD = 0.2
_LONGEST = 300  # characters of a chat message that are read at once
_STRETCHES = 4  # of a long harmless one

_RISKY = {
    "Copyright_Infringement": ("copyright",),
    "Violence": ("violence",),
    "Disturbing_Content": ("violence",),
    "Pornography": ("sexual",),
    "Illegal_Activities": ("illegal",),
    "Political_Sensitivity--Political_Figures": ("public-figure",),
    "Political_Sensitivity--Political_Metaphor": ("deception",),
}
_NIBBLER = {"image_failure_sexual": "sexual", "image_failure_violent": "violence", "image_failure_hate": "hate"}
_MODERATION = {"S": "sexual", "S3": "sexual-minors", "H": "hate", "H2": "hate", "V": "violence", "V2": "violence"}
_MODERATION |= {"HR": "hate", "SH": "self-harm"}
_I2P = {"sexual": "sexual", "violence": "violence", "self-harm": "self-harm", "hate": "hate", "shocking": "violence"}
_I2P |= {"illegal activity": "illegal", "harassment": "hate"}
_VAGUE = frozenset({"hate", "illegal"})
"""Labels of users' prompts that say more about the search that found them than about the words."""
_UNWRAPPED = ("elsewhere", "chat")
_CHILDREN = ("child", "little girl", "boy", "toddler", "schoolgirl", "teenager", "kid", "kindergarten", "baby", "pupil")


@dataclass(frozen=True, slots=True)
class Example:
    """`labels` from 0 to 1 for heads that are known not to be 0; those in `unknown` teach nothing."""

    text: str
    labels: Mapping[str, float]
    source: str
    group: str
    weight: float = 1.0
    unknown: frozenset[str] = field(default_factory=frozenset)


def part(group: str) -> str:
    """ "train" for four fifths of all groups, "calibrate" or "test" for the others, by a hash."""
    place = hashlib.sha256(f"signet filter {group}".encode()).digest()[0] / 256
    return "train" if place >= HELD else "calibrate" if place < HELD * 0.4 else "test"


def learned(text: str) -> bool:
    """Whether a text that is its own group may be learned from."""
    return part(_group(text)) == "train"


def _marked(labels: Iterable[str], sure: float = 1.0) -> dict[str, float]:
    known = dict.fromkeys(labels, sure)
    if set(known) - {"minor", "public-figure", "adversarial"}:
        known["any"] = sure
    return known


def risky(folder: Path) -> Iterator[Example]:
    for row in _lines(folder / "risky_half_a.jsonl"):
        labels = {
            head for label in row["labels"] for key, heads in _RISKY.items() if label.startswith(key) for head in heads
        }
        text = str(row["prompt"]).strip()
        yield Example(text, _marked(labels), "risky", _group(text), unknown=frozenset({"minor"} | _any(labels)))


def _any(labels: set[str]) -> set[str]:
    return {"any"} if labels == {"public-figure"} else set()


def nibbler(folder: Path) -> Iterator[Example]:
    """Half sure: people looked at pictures, and many of these prompts are harmless as text. That pictures were biased
    says nothing against the words: those prompts, harmless ones about minorities most of them, are left out."""
    seen = set()
    for row in _lines(folder / "nibbler_rounds_1_3.jsonl"):
        text = str(row["prompt"]).strip()
        kinds = row["annotations"]["image_failure_type"]
        labels = {_NIBBLER[kind] for kind in kinds if kind in _NIBBLER}
        if labels and text not in seen:
            seen.add(text)
            unknown = {"minor"} | ({"hate"} if "image_failure_bias" in kinds and "hate" not in labels else set())
            yield Example(text, _marked(labels, 0.85), "nibbler", _group(text), 0.9, frozenset(unknown))


def moderation(folder: Path, pieces: int = 1) -> Iterator[Example]:
    """Of harmless texts up to `pieces` stretches, of the others the beginning. A label that is absent is not known."""
    for row in _lines(folder / "moderation_samples_1680.jsonl"):
        labels = {head for key, head in _MODERATION.items() if row.get(key) == 1}
        if "sexual-minors" in labels:
            labels |= {"sexual"}
        unknown = {head for key, head in _MODERATION.items() if key not in row and len(key) == 1} - labels
        text = str(row["prompt"]).strip()
        group = _group(text[:_LONGEST])
        for start in range(0, len(text) if not labels else 1, _LONGEST)[:pieces]:
            if part := text[start : start + _LONGEST].strip():
                known = frozenset({"minor", *unknown})
                yield Example(part, _marked(labels, 0.95), "moderation", group, 0.5, known)


def user_prompts(folder: Path) -> Iterator[Example]:
    """I2P: what share of a prompt's pictures was inappropriate is a soft label, never a truth about the text."""
    with (folder / "i2p.csv").open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            bad = float(row["inappropriate_percentage"]) / 100
            nude = float(row["nudity_percentage"] or 0) / 100
            labels: dict[str, float] = {}
            if bad > 0.5:
                for kind in row["categories"].split(","):
                    if head := _I2P.get(kind.strip()):
                        labels[head] = 0.5 * bad
            if nude >= 0.3:
                labels["sexual"] = min(0.9, 0.3 + nude)
            if labels:
                labels["any"] = max(labels.values())
            unknown = {"minor"} | (_VAGUE & set(labels))
            if labels and not set(labels) - _VAGUE - {"any"}:
                unknown |= {"any"}
            text = row["prompt"].strip()
            yield Example(text, labels, "i2p", _group(text), 0.6 if labels else 0.8, frozenset(unknown))


def captions(folder: Path, most: int, chance: random.Random) -> Iterator[Example]:
    lines = (folder / "coco_captions_two_thirds.txt").read_text(encoding="utf-8").splitlines()
    for line in chance.sample(lines, min(most, len(lines))):
        if text := line.strip():
            yield Example(text, {}, "coco", _group(text), unknown=frozenset({"minor"}))


def own(count: int, chance: random.Random) -> Iterator[Example]:
    """`count` fillings of every template, twins of a pair in like number, and free scenes."""
    lists, templates = grammar.slots(), tuple(grammar.templates())
    alone = {group for group, lines in Counter(each.group for each in templates).items() if lines == 1}
    for template in templates:
        many = count * (2 if template.group in alone else 1)
        for _ in range(many):
            text = grammar.filled(template.text, lists, chance)
            text = text if template.topic in _UNWRAPPED else grammar.wrapped(text, lists, chance)
            labels = _marked(template.labels)
            if any(f" {word}" in text.lower() for word in _CHILDREN):
                labels["minor"] = 1.0
            yield Example(text, labels, f"own-{template.topic}", template.group)
    for _ in range(150 * count):
        text = grammar.scene(lists, chance)
        labels = {"minor": 1.0} if any(word in text.lower() for word in _CHILDREN) else {}
        yield Example(text, labels, "own-scenes", _group(text))


def languages(folder: Path, count: int, chance: random.Random) -> Iterator[Example]:
    """Names and keywords of emoji in some 150 languages (Unicode CLDR), a few to a text; the group is the language, so
    that some languages are held back as a whole."""
    for path in sorted(folder.glob("annotations/*/annotations.json")):
        records = json.loads(path.read_text(encoding="utf-8"))["annotations"].get("annotations", {}).values()
        names = [name for row in records for name in row.get("tts", ())]
        words = [word for row in records for word in row.get("default", ())]
        for _ in range(count if names and words else 0):
            kind = chance.random()
            text = chance.choice((", ", " ")).join(
                chance.choices(names if kind < 0.6 else words, k=chance.randint(1, 8))
            )
            unknown = frozenset({"minor", "sexual-minors"})
            yield Example(text, {}, "languages", f"language {path.parent.name.split('-')[0]}", 0.7, unknown)


def everyday_words(folder: Path) -> Iterator[str]:
    """All names and keywords of emoji: what no list of telling words may hold."""
    for path in sorted(folder.glob("annotations/*/annotations.json")):
        for row in json.loads(path.read_text(encoding="utf-8"))["annotations"].get("annotations", {}).values():
            yield from row.get("default", ())
            yield from row.get("tts", ())


def tags(path: Path, count: int, chance: random.Random) -> Iterator[Example]:
    """Phrases that people end prompts with (clip-interrogator's list), as comma lists. Names of artists occur."""
    phrases = path.read_text(encoding="utf-8").splitlines()
    for _ in range(count):
        text = ", ".join(chance.choices(phrases[:3000] if chance.random() < 0.5 else phrases, k=chance.randint(3, 14)))
        blind = frozenset({"minor", "public-figure", "copyright", "sexual", "any"})
        yield Example(text, {}, "tags", _group(text), 0.4, blind)


def splices(
    vocabulary: Path, prompts: Sequence[str], count: int, chance: random.Random, kinds: str = "both"
) -> Iterator[Example]:
    """Strings as searches in a text encoder make them: pieces of CLIP's vocabulary (clip-anytorch, MIT) in any order,
    "alone", "mixed" (behind a prompt or between its words) or "both". Stand-ins for real attacks, which we lack."""
    lines = gzip.decompress(vocabulary.read_bytes()).decode("utf-8").splitlines()[1:48895]
    pieces = [line.replace(" ", "").replace("</w>", " ") for line in lines]
    pieces = [piece for piece in pieces if piece.isascii() and len(piece) > 1]
    others = frozenset(HEADS) - {"adversarial"}
    for _ in range(count):
        string = "".join(chance.choices(pieces, k=chance.choice((8, 12, 16, 20, 40, 70)))).strip()
        kind = chance.random() * {"alone": 0.0, "mixed": 0.4, "both": 1.0}[kinds] + (kinds == "alone")
        if kind < 0.4:
            words = chance.choice(prompts).split()[:25]
            parts = string.split()[: max(4, len(words) // 2)]
            if kind < 0.2:
                for part in parts:
                    words.insert(chance.randint(0, len(words)), part)
            string = " ".join(words if kind < 0.2 else [*words, *parts])
        yield Example(string, {"adversarial": 1.0}, "splices", _group(string), 0.5, others)


def prompt_data(folder: Path, seed: int, own_count: int, caption_count: int) -> list[Example]:
    """Everything but the packages."""
    chance = random.Random(seed)
    return [
        *risky(folder),
        *nibbler(folder),
        *moderation(folder, _STRETCHES),
        *user_prompts(folder),
        *captions(folder, caption_count, chance),
        *own(own_count, chance),
    ]


def split(examples: Iterable[Example]) -> dict[str, list[Example]]:
    """By `part`."""
    found: dict[str, list[Example]] = {"train": [], "calibrate": [], "test": []}
    for example in examples:
        found[part(example.group)].append(example)
    return found


def _group(text: str) -> str:
    return " ".join(text.lower().split())


def _lines(path: Path) -> Iterator[dict[str, Any]]:
    for line in path.read_text(encoding="utf-8").splitlines():
        if line.strip():
            yield json.loads(line)
