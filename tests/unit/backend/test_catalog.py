from __future__ import annotations

import json
import os
from pathlib import Path
from shutil import copyfile
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from backend.errors import UnknownModel, UnreadableModel
from backend.models.catalog import Catalog, config_folder
from tests.support import tiny
from tests.support.models import Shelf, shelf

__all__ = ["shelf"]

SD1_KEY = "cond_stage_model.transformer.text_model.final_layer_norm.weight"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "models").mkdir()
    return tmp_path / "models"


def ids(folder: Path) -> list[str]:
    return [info.id for info in Catalog((), (folder,)).all()]


def changed(path: Path, **values: Any) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **values}))


def test_folders_and_files_are_found_and_a_config_folder_is_no_model_of_its_own(shelf: Shelf):
    found = {info.id: info for info in shelf.catalog.all()}
    assert sorted(found) == ["file", "one", "two", "velocity", "wide", "wide-file"]
    assert (found["one"].layout, found["file"].layout) == ("diffusers", "single-file")
    assert (found["one"].factor, found["one"].native_size, found["one"].family) == (2, 32, "sd1")
    assert found["one"].size == sum(file.stat().st_size for file in (shelf.folder / "one").rglob("*.safetensors"))
    assert found["wide-file"].family == "sd2"


def test_a_dot_in_the_name_does_not_part_a_file_from_its_configuration(shelf: Shelf, folder: Path):
    file = folder / "model-v1.5.safetensors"
    copyfile(shelf.folder / "file.safetensors", file)
    tiny.copy_model(shelf.folder / "file", folder / "model-v1.5")
    catalog = Catalog((), (folder,))
    assert [info.id for info in catalog.all()] == ["model-v1.5"]
    assert catalog.find("model-v1.5").factor == 2
    assert config_folder(file, "sd1") == folder / "model-v1.5"


def test_a_file_without_a_configuration_beside_it_takes_that_of_its_family(folder: Path):
    save_file({SD1_KEY: torch.zeros(4)}, folder / "plain.safetensors")
    info = Catalog((), (folder,)).find("plain")
    assert (info.family, info.factor, info.native_size) == ("sd1", 8, 512)


def test_a_model_is_found_by_id_or_title_in_any_case(shelf: Shelf, folder: Path):
    copy = tiny.copy_model(shelf.folder / "one", folder / "Painter")
    (copy / "signet.json").write_text(
        json.dumps({"title": "The Painter", "licence": "CC0-1.0", "defaults": {"steps": 9}})
    )
    catalog = Catalog((), (folder,))
    info = catalog.find(" painter ")
    assert info == catalog.find("THE PAINTER")
    assert (info.title, info.licence, info.defaults) == ("The Painter", "CC0-1.0", {"steps": 9})


def test_an_unknown_name_is_answered_with_near_ones(shelf: Shelf):
    with pytest.raises(UnknownModel, match='"velocity"'):
        shelf.catalog.find("velocty")


def test_a_bundled_model_keeps_its_name_and_another_of_that_name_is_called_after_its_folder(shelf: Shelf, folder: Path):
    tiny.copy_model(shelf.folder / "one", folder / "two")
    catalog = Catalog((shelf.folder / "two", folder / "missing"), (folder, folder / "missing too"))
    assert [info.id for info in catalog.all()] == ["two", "models/two"]
    assert catalog.find("two").path == str(shelf.folder / "two")
    assert catalog.find("Models/Two").path == str(folder / "two")


def test_a_model_dropped_into_the_folder_is_there_at_once_and_gone_at_once(shelf: Shelf, folder: Path):
    catalog = Catalog((), (folder,))
    assert catalog.all() == ()
    file = folder / "new.safetensors"
    copyfile(shelf.folder / "file.safetensors", file)
    assert [info.id for info in catalog.all()] == ["new"]
    file.unlink()
    assert catalog.all() == ()


def test_a_file_that_has_changed_is_read_again_and_one_that_has_not_is_not(folder: Path, monkeypatch):
    file = folder / "model.safetensors"
    file.write_bytes(b"still being copied")
    catalog = Catalog((), (folder,))
    with pytest.raises(UnreadableModel):
        catalog.find("model")
    save_file({SD1_KEY: torch.zeros(4)}, file)
    os.utime(file, ns=(1, 1))
    assert catalog.find("model").size == file.stat().st_size
    monkeypatch.setattr("backend.models.formats.read", lambda path: pytest.fail("it was read twice"))
    assert catalog.find("model").family == "sd1"


@pytest.mark.parametrize("name", ["model", "model.ckpt"])
def test_a_refused_model_answers_to_its_name_with_the_reason(folder: Path, name: str):
    (folder / "model.ckpt").write_bytes(b"\x80\x02")
    catalog = Catalog((), (folder,))
    assert catalog.all() == ()
    with pytest.raises(UnreadableModel, match="pickles"):
        catalog.find(name)


def test_other_files_and_folders_are_no_models(folder: Path):
    (folder / "readme.txt").write_text("hello")
    (folder / "preview.png").write_bytes(b"")
    (folder / "subfolder").mkdir()
    assert ids(folder) == []


def test_a_dangling_link_does_not_hide_the_other_models(shelf: Shelf, folder: Path):
    (folder / "gone.safetensors").symlink_to(folder / "nowhere")
    copyfile(shelf.folder / "file.safetensors", folder / "here.safetensors")
    assert ids(folder) == ["here"]
    with pytest.raises(UnreadableModel):
        Catalog((), (folder,)).find("gone")


@pytest.mark.parametrize(
    ("file", "values"),
    [
        ("vae/config.json", {"block_out_channels": 5}),
        ("vae/config.json", {"block_out_channels": [1] * 5000}),
        ("unet/config.json", {"sample_size": 10**400}),
        ("signet.json", {"defaults": [1]}),
        ("signet.json", {"defaults": "abc"}),
        ("model_index.json", {"unet": ["os", "system"]}),
        ("model_index.json", {"_class_name": 5}),
    ],
)
def test_a_folder_with_odd_values_is_refused_or_read_and_never_hides_the_others(
    shelf: Shelf, folder: Path, file: str, values: dict[str, Any]
):
    tiny.copy_model(shelf.folder / "one", folder / "odd")
    (folder / "odd" / "signet.json").write_text("{}")
    changed(folder / "odd" / file, **values)
    copyfile(shelf.folder / "file.safetensors", folder / "sound.safetensors")
    assert "sound" in ids(folder)
