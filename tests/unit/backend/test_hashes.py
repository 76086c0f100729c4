from __future__ import annotations

import hashlib
import json
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from backend.models.catalog import Catalog
from backend.models.hashes import Hasher, file_sha256, hashes_of, model_sha256
from backend.types import ModelInfo
from tests.support.headers import CHECKPOINTS, lora, save


def until(true: Callable[[], object], seconds: float = 10) -> None:
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "it never happened"
        time.sleep(0.005)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    save(tmp_path / "models/one.safetensors", CHECKPOINTS["sd1"])
    save(tmp_path / "models/style.safetensors", lora())
    return tmp_path / "models"


def test_the_hashes_are_those_of_a1111(tmp_path: Path):
    file = save(tmp_path / "x.safetensors", {"a": (1 << 20,), "b": (3, 5)})
    data = file.read_bytes()
    found = hashes_of(file)
    assert found.sha256 == hashlib.sha256(data).hexdigest() == file_sha256(file) == model_sha256(file)
    assert found.autov2 == found.sha256[:10]
    assert found.autov1 == hashlib.sha256(data[0x100000:0x110000]).hexdigest()[:8]
    start = 8 + int.from_bytes(data[:8], "little")
    assert found.autov3 == hashlib.sha256(data[start:]).hexdigest()[:12]


def test_autov3_of_a_header_longer_than_a_block_leaves_the_whole_header_out(tmp_path: Path):
    file = save(tmp_path / "x.safetensors", {"a": (7,)}, {"note": "x" * (5 << 19)})
    assert hashes_of(file).autov3 == hashlib.sha256(bytes(14)).hexdigest()[:12]


def test_a_folder_has_one_hash_wherever_it_lies(tmp_path: Path):
    for name in ("a", "b"):
        save(tmp_path / name / "unet/model.safetensors", {"w": (2,)})
    first, second = hashes_of(tmp_path / "a"), hashes_of(tmp_path / "b")
    assert first == second
    assert first.sha256 == model_sha256(tmp_path / "b")
    assert (first.autov1, first.autov3) == (None, None)


def test_hashes_come_in_the_background_and_models_are_then_found_by_them(folder: Path, tmp_path: Path):
    hasher = Hasher(tmp_path / "hashes.json", delay=0, every=0.02)
    catalog = Catalog((), (folder,), hasher=hasher)
    assert catalog.find("one").sha256 is None
    version = catalog.version()
    hasher.start(catalog.everything)
    until(lambda: hasher.generation == 2)
    hasher.close()
    info, whole = catalog.find("one"), file_sha256(folder / "one.safetensors")
    assert info.sha256 == whole
    assert catalog.version() > version
    for name in (
        whole,
        whole[:10],
        f"one.safetensors [{whole[:10]}]",
        f"other.safetensors [{whole[:10]}]",
    ):
        assert catalog.find(name).id == "one"
    autov3 = hashes_of(folder / "style.safetensors").autov3
    assert autov3 is not None
    assert catalog.find(autov3, "lora").autov3 == autov3


def test_what_is_known_is_not_hashed_again_unless_the_file_changes(folder: Path, tmp_path: Path):
    cache = tmp_path / "hashes.json"
    for expected in (2, 0):
        hasher = Hasher(cache, delay=0, every=0.01)
        catalog = Catalog((), (folder,), hasher=hasher)
        hasher.start(lambda catalog=catalog: catalog.everything())  # type: ignore[misc]
        until(lambda hasher=hasher: len(hasher._known) == 2)  # type: ignore[misc]
        time.sleep(0.05)
        hasher.close()
        assert hasher.generation == expected
    save(folder / "one.safetensors", CHECKPOINTS["sd2"])
    assert Catalog((), (folder,), hasher=Hasher(cache)).find("one").sha256 is None


def test_the_hash_in_the_metadata_of_a_lora_goes_first(tmp_path: Path):
    save(tmp_path / "x.safetensors", lora(), {"sshs_model_hash": "ab" * 32})
    assert Catalog((), (tmp_path,)).find("x", "lora").autov3 == "ab" * 6


def info(path: Path, size: int) -> ModelInfo:
    return ModelInfo(path.stem, path.stem, "sd1", str(path), "single-file", 8, 512, size)


def test_small_files_come_first(tmp_path: Path):
    files = [save(tmp_path / f"{name}.safetensors", {"w": (2,)}) for name in "abc"]
    infos = [info(path, size) for path, size in zip(files, (1 << 30, 10, 5), strict=True)]
    order: list[str] = []
    hasher = Hasher(delay=0, every=0.01)
    plain_hash = hasher._hash
    hasher._hash = lambda item, pause: (order.append(item.id), plain_hash(item, pause))  # type: ignore[func-returns-value,method-assign,assignment]
    hasher.start(lambda: infos)
    until(lambda: len(order) == 3)
    hasher.close()
    assert order == ["c", "b", "a"]


def test_nothing_is_hashed_while_there_is_work_and_closing_does_not_wait_for_it(folder: Path):
    busy = threading.Event()
    busy.set()
    hasher = Hasher(delay=0.01, every=0.01)
    catalog = Catalog((), (folder,), hasher=hasher)
    hasher.start(catalog.everything, idle=lambda: not busy.is_set())
    time.sleep(0.1)
    assert hasher.generation == 0
    busy.clear()
    until(lambda: hasher.generation == 2)
    busy.set()
    began = time.monotonic()
    hasher.close()
    assert time.monotonic() - began < 2


def test_closing_ends_in_the_middle_of_a_file(tmp_path: Path):
    file = tmp_path / "big.safetensors"
    with file.open("wb") as handle:
        handle.truncate(1 << 36)  # 64 GiB of nothing
    hasher = Hasher(delay=0, every=0.01)
    hasher.start(lambda: [info(file, 1)])
    time.sleep(0.05)
    began = time.monotonic()
    hasher.close()
    assert time.monotonic() - began < 2


@pytest.mark.parametrize("text", ["", "[]", "{", '{"/x": 5}', '{"/x": {"size": 1}}', "\x00", '{"/x": {"size": "a"}}'])
def test_a_damaged_memory_is_forgotten(tmp_path: Path, text: str):
    (tmp_path / "hashes.json").write_text(text)
    assert Hasher(tmp_path / "hashes.json").known(info(Path("/x"), 1)) is None


def test_a_file_that_goes_away_stops_nothing(tmp_path: Path):
    here = save(tmp_path / "here.safetensors", {"w": (2,)})
    hasher = Hasher(tmp_path / "hashes.json", delay=0, every=0.01)
    hasher.start(lambda: [info(tmp_path / "gone.safetensors", 1), info(here, here.stat().st_size)])
    until(lambda: hasher.generation == 1)
    hasher.close()
    assert list(json.loads((tmp_path / "hashes.json").read_text())) == [str(here)]


def test_what_was_learnt_before_the_end_is_kept(tmp_path: Path):
    small = save(tmp_path / "small.safetensors", {"w": (2,)})
    big = tmp_path / "big.safetensors"
    with big.open("wb") as handle:
        handle.truncate(1 << 36)
    hasher = Hasher(tmp_path / "hashes.json", delay=0, every=0.01)
    hasher.start(lambda: [info(small, 1), info(big, 2)])
    until(lambda: hasher.generation == 1)
    hasher.close()
    assert list(json.loads((tmp_path / "hashes.json").read_text())) == [str(small)]


def test_a_large_model_answers_to_its_oldest_hash_too_and_a_small_one_has_none(folder: Path, tmp_path: Path):
    assert hashes_of(folder / "one.safetensors").autov1 is None
    save(folder / "large.safetensors", {**lora(), "lora_unet_x.lora_down.weight": (4, 1 << 18)})
    hasher = Hasher(delay=0, every=0.01)
    catalog = Catalog((), (folder,), hasher=hasher)
    hasher.start(catalog.everything)
    until(lambda: hasher.generation == 3)
    hasher.close()
    autov1 = hashes_of(folder / "large.safetensors").autov1
    assert autov1 is not None
    assert catalog.find(autov1, "lora").id == "large"
    assert catalog.find(f"renamed [{autov1}]", "lora").id == "large"
