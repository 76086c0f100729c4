"""The towers in numpy are the towers of transformers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from backend.errors import Unavailable
from backend.towers import Towers, prepare
from training import export, geometry, vision

TEXTS = [
    "",
    "a red apple",
    "A  Red\nAPPLE!",
    "woman health worker: dark skin tone, 3d style",
    "ñ 😀 \ud800",
    "x " * 200,
]


def pair(folder: Path, seed: int = 0) -> tuple[Path, Path]:
    """Two small towers with random weights, as they are shipped."""
    torch.manual_seed(seed)
    tokenizer = geometry.train_tokenizer(["a red apple on a blue background", "woman health worker"], 600)
    starter, sights = folder / "starter", folder / "starter-vision"
    geometry.save_tokenizer(tokenizer, starter / "tokenizer")
    trunk = geometry.text_tower(600).half().float()
    export.text_encoder(trunk).half().save_pretrained(starter / "text_encoder")
    sight = vision.Sight(vision.vision_config(size=32, layers=2))
    vision.save_pair(sight, trunk, sights)
    return starter, sights


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    return pair(tmp_path_factory.mktemp("pair"))


@pytest.fixture(scope="module")
def towers(folders: tuple[Path, Path]) -> Towers:
    return Towers(*folders)


def test_texts_and_pictures_come_out_as_from_transformers(folders: tuple[Path, Path], towers: Towers) -> None:
    model, processor = vision.load_clip(*folders)
    pictures = [np.random.default_rng(side).integers(0, 256, (side, side, 3), np.uint8) for side in (32, 64, 128)]
    texts = [text.encode("utf-8", "replace").decode() for text in TEXTS]
    with torch.no_grad():
        given = processor(text=texts, images=pictures, return_tensors="pt", padding=True, truncation=True)
        out = model(**given)
    assert np.stack([towers.of_text(text) for text in TEXTS]) == pytest.approx(out.text_embeds.numpy(), abs=2e-5)
    assert np.stack([towers.of_picture(each) for each in pictures]) == pytest.approx(out.image_embeds.numpy(), abs=2e-5)
    assert out.logits_per_image.shape == (3, len(TEXTS))


def test_what_is_beyond_the_window_is_not_read(towers: Towers) -> None:
    assert (towers.of_text("x " * 200) == towers.of_text("x " * 300)).all()


@pytest.mark.parametrize("shape", [(1, 1), (1, 5000), (700, 3), (97, 31)])
def test_any_shape_of_picture_has_a_direction(towers: Towers, shape: tuple[int, int]) -> None:
    vector = towers.of_picture(np.full((*shape, 3), 90, np.uint8))
    assert float(np.linalg.norm(vector)) == pytest.approx(1, abs=1e-5)


def test_of_a_wide_picture_the_middle_is_seen() -> None:
    wide = np.zeros((40, 120, 3), np.uint8)
    wide[:, 40:80] = 255
    assert (prepare(wide, 20) == 1).all()
    square = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    small = np.asarray(Image.fromarray(square).resize((32, 32), Image.Resampling.BOX))
    assert prepare(square, 32).transpose(1, 2, 0) == pytest.approx(small / 127.5 - 1, abs=1e-6)


def test_towers_that_were_not_trained_together_are_refused(folders: tuple[Path, Path], tmp_path: Path) -> None:
    _, others = pair(tmp_path, seed=1)
    with pytest.raises(Unavailable, match="not trained together"):
        Towers(folders[0], others)
    with pytest.raises(vision.Mismatch):
        vision.load_clip(folders[0], others)


@pytest.mark.parametrize("broken", ["model.safetensors", "config.json"])
def test_missing_and_damaged_files_say_what_to_do(tmp_path: Path, broken: str) -> None:
    starter, sights = pair(tmp_path)
    (sights / broken).write_bytes(b"\x07\x00\x00\x00\x00\x00\x00\x00{}")
    with pytest.raises(Unavailable) as caught:
        Towers(starter, sights)
    assert "git checkout models" in str(caught.value.problem.hint)
    (sights / broken).unlink()
    with pytest.raises(Unavailable):
        Towers(starter, sights)
