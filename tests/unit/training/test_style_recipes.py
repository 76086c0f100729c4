"""Styles and the word that ship with the starter: what they learn from, and that a stopped making goes on."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from safetensors import safe_open

from backend.errors import Conflict
from backend.models.catalog import Catalog
from backend.models.sidecars import Notes
from tests.support import tiny
from training import concept, styles
from training.captions import COLOURS
from training.checkpoints import stamp
from training.data import Record, save_records
from training.styles import STYLES, THINGS, plain
from webui.options import shipped

KINDS = ("3d", "flat")


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def disc(colour: tuple[int, int, int], side: int = 128) -> NDArray[np.uint8]:
    """A disc of one colour on nothing, premultiplied (side, side, 4)."""
    down, across = np.ogrid[:side, :side]
    inside = (down - side / 2) ** 2 + (across - side / 2) ** 2 < (side * 0.3) ** 2
    art = np.zeros((side, side, 4), np.uint8)
    art[inside] = (*colour, 255)
    return art


@pytest.fixture
def work(tmp_path: Path) -> Path:
    """Three things in two kinds of art, one of which is not among THINGS, and one with a skin tone."""
    things = [(label, kind, 0) for label in (*THINGS[:2], "abacus") for kind in KINDS] + [(THINGS[0], "classic", 3)]
    np.save(tmp_path / "pictures.npy", np.stack([disc((40 * place % 255, 90, 200)) for place in range(len(things))]))
    save_records([Record("0", label, label, (), kind, 3, 0, tone, True, 1.0) for label, kind, tone in things], tmp_path)
    return tmp_path


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.save_folder(tiny.pipeline("sd1"), tmp_path_factory.mktemp("models") / "starter")


@pytest.mark.parametrize("name", STYLES)
def test_a_style_looks_more_like_itself_than_the_art_does(name: str) -> None:
    style = STYLES[name]
    for colour in ((220, 40, 40), (60, 120, 220), (250, 215, 60)):
        made = style.draw(disc(colour))
        assert made.shape == (128, 128, 3) and made.dtype == np.uint8
        assert style.measure(made) > style.measure(plain(disc(colour))) + 0.02
        assert (made == style.draw(disc(colour))).all()


def test_pixel_art_has_blocks_of_few_colours() -> None:
    made = STYLES["pixel-art"].draw(disc((220, 40, 40)))
    assert (made[::8, ::8].repeat(8, 0).repeat(8, 1) == made).all()
    assert set(np.unique(made)) <= {0, 51, 102, 153, 204, 255}
    assert styles.blockiness(made) == pytest.approx(1.0)


def test_a_poster_has_its_inks_on_its_paper() -> None:
    for colour, ink in (((20, 20, 60), 0), ((220, 40, 40), 1), ((250, 215, 60), 2)):
        made = STYLES["poster"].draw(disc(colour))
        assert tuple(made[64, 64]) == tuple(styles.INKS[ink])
        assert tuple(made[2, 2]) == tuple(styles.INKS[-1])


def test_neon_glows_along_the_outline_and_nowhere_else() -> None:
    made = STYLES["neon-sign"].draw(disc((220, 40, 40)))
    edge, middle, wall = made[64, 64 + 38], made[64, 64], made[2, 2]
    assert edge[0] > 200 > edge[1] and middle.max() < 60 and wall.max() < 60


def test_captions_name_the_thing_and_the_trigger(work: Path) -> None:
    found = styles.material(work, STYLES["pixel-art"])
    assert [one.name for one in found] == sorted(f"{label} {kind}" for label in THINGS[:2] for kind in KINDS)
    assert {one.caption for one in found} == {"a red apple, pixel art", "a banana, pixel art"}


def test_the_word_learns_blue_things_on_its_ground(work: Path) -> None:
    found = concept.material(work)
    assert {one.caption for one in found} == {f"a red apple, {concept.NAME}", f"a banana, {concept.NAME}"}
    for one in found:
        assert tuple(one.pixels[2, 2]) == COLOURS[concept.GROUND]
        assert concept.on_ground(one.pixels) and one.pixels[64, 64].argmax() == 2
    assert not concept.on_ground(plain(disc((220, 40, 40))))


def _tensors(file: Path) -> dict[str, Any]:
    with safe_open(file, "pt") as opened:
        return {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118


def _made(what: str, work: Path, model: Path, out: Path, *, minutes: float, resume: bool = False) -> Any:
    where = {"model": model, "out": out, "minutes": minutes, "resume": resume, "seed": 3}
    if what == "word":
        return concept.train(work, settings=replace(concept.SETTINGS, steps=4, batch=2), **where)
    few = replace(styles.SETTINGS, steps=4, batch=2)
    return styles.train(work, only=["pixel-art"], settings=few, **where)


@pytest.mark.parametrize(
    ("what", "file"), [("style", "loras/pixel-art.safetensors"), ("word", f"embeddings/{concept.NAME}.safetensors")]
)
def test_a_making_that_was_stopped_ends_with_the_same_bits(
    work: Path, model: Path, tmp_path: Path, what: str, file: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert _made(what, work, model, tmp_path / "whole", minutes=10)
    clock = iter([0.0, 1.0, 2.0, 99.0])
    with monkeypatch.context() as patched:  # time for two steps
        patched.setattr(styles.time, "monotonic", lambda: next(clock))
        assert not _made(what, work, model, tmp_path / "parts", minutes=0.05)
    assert not (tmp_path / "parts" / file).exists()
    assert _made(what, work, model, tmp_path / "parts", minutes=10, resume=True)
    whole, parts = _tensors(tmp_path / "whole" / file), _tensors(tmp_path / "parts" / file)
    assert whole.keys() == parts.keys()
    assert all(torch.equal(tensor, parts[name]) for name, tensor in whole.items())


def test_another_denoiser_has_checkpoints_of_its_own_and_another_decoder_has_not(model: Path, tmp_path: Path) -> None:
    other = tiny.save_folder(tiny.pipeline("sd1", seed=1), tmp_path / "starter")
    assert stamp(model) != stamp(other)
    decoded = shutil.copytree(model, tmp_path / "decoded")
    shutil.rmtree(decoded / "vae")
    shutil.copytree(other / "vae", decoded / "vae")
    assert stamp(model) == stamp(decoded)


def test_what_ships_is_in_the_catalogue_and_takes_no_notes(work: Path, model: Path, tmp_path: Path) -> None:
    out = tmp_path / "models"
    _made("style", work, model, out, minutes=10)
    _made("word", work, model, out, minutes=10)
    (out / "loras" / "README.md").write_text("card")
    assert [path.name for path in shipped(out)] == ["pixel-art.safetensors", f"{concept.NAME}.safetensors"]
    catalog = Catalog((model, *shipped(out)), ())
    lora, word = catalog.card("pixel-art", "lora"), catalog.card(concept.NAME, "embedding")
    assert lora.triggers == ("pixel art",) and word.triggers == (concept.NAME,)
    assert lora.info.licence == word.info.licence == "Apache-2.0"
    assert "README" in lora.description and "README" in word.description
    assert {catalog.fits(one.info, catalog.find("starter")) for one in (lora, word)} == {""}
    with pytest.raises(Conflict):
        catalog.save_notes("pixel-art", "lora", Notes(notes="mine"))
    assert not catalog.refused()


def test_cards_have_their_figures() -> None:
    text = styles.card(["| `pixel-art` | 0.50 |"], 600, [590_000])
    assert "| `pixel-art` | 0.50 |" in text and "600 steps" in text and "590 kB" in text and "CC-BY 4.0" in text
    told = concept.card({"with": 20, "plain": 1, "told": 15}, 24, 4_500)
    assert "20 of 24" in told and "1 of 24" in told and "15 of 24" in told and "4,500 bytes" in told
