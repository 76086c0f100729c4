"""The upscaler's recipe on a handful of drawn scenes: what it learns on, how it is judged, and what is shipped."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from backend.engine import upscale as engine
from backend.models.catalog import Catalog
from backend.settings import ROOT
from backend.types import Pixels
from training import data, running, upscaler, upscaler_pictures
from training.data import FOOD, Record
from training.upscaler_pictures import Scenes

SHAPES = ("circle cx='50' cy='50' r='{}'", "rect x='10' y='10' width='{0}' height='{0}'")


def svg(number: int) -> bytes:
    shape = f"<{SHAPES[number % 2].format(20 + 5 * number)} fill='#c0{number:02x}30'/>"
    return f"<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 100 100'>{shape}</svg>".encode()


def record(number: int) -> Record:
    name = f"thing {number}"
    return Record(f"{number:04x}", name, name, (), "flat", FOOD, 1, 0, True, 1.0)


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A work folder whose scenes were drawn by the real stage from pictures made up here."""
    folder = tmp_path_factory.mktemp("work")
    numbers = range(120)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(data, "collect", lambda tarballs: ([record(n) for n in numbers], [svg(n % 12) for n in numbers]))
        upscaler_pictures.prepare(folder, ROOT / "models" / "starter", folder, count=6, held=3, seed=0)
    return folder


@pytest.fixture(scope="module")
def net(work: Path) -> upscaler.Compact:
    """After two steps, the second of which resumed what the first had saved."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(upscaler, "BATCH", 2)
        patch.setattr(upscaler, "PATCH", 24)
        upscaler.train(work, minutes=0.0, seed=0, resume=False)
        upscaler.train(work, minutes=0.0, seed=0, resume=True)
    return upscaler.trained(work)


def test_scenes_are_large_and_their_inputs_came_through_the_starters_autoencoder(work: Path) -> None:
    seen, held = Scenes.read(work, held=False), Scenes.read(work, held=True)
    assert (len(seen.large), len(held.large)) == (6, 3)
    for scenes in (seen, held):
        assert scenes.large.shape[1:] == (256, 256, 3) and scenes.decoded.shape[1:] == (128, 128, 3)
    small = upscaler_pictures.halved(np.asarray(seen.large))
    missed = [upscaler.psnr(one, other) for one, other in zip(seen.decoded, small, strict=True)]
    assert all(14 < one < 45 for one in missed), missed  # the same scene, but worn


def test_scenes_are_not_drawn_twice_and_missing_ones_are_named(work: Path, tmp_path: Path) -> None:
    before = (work / "upscaler" / "scenes.npy").stat().st_mtime_ns
    upscaler_pictures.prepare(work, tmp_path, tmp_path, count=1, held=1, seed=1)
    assert (work / "upscaler" / "scenes.npy").stat().st_mtime_ns == before
    with pytest.raises(SystemExit, match="no scenes yet"):
        Scenes.read(tmp_path, held=True)


def test_about_one_concept_in_twenty_is_held_out_in_every_style_and_tone() -> None:
    held = [name for name in (f"concept {number}" for number in range(2000)) if upscaler_pictures.is_held(name)]
    assert 70 < len(held) < 130
    assert upscaler_pictures.is_held(held[0])


def test_patches_are_worn_copies_of_what_they_should_become(work: Path) -> None:
    small, large = Scenes.read(work, held=False).draw(16, 24, np.random.default_rng(0))
    assert small.shape == (16, 24, 24, 3) and large.shape == (16, 48, 48, 3)
    halves = upscaler_pictures.halved(large).astype(int)
    errors = np.abs(small.astype(int) - halves).mean(axis=(1, 2, 3))
    assert errors.max() < 40 and (errors > 0.2).sum() >= 8
    other, _ = Scenes.read(work, held=False).draw(16, 24, np.random.default_rng(1))
    assert not np.array_equal(small, other)


def test_the_untrained_network_interpolates_as_sharply_as_catmull_rom() -> None:
    rows, columns = np.mgrid[0:24, 0:20]
    picture = np.stack([rows * 9, columns * 11, np.where(rows > columns, 200, 40)], axis=2).astype(np.uint8)
    made = upscaler.by_network(upscaler.Compact(), picture).astype(int)
    expected = np.asarray(Image.fromarray(picture).resize((40, 48), Image.Resampling.BICUBIC), dtype=int)
    assert np.abs(made - expected)[4:-4, 4:-4].mean() < 2
    flat = np.full((8, 8, 3), 77, np.uint8)
    assert (upscaler.by_network(upscaler.Compact(), flat)[2:-2, 2:-2] == 77).all()


def test_training_changes_the_network_and_goes_on_where_it_was(work: Path, net: upscaler.Compact) -> None:
    assert running.load(work / "upscaler" / "net.safetensors")[1]["step"] == 2
    fresh = upscaler.Compact().state_dict()
    assert not torch.equal(net.state_dict()["body.18.weight"], fresh["body.18.weight"])


def test_some_steps_lower_the_loss(work: Path) -> None:
    torch.manual_seed(0)
    small, large = Scenes.read(work, held=False).draw(4, 24, np.random.default_rng(0))
    run = running.begin(upscaler.Compact(8, 1), minutes=1, peak=2e-2)
    losses = []
    for _ in range(60):
        run.advance(lambda: upscaler.loss_of(run.module, small, large))
        with torch.no_grad():
            losses.append(float(upscaler.loss_of(run.module, small, large)))
    assert losses[-1] < 0.9 * losses[0]


def test_psnr_and_ssim_are_those_of_the_literature() -> None:
    dice = np.random.default_rng(0)
    picture: Pixels = dice.integers(0, 246, (64, 64, 3), dtype=np.uint8)
    assert upscaler.psnr(picture, picture) == 100.0 and upscaler.ssim(picture, picture) == pytest.approx(1.0)
    brighter = (picture + 10).astype(np.uint8)
    assert upscaler.psnr(brighter, picture) == pytest.approx(20 * np.log10(255 / 10), abs=1e-6)
    assert 0.9 < upscaler.ssim(brighter, picture) < 1.0
    assert upscaler.ssim(dice.integers(0, 256, picture.shape, dtype=np.uint8), picture) < 0.1
    flat, other = np.full((40, 40, 3), 100, np.uint8), np.full((40, 40, 3), 150, np.uint8)
    constant = (0.01 * 255) ** 2
    expected = (2 * 100 * 150 + constant) / (100**2 + 150**2 + constant)
    assert upscaler.ssim(flat, other) == pytest.approx(expected)


def test_both_ways_are_measured_on_the_same_held_out_scenes_in_one_run(work: Path, net: upscaler.Compact) -> None:
    scores = upscaler.measure(work, count=2)
    assert scores["scenes"] == 2
    for source in upscaler_pictures.INPUTS:
        for way in ("Lanczos", "ours"):
            assert 10 < scores[f"{source} {way} psnr"] < 60 and 0.2 < scores[f"{source} {way} ssim"] <= 1
    assert scores["small Lanczos psnr"] > scores["starter Lanczos psnr"]
    assert (work / "upscaler" / "sheet.png").exists()


def test_what_is_exported_is_found_by_the_catalogue_and_runs_in_the_engine_as_it_was_trained(
    work: Path, net: upscaler.Compact, tmp_path: Path
) -> None:
    upscaler.measure(work, count=1)
    assert upscaler.export(work, tmp_path) < upscaler.LIMIT
    card = (tmp_path / "README.md").read_text(encoding="utf-8")
    assert "| exact halves of the art | Lanczos |" in card and "CC-BY" in card and "2 steps" in card
    file = tmp_path / f"{upscaler.NAME}.safetensors"
    (info,) = Catalog((file,), ()).all("upscaler")
    assert (info.id, info.factor, info.licence) == ("starter-upscaler", 2, "Apache-2.0")
    loaded = engine.load_upscaler(info, torch.device("cpu"), torch.float32)
    picture = np.array(Scenes.read(work, held=True).decoded[0])
    theirs = engine.upscale(picture, 256, 256, loaded)
    assert np.abs(theirs.astype(int) - upscaler.by_network(net, picture)).max() <= 1


def test_weights_over_the_limit_are_not_called_done(
    work: Path, net: upscaler.Compact, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(upscaler, "LIMIT", 1000)
    with pytest.raises(SystemExit, match="the limit is"):
        upscaler.export(work, tmp_path)
    assert not (tmp_path / "README.md").exists()


@pytest.mark.skipif(not (ROOT / "models" / upscaler.NAME).is_dir(), reason="the upscaler does not ship yet")
def test_the_shipped_card_and_weights_belong_together() -> None:
    folder = ROOT / "models" / upscaler.NAME
    scores = _figures((folder / "README.md").read_text(encoding="utf-8"))
    assert scores["exact halves of the art", "ours"] > scores["exact halves of the art", "Lanczos"]
    left = "what the starter's autoencoder leaves"
    assert scores[left, "ours"] > scores[left, "Lanczos"]
    assert (folder / f"{upscaler.NAME}.safetensors").stat().st_size < upscaler.LIMIT


def _figures(card: str) -> dict[tuple[str, str], float]:
    """PSNR by input and method, from the card's table."""
    rows = [line.strip("| ").split(" | ") for line in card.splitlines() if " dB " in line]
    return {(row[0], row[1]): float(row[2].removesuffix(" dB")) for row in rows}
