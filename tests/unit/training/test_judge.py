"""The judge is trained and exported on a handful of pictures in a moment, and can be resumed."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from training import data, judge, running
from training.captions import COLOURS
from training.data import FLAGS, FOOD, STYLES, Record
from training.judging import augmentation as show
from training.judging import network

CONCEPTS = ("red apple", "cat", "rocket", "dog face", "sun", "left arrow")


def record(base: str, style: str, tone: int = 0, group: int = FOOD) -> Record:
    return Record("1f34e", base, base, (), style, group, 42, tone, flips=base != "left arrow", weight=1.0)


RECORDS = [record(base, style) for style in STYLES for base in CONCEPTS]


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Discs of different colours and places, one for each concept and style, on transparency."""
    folder = tmp_path_factory.mktemp("work")
    rng = np.random.default_rng(0)
    yy, xx = np.mgrid[: data.SIZE, : data.SIZE]
    layers = np.zeros((len(RECORDS), data.SIZE, data.SIZE, 4), dtype=np.uint8)
    for layer in layers:
        disc = (yy - rng.integers(40, 90)) ** 2 + (xx - rng.integers(40, 90)) ** 2 < rng.integers(20, 40) ** 2
        layer[disc] = [*rng.integers(0, 256, 3), 255]
    np.save(folder / "pictures.npy", layers)
    data.save_records(RECORDS, folder)
    return folder


@pytest.fixture(scope="module")
def exported(work: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    judge.train(work, minutes=0, seed=1, resume=False)
    out = tmp_path_factory.mktemp("judge")
    judge.export(work, out)
    return out


def test_one_style_of_a_tenth_of_the_concepts_is_held_out_and_never_a_flag() -> None:
    many = [record(f"thing {number}", style, tone) for number in range(50) for style in STYLES for tone in (0, 1)]
    flags = [record(f"flag {number}", style, group=FLAGS) for number in range(50) for style in STYLES]
    held = judge.held_out([*many, *flags])
    assert len(held) == 10  # five concepts, one style each, both tones
    assert all(row < len(many) for row in held)
    assert {many[row].style for row in held} == set(STYLES)


def test_what_is_held_out_is_never_drawn(work: Path) -> None:
    art = judge.read(work)
    assert art.held
    feed = judge.Feed(art)
    rows = torch.multinomial(feed.weights, 5000, replacement=True)
    assert not set(rows.tolist()) & art.held


def test_a_batch_names_one_concept_of_a_single_and_both_of_a_pair(work: Path) -> None:
    torch.manual_seed(0)
    seen, target, styles, colours = judge.Feed(judge.read(work)).draw(12, 4)
    assert seen.shape == (12, 3, network.SIDE, network.SIDE)
    assert float(seen.min()) >= -1
    assert float(seen.max()) <= 1
    assert torch.allclose(target.sum(dim=1), torch.ones(12))
    assert ((target[4:] > 0).sum(dim=1) == 1).all()
    assert (target[:4].max(dim=1).values >= 0.5).all()
    assert styles.max() < len(STYLES)
    assert colours.max() < len(COLOURS)


def test_the_untoned_picture_of_a_concept_stands_for_it(work: Path) -> None:
    art = judge.read(work)
    toned = replace(art, records=[record("cat", "flat", tone=3), *art.records[1:]])
    assert 0 not in toned.rows(["cat", "red apple"])
    assert [toned.records[row].base for row in toned.rows(["cat"])] == ["cat"] * 4


def test_a_judge_reads_back_with_its_memory_and_its_own_accuracy(exported: Path) -> None:
    read = network.load(exported)
    assert read.labels == tuple(sorted(CONCEPTS))
    assert read.memory["real"].shape == (5 * 4, network.FEATURES)  # "left arrow" is not on the list
    own = read.facts["own"]
    assert own["clean_top5"]["tries"] == 20
    assert 0 <= own["left_out_top1"]["share"] <= 1
    assert own["clean_pair"]["tries"] == 4  # a cat and a rocket
    assert read.facts["look_alike"]["limit"] > 0
    assert {file.name for file in exported.iterdir()} == {"judge.safetensors", "config.json"}


def test_training_goes_on_where_it_stopped(work: Path, exported: Path) -> None:
    before = running.load(work / judge.CHECKPOINT)[1]["step"]
    judge.train(work, minutes=0, seed=1, resume=True)
    assert running.load(work / judge.CHECKPOINT)[1]["step"] == before + 1


def test_a_folder_without_a_judge_says_what_is_missing(tmp_path: Path, exported: Path) -> None:
    with pytest.raises(network.NoJudge, match=r"config\.json"):
        network.load(tmp_path)
    (tmp_path / "config.json").write_text('{"labels": []}')
    (tmp_path / "judge.safetensors").write_bytes((exported / "judge.safetensors").read_bytes())
    with pytest.raises(network.NoJudge, match="does not fit"):
        network.load(tmp_path)


def test_a_judge_too_large_for_the_repository_is_not_written(exported: Path, tmp_path: Path) -> None:
    read = network.load(exported)
    large = replace(read, memory={"real": torch.zeros(network.LIMIT // 2)})
    with pytest.raises(network.TooLarge, match="limit is 3 MiB"):
        network.save(large, tmp_path)
    assert not list(tmp_path.iterdir())


def test_augmented_backgrounds_stay_nearest_to_their_names() -> None:
    torch.manual_seed(0)
    names, colours = show.backgrounds(2000)
    table = torch.tensor([COLOURS[name] for name in show.NAMES], dtype=torch.float32)
    nearest = torch.cdist(255 * colours.flatten(1), table).argmin(dim=1)
    assert float((nearest == names).float().mean()) > 0.99


def test_a_subject_is_put_where_it_is_told() -> None:
    layers = torch.ones(1, 4, 32, 32)
    place = show.Place(torch.tensor([0.4]), torch.tensor([-0.5]), torch.tensor([0.0]))
    torch.manual_seed(0)
    there = show.put(layers, place, torch.tensor([False]), wobble=0)[0, 3]
    assert there[16, 8] > 0.9
    assert there[16, 24] < 0.1


def test_pictures_shrink_by_averaging_and_only_evenly() -> None:
    picture = np.arange(16, dtype=np.uint8).reshape(1, 4, 4, 1).repeat(4, axis=3)
    assert show.shrink(picture, 2)[0, 0].tolist() == [[3, 5], [11, 13]]
    with pytest.raises(ValueError, match="evenly"):
        show.shrink(picture, 3)
