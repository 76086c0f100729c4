"""Presets on disk."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backend.errors import InvalidParameter, NotFound, SignetError, Unavailable
from backend.presets import MAX_PRESETS, PresetStore


@pytest.fixture
def store(tmp_path: Path) -> PresetStore:
    return PresetStore(tmp_path / "data" / "presets.json")


def test_presets_are_kept_by_name_across_a_restart(store: PresetStore) -> None:
    assert store.all() == {}
    store.put("slow", {"steps": 50})
    store.put(" Fast ", {"steps": 4, "hires": {"scale": 2}})
    store.put("slow", {"steps": 60})
    again = PresetStore(store._path).all()
    assert list(again.items()) == [("Fast", {"steps": 4, "hires": {"scale": 2}}), ("slow", {"steps": 60})]
    store.delete("Fast")
    assert list(store.all()) == ["slow"]
    with pytest.raises(NotFound):
        store.delete("Fast")


def test_what_was_there_before_stays_beside_it_even_if_it_cannot_be_read(store: PresetStore) -> None:
    store.put("a", {})
    store._path.write_text("{broken", "utf-8")
    assert store.all() == {}
    store.put("b", {})
    assert store._path.with_name("presets.json.bak").read_text("utf-8") == "{broken"
    assert sorted(path.name for path in store._path.parent.iterdir()) == ["presets.json", "presets.json.bak"]


@pytest.mark.parametrize(
    "text", ["[]", "3", '{"a": 3, "b": {}}', "[" * 100_000, "\ud800".encode("utf-8", "replace").decode()]
)
def test_what_is_no_preset_is_left_out(store: PresetStore, text: str) -> None:
    store._path.parent.mkdir()
    store._path.write_text(text, "utf-8")
    assert set(store.all()) <= {"b"}


@pytest.mark.parametrize("name", ["", "  ", "x" * 101, "a\nb", "\x00", "\ud800", "\u202ea", ".."])
def test_a_name_that_is_none_is_refused(store: PresetStore, name: str) -> None:
    with pytest.raises(InvalidParameter):
        store.put(name, {})


def test_presets_are_bounded_in_size_and_number(store: PresetStore) -> None:
    with pytest.raises(InvalidParameter, match="64 KiB"):
        store.put("a", {"prompt": "x" * 70_000})
    store._path.parent.mkdir()
    store._path.write_text(json.dumps({str(number): {} for number in range(MAX_PRESETS)}), "utf-8")
    with pytest.raises(InvalidParameter, match="200 presets already"):
        store.put("one more", {})
    store.put("7", {"steps": 1})
    assert store.all()["7"] == {"steps": 1}


def test_a_folder_that_cannot_be_written_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(Unavailable, match="cannot be written"):
        PresetStore(tmp_path / "file" / "presets.json").put("a", {})


JSON: Any = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=5,
)


@given(st.text(max_size=20), st.dictionaries(st.text(max_size=8), JSON, max_size=4))
def test_what_is_taken_is_given_back(
    tmp_path_factory: pytest.TempPathFactory, name: str, fields: dict[str, Any]
) -> None:
    store = PresetStore(tmp_path_factory.mktemp("presets") / "presets.json")
    try:
        store.put(name, fields)
    except SignetError:
        return
    assert store.all() == {name.strip(): fields}
