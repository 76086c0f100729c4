"""Words that no caption has: which sign they mean, and that the text tower learns them and nothing else changes."""

from __future__ import annotations

import json
from pathlib import Path
from random import Random
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import Tensor

from training import data, geometry, running, stages, synonyms, towers, wordnet
from training.captions import Scene
from training.data import FOOD, STYLES, Record
from training.denoiser import padded
from training.keywords import Keywords
from training.synonyms import Tower, lengths, places, twins

pytestmark = pytest.mark.filterwarnings("ignore")

DATA = """  1 This is the licence, which begins with two blanks.
00000010 05 n 01 animal 0 000 | a living thing that moves
00000020 05 n 02 dog 0 domestic_dog 0 001 @ 00000010 n 0000 | a member of the genus Canis; "the dog barked"
00000030 05 n 01 hound 0 001 @ 00000020 n 0000 | a dog that hunts
00000040 18 n 02 cad 0 dog 1 000 | someone who is morally reprehensible
00000050 05 n 01 cat 0 001 @ 00000010 n 0000 | a feline mammal
00000060 06 n 01 gift 0 000 | something given
"""
INDEX = """  1 This is the licence, which begins with two blanks.
animal n 1 1 ~ 1 0 00000010
cad n 1 0 1 0 00000040
cat n 1 1 @ 1 1 00000050
dog n 2 1 @ 2 1 00000020 00000040
domestic_dog n 1 1 @ 1 0 00000020
gift n 1 0 1 0 00000060
hound n 1 1 @ 1 0 00000030
"""
SIGNS = ("dog face", "cat", "wrapped gift")


@pytest.fixture
def nouns(tmp_path: Path) -> wordnet.Nouns:
    (tmp_path / "data.noun").write_text(DATA, encoding="utf-8")
    (tmp_path / "index.noun").write_text(INDEX, encoding="utf-8")
    return wordnet.Nouns.read(tmp_path)


def axis(place: int, other: int | None = None, share: float = 0.0) -> Tensor:
    """A unit vector along one axis of six, with a cosine of `share` to another."""
    vector = torch.zeros(6)
    vector[place] = (1 - share**2) ** 0.5
    if other is not None:
        vector[other] = share
    return vector


# ---- what words mean


def test_wordnet_is_read_with_what_is_a_kind_of_what(nouns: wordnet.Nouns) -> None:
    assert nouns.synsets[20].words == ("dog", "domestic dog")
    assert nouns.synsets[20].gloss == "a member of the genus Canis"
    assert nouns.senses["dog"] == (20, 40) and nouns.senses["domestic dog"] == (20,)
    assert nouns.kinds(30) == {30: 0, 20: 1, 10: 2}


def test_a_sign_is_looked_up_by_its_name_without_the_face_or_by_its_last_word(nouns: wordnet.Nouns) -> None:
    assert nouns.meanings_of("dog face") == (20, 40)
    assert nouns.meanings_of("wrapped gift") == (60,)
    assert nouns.meanings_of("flag: Chad") == ()


def test_a_sign_shows_the_meaning_that_its_name_and_tags_are_like(nouns: wordnet.Nouns) -> None:
    of_signs = torch.stack([axis(0), axis(1), axis(2)])
    glosses = {20: axis(0), 40: axis(5), 50: axis(1), 60: axis(2)}
    assert wordnet.meant(nouns, SIGNS, of_signs, glosses) == {"dog face": 20, "cat": 50, "wrapped gift": 60}
    assert wordnet.meant(nouns, SIGNS, of_signs, glosses | {20: axis(5), 40: axis(0)})["dog face"] == 40


def test_a_word_means_its_nearest_sign_and_kinship_makes_it_nearer(nouns: wordnet.Nouns) -> None:
    of_signs = torch.stack([axis(0), axis(1), axis(2)])
    shown = {"dog face": 20, "cat": 50, "wrapped gift": 60}
    words = ["hound", "cad", "cat", "kitty"]
    near = torch.stack([axis(5, 0, 0.5), axis(5, 0, 0.5), axis(1), axis(5, 1, 0.75)])
    found = wordnet.words_of_signs(nouns, shown, SIGNS, of_signs, words, near, Keywords({}, {}))
    # A cad is no dog, a cat is a sign's name already; kitty is like enough without being in the dictionary.
    assert found == {"hound": "dog face", "kitty": "cat"}


def test_a_keyword_decides_between_signs_that_are_as_near_and_another_name_against_a_nearer_one(
    nouns: wordnet.Nouns,
) -> None:
    of_signs = torch.stack([axis(0), axis(1), axis(2)])
    near = torch.stack([(axis(0) + axis(1)) / 2**0.5, axis(5, 0, 0.6)])
    keywords = Keywords({"pet": ["cat"]}, {"parcel": ["wrapped gift"]})
    found = wordnet.words_of_signs(nouns, {}, SIGNS, of_signs, ["pet", "parcel"], near, keywords)
    assert found == {"pet": "cat", "parcel": "wrapped gift"}


def test_keywords_are_read_in_all_english_and_tell_less_the_more_signs_share_them(tmp_path: Path) -> None:
    said = {
        "en": {"🐶": {"default": ["Pet", "dog"], "tts": ["dog face"]}, "🐈": {"default": ["pet"]}},
        "en-GB": {"🐶": {"tts": ["Pooch"]}},
        "de": {"🐶": {"default": ["Hund"]}},
    }
    for place, emoji in said.items():
        (tmp_path / "annotations" / place).mkdir(parents=True)
        text = json.dumps({"annotations": {"annotations": emoji}})
        (tmp_path / "annotations" / place / "annotations.json").write_text(text, encoding="utf-8")
    records = [
        Record("1f436", "dog face", "dog face", ("puppy",), "flat", FOOD, 0, 0, True, 1.0),
        Record("1f408", "cat", "cat", (), "flat", FOOD, 0, 0, True, 1.0),
    ]
    keywords = Keywords.read(tmp_path, records)
    assert sorted(keywords.told("pet")) == [("cat", 0.5**0.5), ("dog face", 0.5**0.5)]
    assert list(keywords.told("pooch")) == [("dog face", 2.0)]
    assert list(keywords.told("puppy")) == [("dog face", 1.0)]
    assert not list(keywords.told("hund"))


def test_kinds_of_a_sign_are_called_by_all_their_names(nouns: wordnet.Nouns) -> None:
    assert wordnet.names_of_kinds(nouns, {"dog face": 20}) == ["dog", "domestic dog", "hound"]


# ---- what is said of them


def test_twins_differ_in_the_word_alone() -> None:
    record = Record("1f436", "dog face", "dog face", ("pet",), "flat", FOOD, 0, 0, True, 1.0)
    for seed in range(40):
        one, two = twins("hound", record, Scene("blue"), Random(seed))
        assert one.lower().replace("hound", "dog face") == two.lower()


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two signs, a tokenizer and a text tower that was never trained."""
    folder = tmp_path_factory.mktemp("work")
    data.save_records(
        [
            Record(f"{name} {style}", name, name, (), style, FOOD, 0, 0, False, 1.0)
            for name in ("red apple", "pear")
            for style in STYLES
        ],
        folder,
    )
    np.save(folder / "pictures.npy", np.zeros((2 * len(STYLES), data.SIZE, data.SIZE, 4), np.uint8))
    torch.manual_seed(0)
    trunk = geometry.text_tower().state_dict()
    running.save(folder / towers.FILE, {f"average.text.{name}": value for name, value in trunk.items()}, {})
    return folder


def test_every_token_finds_its_fellow_and_those_of_the_word_the_last_one_of_the_name(work: Path) -> None:
    tokenizer = towers.learn_tokenizer(work)
    ids = padded(tokenizer, ["a quince, flat style", "a red apple, flat style"])
    mine, theirs = (int(one) for one in lengths(ids, tokenizer.eos_token_id))
    place = places(ids[:1], ids[1:], tokenizer.eos_token_id)[0]
    apple = tokenizer.convert_ids_to_tokens(ids[1].tolist()).index("apple</w>")
    tail = len(tokenizer(", flat style").input_ids) - 1  # with the end
    assert place[:2].tolist() == [0, 1]
    assert set(place[2 : mine - tail].tolist()) == {apple}
    assert place[mine - tail : mine].tolist() == list(range(theirs - tail, theirs))
    assert place[max(mine, theirs) :].tolist() == list(range(max(mine, theirs), ids.shape[1]))


def test_the_same_text_twice_has_everything_in_its_place(work: Path) -> None:
    tokenizer = towers.learn_tokenizer(work)
    ids = padded(tokenizer, ["a pear", "pear", ""])
    assert places(ids, ids, tokenizer.eos_token_id).tolist() == [list(range(ids.shape[1]))] * 3


# ---- learning them


@torch.no_grad()
def apart(work: Path, one: str, two: str, *, synonyms: bool) -> float:
    """How far what the tower says of `one` lies from what it said before of `two`, in the padding."""
    ids = padded(towers.learn_tokenizer(work), [one, two])
    now, before = (Tower(towers.load_text(work, synonyms=so))(ids) for so in (synonyms, False))
    return float((now[0, -8:] - before[1, -8:]).square().mean())


@pytest.fixture
def taught(work: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(synonyms, "words_of", lambda *_: synonyms.Words({"pome": "red apple"}, [1.0]))
    monkeypatch.setattr(synonyms.Meanings, "read", lambda *_: SimpleNamespace(words=["pome", "sky"]))
    for name, value in {"PAIRS": 4, "KEPT": 4, "OTHERS": 1}.items():
        monkeypatch.setattr(synonyms, name, value)
    synonyms.train(work, minutes=0.05, seed=0, resume=False)
    return work


def test_the_tower_learns_the_word_and_says_of_captions_what_it_said(taught: Path) -> None:
    before = apart(taught, "a pome", "a red apple", synonyms=False)
    assert apart(taught, "a pome", "a red apple", synonyms=True) < 0.5 * before
    assert apart(taught, "a pear", "a pear", synonyms=True) < 0.5 * before


def test_it_goes_on_and_another_tower_does_not_take_the_words_over(taught: Path) -> None:
    step = running.load(taught / towers.TAUGHT)[1]["step"]
    synonyms.train(taught, minutes=0.1, seed=0, resume=True)
    assert running.load(taught / towers.TAUGHT)[1]["step"] > step
    tensors, facts = running.load(taught / towers.FILE)
    running.save(taught / towers.FILE, {name: value + 0.01 for name, value in tensors.items()}, facts)
    same = zip(
        towers.load_text(taught).parameters(), towers.load_text(taught, synonyms=False).parameters(), strict=True
    )
    assert all(torch.equal(one, two) for one, two in same)
    running.save(taught / towers.FILE, tensors, facts)


def test_it_is_a_stage_of_the_recipe_between_tower_and_denoiser() -> None:
    names = list(stages.NAMES)
    assert names.index("towers") < names.index("synonyms") < names.index("denoiser")
