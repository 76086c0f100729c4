"""The whole recipe on a few made-up lines, with an encoder of noise: it ends with files that can be read."""

from __future__ import annotations

import gzip
import json
import random
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from safety.prompt_filter.classifier import TextClassifier
from training.filter import export, grammar, sources, words
from training.filter.__main__ import main
from training.filter.student import Shape, Student


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    places = [f"{colour} {thing}" for colour in ("red", "blue", "old", "small") for thing in ("house", "boat", "tree")]
    risky = [{"prompt": f"a fight at the {p}", "labels": ["Violence--Weapons_and_Conflicts"]} for p in places]
    nibbler = [
        {"prompt": f"a duel at the {p}", "annotations": {"image_failure_type": ["image_failure_violent"]}}
        for p in places
    ]
    chat = [{"prompt": f"tell me about the {p}", "S": 0, "H": 0} for p in places]
    for name, rows in (("risky_half_a", risky), ("nibbler_rounds_1_3", nibbler), ("moderation_samples_1680", chat)):
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    header = "prompt,categories,inappropriate_percentage,nudity_percentage\n"
    (folder / "i2p.csv").write_text(
        header + "".join(f'"painting of a {p}",hate,0,0\n' for p in places), encoding="utf-8"
    )
    lines = [f"A {place} near {other}." for place in places for other in places]
    (folder / "coco_captions_two_thirds.txt").write_text("\n".join(lines), encoding="utf-8")
    (folder / "ldnoobw").mkdir()
    (folder / "ldnoobw" / "de.txt").write_text("grobeswort\n", encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def packages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("packages")
    letters = "abcdefghijklmnopqrstuvwxyz0123456789.,:'-"
    pieces = [
        "[PAD]",
        "[UNK]",
        "[CLS]",
        "[SEP]",
        *letters,
        *(f"##{c}" for c in letters),
        *(f"##{c}{c}" for c in letters),
        *(c + c for c in letters),
        "house",
        "boat",
        "man",
        "woman",
    ]
    for name in ("minilm", "phrases", "clip", "cldr/annotations/de"):
        (folder / name).mkdir(parents=True)
    (folder / "minilm" / "vocab.txt").write_text("\n".join(pieces), encoding="utf-8")
    width, chance = 384, torch.Generator().manual_seed(0)

    def noise(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=chance) * 0.05

    given = {
        "embeddings.word_embeddings.weight": noise(len(pieces), width),
        "embeddings.token_type_embeddings.weight": noise(2, width),
        "embeddings.position_embeddings.weight": noise(512, width),
    }
    parts = ["attention.self.query", "attention.self.key", "attention.self.value", "attention.output.dense"]
    for layer in range(2):
        name = f"encoder.layer.{layer}"
        for part in parts:
            given |= {f"{name}.{part}.weight": noise(width, width), f"{name}.{part}.bias": noise(width)}
        given |= {
            f"{name}.intermediate.dense.weight": noise(1536, width),
            f"{name}.intermediate.dense.bias": noise(1536),
        }
        given |= {f"{name}.output.dense.weight": noise(width, 1536), f"{name}.output.dense.bias": noise(width)}
        for part in ("attention.output.LayerNorm", "output.LayerNorm"):
            given |= {f"{name}.{part}.weight": torch.ones(width), f"{name}.{part}.bias": torch.zeros(width)}
    given |= {"embeddings.LayerNorm.weight": torch.ones(width), "embeddings.LayerNorm.bias": torch.zeros(width)}
    save_file(given, folder / "minilm" / "model.safetensors")
    (folder / "phrases" / "flavors.txt").write_text("oil painting\nsharp focus\nsoft light\n", encoding="utf-8")
    clip = "version\n" + "\n".join(f"{a} {b}</w>" for a in "bcdfg" for b in "aeiou")
    (folder / "clip" / "bpe_simple_vocab_16e6.txt.gz").write_bytes(gzip.compress(clip.encode()))
    names = {"x": {"default": ["haus", "dach"], "tts": ["haus"]}}
    (folder / "cldr/annotations/de/annotations.json").write_text(json.dumps({"annotations": {"annotations": names}}))
    return folder


def test_a_short_run_ends_with_a_classifier(data: Path, packages: Path, tmp_path: Path) -> None:
    options = ["--data", str(data), "--packages", str(packages), "--out", str(tmp_path / "filter")]
    main([*options, "--minutes", "0.03", "--fillings", "1", "--captions", "40", "--threads", "1"])
    classifier = TextClassifier(tmp_path / "filter")
    assert all(0 <= score <= 1 for score in classifier.scores("a fight at the red house").values())
    assert 0 <= classifier.fluency.oddness("a small house near a boat") <= 1
    assert classifier.scores("so ein Grobeswort")["sexual"] >= 0.9


def test_a_network_is_read_back_as_the_file_has_rounded_it(tmp_path: Path) -> None:
    shape = Shape(pieces=20, inner=16)
    torch.manual_seed(0)
    student, vocabulary = Student(shape, 20, len(sources.HEADS)), [f"piece{number}" for number in range(20)]
    export.write(tmp_path, export.weights(student), {}, vocabulary, {}, {}, {})
    again = Student(shape, 20, len(sources.HEADS))
    again.load_state_dict(export.read(tmp_path, vocabulary))
    numbers = torch.tensor([[3, 7, 1, 19, 4, 0, 0]])
    assert torch.allclose(student.eval()(numbers), again.eval()(numbers), atol=0.02)
    with pytest.raises(ValueError, match="other word pieces"):
        export.read(tmp_path, vocabulary[1:])


def test_twins_and_fillings_stay_on_one_side() -> None:
    parts = sources.split(sources.own(2, random.Random(0)))
    groups = {name: {each.group for each in some} for name, some in parts.items()}
    assert not groups["train"] & groups["test"] and not groups["train"] & groups["calibrate"]
    assert all(groups.values())


def test_the_same_seed_gives_the_same_sentences() -> None:
    one, two = (list(sources.own(1, random.Random(5))) for _ in range(2))
    assert one == two


def test_every_template_can_be_filled() -> None:
    lists, chance = grammar.slots(), random.Random(1)
    for template in grammar.templates():
        text = grammar.filled(template.text, lists, chance)
        assert text.strip() and not set(text) & set("{}[]#")


def test_both_halves_of_a_pair_are_equally_long_on_the_whole() -> None:
    lists, chance = grammar.slots(), random.Random(2)
    lengths: dict[bool, list[int]] = {True: [], False: []}
    for template in grammar.templates():
        if template.topic not in ("benign", "elsewhere", "chat"):  # most of these have no twin
            lengths[bool(template.labels)].append(len(grammar.filled(template.text, lists, chance)))
    means = [sum(some) / len(some) for some in lengths.values()]
    assert abs(means[0] - means[1]) < 0.15 * max(means)


def test_listed_words_that_harmless_texts_use_are_dropped() -> None:
    terms = {"haus": "sexual", "grobeswort": "sexual", "abc": "sexual"}
    assert words.kept(terms, ["Das Haus am See"]) == {"grobeswort": "sexual"}


def test_chats_and_prompts_are_labelled_with_our_categories(data: Path) -> None:
    examples = sources.prompt_data(data, 0, 1, 5)
    assert {head for each in examples for head in each.labels} <= set(sources.HEADS)
    assert all(each.labels["any"] == 1.0 for each in examples if each.source == "risky")
