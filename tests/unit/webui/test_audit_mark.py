"""`audit mark detect`: one honest line for each file, whatever the others are."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from backend.errors import InvalidParameter, Unavailable
from backend.settings import Settings
from benchmarks.watermark import ATTACKS, starter
from safety.keys import open_keys
from safety.watermark import OWN, mark_id_of, open_watermark
from webui import auditing

RECORD = "01JD0000000000000000000042"


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    settings = Settings(data=tmp_path / "data")
    open_keys(settings.keys)
    return settings


def detect(settings: Settings, *given: str | Path) -> int:
    asked, module = auditing.parse(["mark", "detect", *map(str, given), "--json"])
    return auditing.run(asked, module, settings)


def saved(folder: Path, name: str, pixels: np.ndarray) -> Path:
    Image.fromarray(pixels).save(folder / name)
    return folder / name


def lines(capsys: pytest.CaptureFixture[str]) -> list[dict[str, object]]:
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


@pytest.mark.parametrize("method", OWN)
def test_a_mark_of_this_installation_is_found_after_a_lossy_copy(
    settings: Settings, tmp_path: Path, capsys: pytest.CaptureFixture[str], method: str
) -> None:
    mark = open_watermark(method, open_keys(settings.keys).watermark_key)
    marked = ATTACKS["JPEG 75"](mark.embed(starter(1)[0], mark_id_of(RECORD)))
    assert detect(settings, saved(tmp_path, "marked.png", marked)) == 0
    (said,) = lines(capsys)
    assert said["found"] is True and said["method"] == method and said["p_value"] <= 1e-6
    assert said["mark_id"] == f"{mark_id_of(RECORD):012x}" and said["record_id"] is None
    assert "1 key" in said["wording"] and "looks" in said["wording"] and "not in the history" in said["wording"]


def test_not_found_does_not_say_that_it_is_no_ai_picture(
    settings: Settings, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    foreign = open_watermark("signet-tile", b"the key of another installation").embed(starter(1)[0], 7)
    paths = [saved(tmp_path, "foreign.png", foreign), saved(tmp_path, "tiny.png", np.zeros((9, 300, 3), np.uint8))]
    assert detect(settings, *paths) == 0
    first, second = lines(capsys)
    assert first["found"] is False and "does not mean that the image is not AI-made" in first["wording"]
    assert second["found"] is False and second["wording"] == "Cannot test: too small." and second["p_value"] == 1.0


def test_a_file_that_cannot_be_read_does_not_keep_the_others_from_being_read(
    settings: Settings, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "text.png").write_text("not a picture")
    plain = saved(tmp_path, "plain.png", np.zeros((64, 64, 3), np.uint8))
    assert detect(settings, tmp_path / "text.png", tmp_path / "missing.png", plain) == 2
    bad, missing, good = lines(capsys)
    assert bad["error"]["code"] == missing["error"]["code"] == "unreadable-image"
    assert good["file"] == str(plain) and good["found"] is False


def test_another_data_folder_lends_its_key(
    settings: Settings, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = Settings(data=tmp_path / "other")
    marked = open_watermark("signet-tile", open_keys(other.keys).watermark_key).embed(starter(1)[0], 5)
    path = saved(tmp_path, "marked.png", marked)
    detect(settings, path)
    detect(settings, path, "--key-data", other.data)
    assert [said["found"] for said in lines(capsys)] == [False, True]
    with pytest.raises(InvalidParameter):
        detect(settings, path, "--key-data", tmp_path / "nowhere")


def test_without_keys_none_are_made(tmp_path: Path) -> None:
    settings = Settings(data=tmp_path / "empty")
    with pytest.raises(Unavailable):
        detect(settings, saved(tmp_path, "plain.png", np.zeros((64, 64, 3), np.uint8)))
    assert not (tmp_path / "empty").exists()


def test_people_read_a_sentence(settings: Settings, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = saved(tmp_path, "plain.png", np.zeros((64, 64, 3), np.uint8))
    asked, module = auditing.parse(["mark", "detect", str(path)])
    assert auditing.run(asked, module, settings) == 0
    assert capsys.readouterr().out.startswith(f"{path}: Not found.")
