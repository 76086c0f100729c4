"""The first stage: packages that are missing or wrong, an interrupted rendering, a full disk."""

from __future__ import annotations

import io
import json
import tarfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.unit.training.command import asked, said
from training import data, progress
from training.errors import BadInput, CannotWrite, MissingFile

pytestmark = pytest.mark.filterwarnings("ignore")
CODES = ("1f34e", "1f436")
LABELS = [{"label": f"thing {code}", "hexcode": code.upper(), "group": 4, "subgroup": 1} for code in CODES]
SVG = '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 4 4"><path fill="#f00" d="M0 0h4v2H0z"/></svg>'


def webp() -> bytes:
    stream = io.BytesIO()
    Image.new("RGBA", (16, 16), (0, 0, 255, 255)).save(stream, "WEBP", lossless=True)
    return stream.getvalue()


def pack(folder: Path, package: str, files: dict[str, bytes], version: str | None = None) -> Path:
    """An npm archive of `files`; it may claim another version than its name says."""
    name, right = package.rsplit("@", 1)
    path = folder / f"{name.lstrip('@').replace('/', '-')}-{right}.tgz"
    manifest = json.dumps({"name": name, "version": version or right}).encode()
    with tarfile.open(path, "w:gz") as archive:
        for member, content in {"package.json": manifest, **files}.items():
            entry = tarfile.TarInfo(f"package/{member}")
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    return path


@pytest.fixture
def tarballs(tmp_path: Path) -> Path:
    """All five packages with two signs each."""
    folder = tmp_path / "npm"
    folder.mkdir()
    svgs = {f"assets/{code}.svg": SVG.encode() for code in CODES}
    icons = {"icons": {code: {"body": SVG} for code in CODES}}
    pack(folder, data.PACKAGES["labels"], {"en/data.json": json.dumps(LABELS).encode()})
    pack(folder, data.PACKAGES["3d"], {f"assets/{code}.webp": webp() for code in CODES})
    pack(folder, data.PACKAGES["flat"], svgs)
    pack(folder, data.PACKAGES["cartoon"], svgs)
    chars = json.dumps({code: code for code in CODES}).encode()
    pack(folder, data.PACKAGES["classic"], {"icons.json": json.dumps(icons).encode(), "chars.json": chars})
    return folder


def no_npm(*_: object, **__: object) -> None:
    raise FileNotFoundError(2, "No such file", "npm")


def test_the_packages_become_pictures_and_records_of_the_size_asked_for(tarballs: Path, tmp_path: Path) -> None:
    data.prepare(tmp_path / "work", tarballs, processes=1, size=16)
    pictures, records = data.load(tmp_path / "work", size=16)
    assert pictures.shape == (8, 16, 16, 4)
    assert [record.style for record in records[::2]] == list(data.STYLES)
    assert tuple(pictures[0, 0, 0]) == (0, 0, 255, 255)
    assert tuple(pictures[2, 0, 0]) == (255, 0, 0, 255)
    assert tuple(pictures[2, -1, 0]) == (0, 0, 0, 0)
    assert sorted(path.name for path in (tmp_path / "work").iterdir()) == ["pictures.npy", "records.json"]


def test_an_interrupted_rendering_goes_on_and_ends_with_the_same_pictures(
    tarballs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    data.prepare(tmp_path / "whole", tarballs, processes=1, size=16)
    work, asked_to_stop = tmp_path / "work", iter([False, False, True])
    with monkeypatch.context() as patch:
        patch.setattr(progress, "stopped", lambda: next(asked_to_stop))
        data.prepare(work, tarballs, processes=1, size=16)
    assert not (work / "pictures.npy").exists()
    with pytest.raises(MissingFile, match="Run: python -m training data"):
        data.load(work)
    assert json.loads((work / "pictures.draft.json").read_text())["done"] == 3
    capsys.readouterr()
    data.prepare(work, tarballs, processes=1, size=16, resume=True)
    assert np.array_equal(data.load(work)[0], data.load(tmp_path / "whole")[0])
    with monkeypatch.context() as patch:
        patch.setattr(data, "collect", lambda _: pytest.fail("nothing is left to do"))
        data.prepare(work, tarballs, size=16, resume=True)


def test_a_draft_of_something_else_is_not_gone_on_with(tarballs: Path, tmp_path: Path) -> None:
    work = tmp_path / "work"
    work.mkdir()
    np.save(work / "pictures.draft.npy", np.zeros((8, 8, 8, 4), dtype=np.uint8))
    (work / "pictures.draft.json").write_text('{"stamp": "other", "done": 7}')
    data.prepare(work, tarballs, processes=1, size=16, resume=True)
    assert data.load(work)[0].shape == (8, 16, 16, 4)


def test_without_npm_the_missing_package_is_named_with_where_to_put_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("subprocess.run", no_npm)
    assert asked("data", "--work", tmp_path / "work") == 2
    line = said(capsys)
    assert "emojibase-data@17.0.0 is missing, and there is no npm to fetch it" in line
    assert "npm pack emojibase-data@17.0.0" in line
    assert not list((tmp_path / "work" / "npm").iterdir())


def test_what_npm_says_without_a_network_is_passed_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    tools = tmp_path / "bin"
    tools.mkdir()
    (tools / "npm").write_text("#!/bin/sh\necho 'npm error network getaddrinfo' >&2\nexit 1\n")
    (tools / "npm").chmod(0o755)
    monkeypatch.setenv("PATH", str(tools), prepend=":")
    assert asked("data", "--work", tmp_path / "work") == 2
    assert "npm cannot fetch it (npm error network getaddrinfo)" in said(capsys)


def test_a_package_of_another_version_is_refused_and_nothing_is_written(
    tarballs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pack(tarballs, data.PACKAGES["flat"], {}, version="1.0.0")
    assert asked("data", "--work", tmp_path / "work", "--tarballs", tarballs) == 2
    line = said(capsys)
    assert "flat@1.0.0, this recipe needs @lobehub/fluent-emoji-flat@1.1.0" in line
    assert not (tmp_path / "work" / "pictures.npy").exists()


@pytest.mark.parametrize("kind", ["3d", "labels", "classic"])
@pytest.mark.parametrize("share", [0.0, 0.5, 0.9])
def test_an_archive_that_is_cut_short_is_named(tarballs: Path, kind: str, share: float) -> None:
    name, version = data.PACKAGES[kind].rsplit("@", 1)
    path = tarballs / f"{name.lstrip('@').replace('/', '-')}-{version}.tgz"
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    with pytest.raises(data.WrongPackage, match="is no whole package"):
        data.collect(tarballs)


def test_an_archive_without_the_files_that_are_needed_is_named(tarballs: Path) -> None:
    pack(tarballs, data.PACKAGES["labels"], {})
    with pytest.raises(data.WrongPackage, match=r"emojibase.*is no whole package"):
        data.collect(tarballs)


def test_a_full_disk_leaves_neither_pictures_nor_a_draft_with_holes(tarballs: Path, tmp_path: Path) -> None:
    resource = pytest.importorskip("resource")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, limits[1]))
    try:
        with pytest.raises(CannotWrite, match="the disk is full"):
            data.prepare(tmp_path / "work", tarballs, processes=1, size=128)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert not list((tmp_path / "work").iterdir())


def test_damaged_pictures_are_said_to_be(tarballs: Path, tmp_path: Path) -> None:
    work = tmp_path / "work"
    data.prepare(work, tarballs, processes=1, size=16)
    whole = (work / "pictures.npy").read_bytes()
    (work / "pictures.npy").write_bytes(whole[:-100])
    with pytest.raises(BadInput, match="are damaged"):
        data.load(work)
    (work / "pictures.npy").write_bytes(whole)
    data.save_records(data.load(work)[1][:-1], work)
    with pytest.raises(BadInput, match="8 pictures and 7 records"):
        data.load(work)
    (work / "records.json").write_text("[{]")
    with pytest.raises(BadInput, match="are damaged"):
        data.load(work)
