"""Pictures people bring: kept byte for byte under their hash, cleared away by age, and never trusted."""

from __future__ import annotations

import hashlib
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from backend import images
from backend.errors import NotFound, UnreadableImage
from backend.inputs import InputStore
from tests.support.pictures import gradient


def picture(number: int, side: int = 16) -> bytes:
    return images.encode_png(gradient(side, side, number))


@pytest.fixture
def store(tmp_path: Path) -> InputStore:
    return InputStore(tmp_path / "inputs", 1 << 30, 10_000)


def age(path: Path, seconds: int) -> None:
    os.utime(path, (path.stat().st_atime - seconds, path.stat().st_mtime - seconds))


def test_a_picture_is_kept_as_the_bytes_it_is_under_their_hash(store: InputStore):
    data = picture(1)
    kept = store.put(data)
    assert kept.id == hashlib.sha256(data).hexdigest()
    assert kept.path.read_bytes() == data
    assert (kept.width, kept.height, kept.media_type) == (16, 16, "image/png")
    assert store.get(kept.id) == kept == store.put(data)


def test_another_run_of_the_studio_finds_it_again(store: InputStore, tmp_path: Path):
    kept = store.put(picture(1))
    assert InputStore(tmp_path / "inputs", 1 << 30, 10_000).get(kept.id) == kept


@pytest.mark.parametrize(
    "ident", ["", "..", "../../etc/passwd", "a" * 63, "A" * 64, "a" * 64, "a" * 64 + "\n", "\x00" * 64]
)
def test_only_hashes_name_pictures(store: InputStore, ident: str):
    with pytest.raises(NotFound):
        store.get(ident)


def test_what_is_no_picture_or_too_large_leaves_nothing_behind(store: InputStore, tmp_path: Path):
    for data in (b"", b"GIF89a", b"<svg/>", picture(1)[:60], picture(1, 200)):
        with pytest.raises(UnreadableImage):
            store.put(data)
    assert not [path for path in (tmp_path / "inputs").rglob("*") if path.is_file()]


def test_a_picture_is_decoded_once_however_often_it_is_named(store: InputStore, monkeypatch: pytest.MonkeyPatch):
    kept = store.put(picture(1))
    monkeypatch.setattr(images, "decode", None)
    assert store.get(kept.id) == kept


def test_the_ones_unused_for_longest_go_when_room_is_short(tmp_path: Path):
    first, second, third = (picture(number, 32) for number in range(3))
    store = InputStore(tmp_path, len(first) + len(second) + 10, 10_000)
    one, two = store.put(first), store.put(second)
    age(one.path, 50)
    age(two.path, 20)
    store.put(first)  # bringing it again is a use
    store.put(third)
    assert store.get(one.id) == one
    with pytest.raises(NotFound):
        store.get(two.id)


def test_a_picture_larger_than_all_the_room_is_kept_until_the_next_one(tmp_path: Path):
    store = InputStore(tmp_path, 10, 10_000)
    kept = store.put(picture(1))
    assert store.get(kept.id) == kept


def test_a_picture_that_was_cleared_away_is_missed_even_if_it_is_remembered(store: InputStore):
    kept = store.put(picture(1))
    kept.path.unlink()
    with pytest.raises(NotFound):
        store.get(kept.id)


def test_many_may_bring_the_same_pictures_at_once(tmp_path: Path):
    data = [picture(number % 3) for number in range(48)]
    store = InputStore(tmp_path, len(data[0]) * 2, 10_000)
    with ThreadPoolExecutor(8) as pool:
        kept = list(pool.map(store.put, data))
    assert len({one.id for one in kept}) == 3
    assert not list(tmp_path.rglob("*.tmp"))
