"""Upscalers: resampling, and networks of the ESRGAN kind in tiles. The networks are tiny and random."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import diffusers
import numpy as np
import pytest
import torch
import transformers
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import save_file

from backend.engine import upscale as up
from backend.engine.stopped import Stopped
from backend.errors import InvalidParameter, UnknownModel, UnreadableModel
from backend.types import ModelInfo, Pixels

CPU = torch.device("cpu")


def info_of(path: Path) -> ModelInfo:
    return ModelInfo(path.stem, path.stem, "any", str(path), "single-file", 1, 0, 1, kind="upscaler")


def compact(path: Path, *, scale: int = 2, seed: int = 0) -> Path:
    """Real-ESRGAN's small architecture (SRVGGNetCompact): 3 convolutions, so a pixel sees 3 pixels to each side."""
    torch.manual_seed(seed)
    sizes = [(3, 8), (8, 8), (8, 3 * scale * scale)]
    tensors: dict[str, torch.Tensor] = {}
    for number, (into, out) in enumerate(sizes):
        place = number * 2
        tensors[f"body.{place}.weight"] = torch.randn(out, into, 3, 3) / (3 * into**0.5)
        tensors[f"body.{place}.bias"] = torch.randn(out) / 10
        if number < len(sizes) - 1:
            tensors[f"body.{place + 1}.weight"] = torch.rand(out)
    save_file(tensors, path)
    return path


def rrdb(path: Path, *, scale: int = 2, seed: int = 0) -> Path:
    """ESRGAN's own architecture with one block of 8 channels, under the names of its published files."""
    torch.manual_seed(seed)
    wide, grow = 8, 32

    def conv(out: int, into: int) -> torch.Tensor:
        return torch.randn(out, into, 3, 3) / (3 * into**0.5)

    shapes = {"model.0": (wide, 3), "model.1.sub.1": (wide, wide)}
    for block in (1, 2, 3):
        for number in range(5):
            out = wide if number == 4 else grow
            shapes[f"model.1.sub.0.RDB{block}.conv{number + 1}.0"] = (out, wide + number * grow)
    ups = {2: 1, 4: 2}[scale]
    for number in range(ups):
        shapes[f"model.{3 + 3 * number}"] = (wide, wide)
    shapes[f"model.{2 + 3 * ups}"] = (wide, wide)
    shapes[f"model.{4 + 3 * ups}"] = (3, wide)
    tensors = {f"{name}.weight": conv(*shape) for name, shape in shapes.items()}
    tensors |= {f"{name}.bias": torch.zeros(shape[0]) for name, shape in shapes.items()}
    save_file(tensors, path)
    return path


def photo(height: int, width: int) -> Pixels:
    rows, columns = np.mgrid[0:height, 0:width]
    return np.stack([rows * 2 % 256, columns * 2 % 256, (rows * columns) % 256], axis=2).astype(np.uint8)


@pytest.mark.parametrize(("make", "scale"), [(compact, 2), (compact, 4), (rrdb, 2), (rrdb, 4)])
def test_a_network_is_recognised_by_its_weights_and_enlarges_by_its_own_scale(tmp_path: Path, make, scale: int):
    loaded = up.load_upscaler(info_of(make(tmp_path / "x.safetensors", scale=scale)), CPU, torch.float32)
    assert (loaded.scale, loaded.dtype) == (scale, torch.float32)
    assert loaded.size == sum(p.numel() * 4 for p in loaded.net.model.parameters())
    picture = up.upscale(photo(20, 24), 24 * scale, 20 * scale, loaded)
    assert picture.shape == (20 * scale, 24 * scale, 3)
    assert picture.std() > 1


@pytest.mark.parametrize(("make", "overlap"), [(compact, 8), (rrdb, 64)])
def test_tiles_show_no_seam(tmp_path: Path, make, overlap: int):
    loaded = up.load_upscaler(info_of(make(tmp_path / "x.safetensors")), CPU, torch.float32)
    picture = photo(40, 300)
    whole = up.upscale(picture, 600, 80, loaded, tile=512, overlap=overlap).astype(int)
    tiled = up.upscale(picture, 600, 80, loaded, tile=max(40, 4 * overlap), overlap=overlap)
    assert np.abs(whole - tiled).max() <= 1
    bare = up.upscale(picture, 600, 80, loaded, tile=max(40, 4 * overlap), overlap=0)
    assert np.abs(whole - bare).max() > 1  # the overlap is what does it


def test_a_network_is_applied_again_until_the_picture_is_large_enough(tmp_path: Path):
    loaded = up.load_upscaler(info_of(compact(tmp_path / "x.safetensors")), CPU, torch.float32)
    picture = photo(16, 16)
    twice = up.upscale(up.upscale(picture, 32, 32, loaded), 64, 64, loaded)
    assert np.array_equal(up.upscale(picture, 64, 64, loaded), twice)
    assert up.upscale(picture, 50, 40, loaded).shape == (40, 50, 3)
    assert up.upscale(picture, 16 * 16, 16 * 16, loaded).shape == (256, 256, 3)


def test_upscaling_stops_between_two_tiles(tmp_path: Path):
    loaded = up.load_upscaler(info_of(compact(tmp_path / "x.safetensors")), CPU, torch.float32)
    asked: list[int] = []

    def cancelled() -> bool:
        asked.append(1)
        return len(asked) > 3

    with pytest.raises(Stopped):
        up.upscale(photo(64, 64), 128, 128, loaded, tile=32, overlap=8, cancelled=cancelled)
    work = up.steps(photo(64, 64), 128, 128, loaded, tile=32, overlap=8)
    assert [next(work) for _ in range(2)] == [(1, 9), (2, 9)]


def test_pictures_are_resampled_by_name(tmp_path: Path):
    picture = photo(10, 12)
    assert np.array_equal(up.upscale(picture, 24, 20, "Nearest"), picture.repeat(2, 0).repeat(2, 1))
    assert up.upscale(picture, 30, 25, "Lanczos").shape == (25, 30, 3)
    assert np.array_equal(up.upscale(picture, 12, 10, "Lanczos"), picture)
    with pytest.raises(UnknownModel, match="Lanczos"):
        up.upscale(picture, 24, 20, "Lancsoz")
    for tile, overlap in ((100, 32), (8, 0), (64, -1)):
        with pytest.raises(InvalidParameter, match="Tiles"):
            loaded = up.LoadedUpscaler(info_of(tmp_path), None, 2, 0, CPU, torch.float32)
            up.upscale(picture, 24, 20, loaded, tile, overlap)


def test_latents_are_resized_by_a1111s_names_in_their_own_dtype():
    latent = torch.randn(1, 4, 6, 8)
    resized = {name: up.latent_resize(latent, 9, 16, name) for name in up.upscalers() if name.startswith("Latent")}
    assert len(resized) == 6
    assert {tuple(one.shape) for one in resized.values()} == {(1, 4, 9, 16)}
    assert torch.equal(resized["Latent"], torch.nn.functional.interpolate(latent, size=(9, 16), mode="bilinear"))
    assert up.latent_resize(latent.half(), 9, 16).dtype == torch.float16
    smaller = [up.latent_resize(latent, 3, 4, name) for name in ("Latent", "Latent (antialiased)")]
    assert not torch.equal(*smaller)
    with pytest.raises(UnknownModel):
        up.latent_resize(latent, 9, 16, "Lanczos")


def test_a_file_that_is_no_upscaler_is_unreadable(tmp_path: Path):
    save_file({"x": torch.ones(2)}, tmp_path / "other.safetensors")
    (tmp_path / "pickle.safetensors").write_bytes(b"\x80\x02rest of a pickle")
    for name in ("other", "pickle"):
        with pytest.raises(UnreadableModel):
            up.load_upscaler(info_of(tmp_path / f"{name}.safetensors"), CPU, torch.float32)


def test_torchvision_stays_absent_for_everybody_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def present() -> list[str]:
        return [name for name in sys.modules if name.partition(".")[0] == "torchvision"]

    up.load_upscaler(info_of(compact(tmp_path / "x.safetensors")), CPU, torch.float32)
    assert not present()
    monkeypatch.delitem(sys.modules, "spandrel")
    with pytest.raises(ZeroDivisionError), up._stand_in():
        assert present()
        sys.modules["torchvision.transforms.functional"].normalize  # noqa: B018
        1 / 0  # noqa: B018
    assert not present()
    assert importlib.util.find_spec("torchvision") is None
    for library in (transformers.utils.import_utils, diffusers.utils.import_utils):
        available = library.is_torchvision_available
        getattr(available, "cache_clear", lambda: None)()
        assert not available()


@given(length=st.integers(1, 400), overlap=st.integers(0, 16), extra=st.integers(0, 64))
def test_tiles_cover_every_pixel_and_weights_never_vanish(length: int, overlap: int, extra: int):
    tile = 4 * overlap + 16 + extra
    total = np.zeros(length)
    for start, end in up._spans(length, tile, overlap):
        assert 0 <= start < end <= length
        assert end - start == min(tile, length)
        total[start:end] += up._ramp(start, end, length, overlap, 1)
    assert total.min() > 0.5
