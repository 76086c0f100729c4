"""The desk for what people bring and refer to: pictures, styles, wildcards, texts."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from backend import images
from backend.errors import BadRequest, InvalidParameter, NotFound, UnreadableImage
from backend.inputs import InputStore
from backend.library import LibraryDesk
from backend.prompts.styles import Style
from backend.settings import Settings
from backend.types import ControlUnit, ModelInfo
from tests.support.library import FewModels
from tests.support.pictures import gradient

TINY = ModelInfo("starter", "Starter", "sd1", "/nowhere", "diffusers", 8, 64, 1)


@pytest.fixture
def desk(tmp_path: Path) -> LibraryDesk:
    settings = Settings(data=tmp_path, upload_limit_mpx=1)
    models: Any = FewModels(TINY)
    return LibraryDesk(settings, models, InputStore(settings.inputs, 1 << 30, 1_000_000))


def test_nothing_is_there_at_first(desk: LibraryDesk):
    assert (dict(desk.styles()), desk.wildcards()) == ({}, ())
    assert desk.library.vocabulary.wildcards is None


def test_a_style_is_kept_changed_and_deleted(desk: LibraryDesk):
    desk.save_style(Style("noir", "{prompt}, noir", "colour"))
    desk.save_style(Style("ink", "ink", ""))
    desk.save_style(Style("noir", "noir", ""))
    assert {name: style.prompt for name, style in desk.styles().items()} == {"noir": "noir", "ink": "ink"}
    assert "noir" in desk.library.vocabulary.styles
    desk.delete_style("noir")
    assert list(desk.styles()) == ["ink"]
    with pytest.raises(NotFound):
        desk.delete_style("noir")


@pytest.mark.parametrize("name", ["", "  ", "x" * 201])
def test_a_style_needs_a_name(desk: LibraryDesk, name: str):
    with pytest.raises(InvalidParameter):
        desk.save_style(Style(name, "x", ""))


def test_styles_saved_at_once_are_all_kept(desk: LibraryDesk):
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda number: desk.save_style(Style(f"s{number}", "x", "")), range(24)))
    assert len(desk.styles()) == 24


def test_a_file_of_styles_that_somebody_edits_is_read_again(desk: LibraryDesk, tmp_path: Path):
    desk.save_style(Style("noir", "noir", ""))
    (tmp_path / "styles.csv").write_text("name,prompt,negative_prompt\nby hand,pencil,\n", "utf-8-sig")
    assert list(desk.styles()) == ["by hand"]


def test_wildcards_are_named_by_their_files(desk: LibraryDesk, tmp_path: Path):
    (tmp_path / "wildcards").mkdir()
    (tmp_path / "wildcards" / "colour.txt").write_text("red\nblue\n")
    assert desk.wildcards() == ("colour",)
    assert desk.library.vocabulary.wildcards == tmp_path / "wildcards"


def test_a_picture_says_how_it_was_made_or_nothing(desk: LibraryDesk):
    text = "a cat\nNegative prompt: dog\nSteps: 20, Sampler: Euler a, CFG scale: 7, Seed: 5, Size: 64x64, Oddity: 1"
    found = desk.read(images.encode_png(gradient(8, 8), text))
    assert found and (found.prompt, found.negative) == ("a cat", "dog")
    assert found.fields["seed"] == 5 and found.unknown == {"Oddity": "1"}
    assert desk.read(images.encode_png(gradient(8, 8))) is None
    pasted = desk.read_text(text)
    assert pasted and pasted.fields == found.fields
    with pytest.raises(UnreadableImage):
        desk.read(b"no picture")


def test_a_hint_is_a_small_picture_of_a_picture(desk: LibraryDesk):
    kept = desk.put(images.encode_png(gradient(900, 300)))
    made = images.decode(desk.hint(ControlUnit(image=kept.id, model="none", preprocessor="canny")), max_pixels=10**6)
    assert made.pixels.shape == (256, 768, 3)
    with pytest.raises(NotFound):
        desk.hint(ControlUnit(image="0" * 64, model="none"))
    with pytest.raises(BadRequest, match="nonsense"):
        desk.hint(ControlUnit(image=kept.id, model="none", preprocessor="nonsense"))


def test_tokens_are_counted_even_for_a_model_that_brings_no_tokenizer(desk: LibraryDesk):
    assert desk.tokens("a cat", "starter").tokens == desk.tokens("a cat", "unknown").tokens > 0
    assert desk.tokens("(" * 10_000, "starter").limit >= 75


def test_a_picture_that_is_too_large_is_not_taken(desk: LibraryDesk):
    with pytest.raises(UnreadableImage, match="million"):
        desk.put(images.encode_png(gradient(1200, 1000)))
