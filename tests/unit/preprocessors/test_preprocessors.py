"""Every preprocessor gives a hint of the right size for any picture, and draws what it says."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from backend.errors import BadRequest, InvalidParameter, Unavailable
from backend.preprocessors import ALIASES, PREPROCESSORS, canonical, find, preprocess, unavailable
from backend.preprocessors.sizing import fitted, perfect_resolution, resized
from backend.types import Pixels
from tests.support.onnx import save_mean

FREE = tuple(name for name, one in PREPROCESSORS.items() if not one.needs)
HUNGRY = tuple(name for name, one in PREPROCESSORS.items() if one.needs)


def noise(rows: int, columns: int, seed: int = 0) -> Pixels:
    return np.random.default_rng(seed).integers(0, 256, (rows, columns, 3), np.uint8)


def disc(size: int = 128, inside: int = 40, outside: int = 220) -> Pixels:
    """A disc in the middle, a quarter of the width in radius."""
    down, across = np.ogrid[:size, :size]
    within = (down - size / 2) ** 2 + (across - size / 2) ** 2 < (size / 4) ** 2
    return np.repeat(np.where(within, inside, outside).astype(np.uint8)[..., None], 3, axis=2)


def ring(hint: Pixels) -> float:
    """The share of a hint's light that lies within three pixels of the disc's border."""
    size = hint.shape[0]
    down, across = np.ogrid[:size, :size]
    distance = np.abs(np.hypot(down - size / 2, across - size / 2) - size / 4)
    light = hint[..., 0].astype(float)
    return float(light[distance < 4].sum() / max(1.0, light.sum()))


@pytest.mark.parametrize("name", FREE)
@pytest.mark.parametrize("shape", [(1, 1), (1, 50), (37, 1), (63, 65), (130, 91)])
def test_any_picture_becomes_a_hint_of_the_size_asked_for(name: str, shape: tuple[int, int]) -> None:
    for resize in ("crop", "fill", "stretch"):
        hint = preprocess(name, noise(*shape), width=96, height=72, resize=resize)  # type: ignore[arg-type]
        assert hint.shape == (72, 96, 3)
        assert hint.dtype == np.uint8
        assert hint.flags.c_contiguous


@pytest.mark.parametrize("name", FREE)
@pytest.mark.parametrize("level", [0, 128, 255])
def test_a_picture_without_anything_in_it_is_no_reason_to_fail(name: str, level: int) -> None:
    hint = preprocess(name, np.full((80, 80, 3), level, np.uint8), width=64, height=64)
    assert hint.min() == hint.max(), "a flat picture has a flat hint"


@pytest.mark.parametrize("name", ["canny", "softedge", "scribble", "lineart", "lines"])
def test_edges_of_nothing_are_black(name: str) -> None:
    assert not preprocess(name, np.full((80, 80, 3), 90, np.uint8), width=64, height=64).any()


@pytest.mark.parametrize("name", FREE)
def test_the_same_picture_gives_the_same_hint(name: str) -> None:
    picture = noise(70, 90)
    before = picture.copy()
    first, second = (preprocess(name, picture, width=64, height=64) for _ in range(2))
    assert np.array_equal(first, second)
    assert np.array_equal(picture, before), "the picture itself stays as it was"


@pytest.mark.parametrize("name", ["canny", "softedge", "scribble"])
def test_edge_finders_draw_the_border_of_a_disc(name: str) -> None:
    hint = preprocess(name, disc(), width=128, height=128)
    assert ring(hint) > 0.5
    assert hint.any()


def test_canny_draws_fewer_lines_when_its_thresholds_rise() -> None:
    picture = preprocess("blur", noise(128, 128), width=128, height=128, low=1.5)
    few, many = (preprocess("canny", picture, width=128, height=128, low=t, high=t) for t in (200, 20))
    assert few.sum() < many.sum()
    swapped = preprocess("canny", disc(), width=128, height=128, low=200, high=100)
    assert np.array_equal(swapped, preprocess("canny", disc(), width=128, height=128, low=100, high=200))


def test_straight_lines_find_a_wall_and_no_disc() -> None:
    wall = np.zeros((128, 128, 3), np.uint8)
    wall[:, 60:] = 255
    found = preprocess("lines", wall, width=128, height=128, low=50)
    assert found[:, 57:63].any() and not found[:, :50].any() and not found[:, 70:].any()
    assert not preprocess("lines", disc(), width=128, height=128, low=50).any()


def test_tones_are_what_they_say() -> None:
    picture = disc(64, inside=40, outside=220)
    dark = picture[..., 0] == 40
    assert np.array_equal(preprocess("none", picture, width=64, height=64), picture)
    assert np.array_equal(preprocess("invert", picture, width=64, height=64), 255 - picture)
    for name in ("threshold", "threshold_otsu"):
        assert np.array_equal(preprocess(name, picture, width=64, height=64)[..., 0], np.where(dark, 0, 255))
    assert preprocess("threshold", picture, width=64, height=64, low=230).max() == 0
    red = np.zeros((64, 64, 3), np.uint8)
    red[..., 0] = 255
    assert preprocess("intensity", red, width=64, height=64).min() == 255
    assert 120 < preprocess("luminance", red, width=64, height=64).max() < 150  # L of sRGB red is 53 of 100
    assert preprocess("luminance", picture, width=64, height=64, low=2.0).mean() < picture.mean()


def test_colour_grid_has_one_colour_for_each_square() -> None:
    hint = preprocess("color", noise(128, 192), width=192, height=128)
    squares = hint.reshape(2, 64, 3, 64, 3)
    assert np.array_equal(squares.min(axis=(1, 3)), squares.max(axis=(1, 3)))


def test_a_tile_loses_detail_and_keeps_colour() -> None:
    picture = noise(128, 128)
    hint = preprocess("tile", picture, width=128, height=128, low=8)
    assert hint.std() < picture.std() / 3
    assert abs(float(hint.mean()) - float(picture.mean())) < 3
    assert np.array_equal(preprocess("tile", picture, width=128, height=128), picture)


def test_shuffle_moves_things_and_obeys_its_seed() -> None:
    picture = disc(128)
    one, other = (preprocess("shuffle", picture, width=128, height=128, low=seed) for seed in (1, 2))
    assert not np.array_equal(one, other)
    assert set(np.unique(one)) - set(range(38, 223)) == set(), "no colour that was not there"


def test_numbers_out_of_range_are_refused_by_name() -> None:
    for field, value in (("low", 0.5), ("high", 300.0), ("low", float("nan"))):
        with pytest.raises(InvalidParameter) as caught:
            preprocess("canny", disc(), width=64, height=64, **{field: value})  # type: ignore[arg-type]
        assert caught.value.problem.field == field
    with pytest.raises(InvalidParameter, match="64 to 2048"):
        preprocess("canny", disc(), width=64, height=64, pixel_perfect=False, resolution=10_000)
    with pytest.raises(InvalidParameter, match="8-bit"):
        preprocess("canny", np.zeros((5, 5), np.uint8), width=64, height=64)


def test_minus_one_means_the_default_as_in_a1111() -> None:
    plain = preprocess("canny", disc(), width=128, height=128)
    asked = preprocess("canny", disc(), width=128, height=128, low=-1, high=-1, pixel_perfect=False, resolution=-1)
    assert np.array_equal(plain, asked)


@pytest.mark.parametrize(
    ("name", "known"),
    [
        ("", "none"), ("None", "none"), ("invert (from white bg & black line)", "invert"), ("mlsd", "lines"),
        ("softedge_hed", "hed"), ("scribble_xdog", "scribble"), ("t2ia_color_grid", "color"), ("depth_midas", "depth"),
        ("Tile_Resample", "tile"), ("recolor_luminance", "luminance"), ("blur_gaussian", "blur"),
    ],
)  # fmt: skip
def test_names_of_a1111_are_understood(name: str, known: str) -> None:
    assert find(name).name == canonical(name) == known


def test_an_unknown_name_is_answered_with_the_choices() -> None:
    assert canonical("cany") is None
    with pytest.raises(BadRequest, match=r"no preprocessor called \"cany\".*canny"):
        find("cany")


def test_every_alias_leads_somewhere_and_the_table_is_sealed() -> None:
    assert set(ALIASES.values()) == set(PREPROCESSORS)
    assert all(alias == alias.casefold() for alias in ALIASES)
    with pytest.raises(TypeError):
        PREPROCESSORS["x"] = PREPROCESSORS["none"]  # type: ignore[index]


@pytest.mark.parametrize("name", HUNGRY)
def test_missing_weights_are_named_with_the_way_to_get_them(name: str, tmp_path: Path) -> None:
    for folder in (None, tmp_path):
        problem = unavailable(name, folder)
        assert problem is not None and problem.hint
        with pytest.raises(Unavailable) as caught:
            preprocess(name, disc(), width=64, height=64, weights=folder)
        assert PREPROCESSORS[name].needs in caught.value.problem.detail
        assert str(tmp_path) not in caught.value.problem.detail


def test_filters_are_always_there() -> None:
    assert all(unavailable(name, None) is None for name in FREE)


@pytest.mark.parametrize("sides", [(1, 3, "h", "w"), (1, 3, 56, 56)])
def test_depth_runs_any_network_that_gives_a_map(sides: tuple[int | str, ...], tmp_path: Path) -> None:
    save_mean(tmp_path / "depth.onnx", sides)
    hint = preprocess("depth", disc(), width=96, height=96, weights=tmp_path)
    assert hint[48, 48, 0] < 40 and hint[5, 5, 0] > 215, "this network takes bright for near"


def test_normals_look_at_the_eye_where_it_is_flat_and_sideways_at_slopes(tmp_path: Path) -> None:
    save_mean(tmp_path / "depth.onnx")
    ramp = np.repeat(np.repeat(np.linspace(0, 255, 128).astype(np.uint8)[None], 128, axis=0)[..., None], 3, axis=2)
    slope = preprocess("normal", ramp, width=128, height=128, low=0, weights=tmp_path)[64, 64]
    assert slope[0] < 110 and abs(int(slope[1]) - 128) < 4, "nearer to the right: the surface looks to the left"
    flat = preprocess("normal", disc(), width=128, height=128, low=0, weights=tmp_path)[64, 64]
    assert abs(int(flat[0]) - 128) < 4 and flat[2] > 250


def test_a_subject_mask_is_soft_or_hard(tmp_path: Path) -> None:
    save_mean(tmp_path / "u2netp.onnx", (1, 3, 320, 320), keep=True)
    soft = preprocess("subject", disc(), width=64, height=64, weights=tmp_path)
    hard = preprocess("subject", disc(), width=64, height=64, low=0.5, weights=tmp_path)
    assert set(np.unique(hard)) == {0, 255}
    assert soft[32, 32, 0] < 5 and hard[32, 32, 0] == 0 and hard[1, 1, 0] == 255


@pytest.mark.parametrize("content", [b"", b"not a network at all"])
def test_a_damaged_network_is_told_as_such(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "depth.onnx").write_bytes(content)
    with pytest.raises(Unavailable, match=r"depth\.onnx"):
        preprocess("depth", disc(), width=64, height=64, weights=tmp_path)


def test_a_network_for_something_else_is_told_as_such(tmp_path: Path) -> None:
    save_mean(tmp_path / "depth.onnx", (1, 3, "h", "w", 7))
    with pytest.raises(Unavailable, match="does not take a picture"):
        preprocess("depth", disc(), width=64, height=64, weights=tmp_path)


@pytest.mark.parametrize(
    ("resize", "resolution"), [("crop", 768), ("fill", 512), ("stretch", 768)]
)  # fmt: skip
def test_pixel_perfect_follows_the_rule_of_a1111(resize: str, resolution: int) -> None:
    # 600 x 400 to 768 x 768: covering takes a factor of 1.92, fitting in one of 1.28.
    assert perfect_resolution(noise(400, 600), 768, 768, resize) == resolution  # type: ignore[arg-type]


def test_a_thin_line_survives_any_shrinking() -> None:
    line = np.zeros((512, 512, 3), np.uint8)
    line[:, 201] = 255
    line[77] = 255
    small = resized(line, 61, 47)
    assert set(np.unique(small)) == {0, 255}
    assert small.any(axis=(0, 2)).all() and small.any(axis=(1, 2)).all(), "every row and column is still crossed"
    assert small.mean() < 40, "and lines are still thin"


def test_labels_are_never_mixed() -> None:
    labels = np.array([[10, 20, 30], [200, 0, 7], [5, 250, 99]], np.uint8)[noise(90, 80)[..., 0] % 3]
    for size in ((33, 47), (200, 190)):
        assert set(map(tuple, resized(labels, *size).reshape(-1, 3))) <= set(map(tuple, labels.reshape(-1, 3)))


def test_filling_paints_bands_in_the_colour_of_the_border() -> None:
    whole = fitted(disc(64, inside=0, outside=200), 128, 64, "fill")
    assert (whole[:, :30] == 200).all() and (whole[:, 98:] == 200).all()
    assert (whole[32, 64] == 0).all()


@given(
    rows=st.integers(1, 90), columns=st.integers(1, 90), width=st.integers(1, 90), height=st.integers(1, 90),
    resize=st.sampled_from(["crop", "fill", "stretch"]),
)  # fmt: skip
def test_fitting_gives_exactly_the_size_asked_for(
    rows: int, columns: int, width: int, height: int, resize: str
) -> None:
    hint = fitted(noise(rows, columns), width, height, resize)  # type: ignore[arg-type]
    assert hint.shape == (height, width, 3)


def test_a_strip_is_cut_before_it_is_scaled() -> None:
    assert preprocess("canny", noise(3, 9000), width=2048, height=2048).shape == (2048, 2048, 3)
