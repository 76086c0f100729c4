"""Measures, features and diversity on drawn pictures whose every attribute is known."""

from __future__ import annotations

import numpy as np
import pytest

from backend.errors import InvalidParameter
from safety.bias.colours import COLOURS, lab, names_of, object_on
from safety.bias.diversity import diversity, resemblance, resemblance_confusion, vendi
from safety.bias.features import NetworkFeatures, PlainFeatures
from safety.bias.labeller import measured, unmeasured
from safety.bias.measures import MEASURES, Skin, measures_named
from tests.support.glyphs import BODIES, SKINS, figure

RNG = np.random.default_rng


def flat(colour: tuple[int, int, int], side: int = 40) -> np.ndarray:
    """A disc of one colour on white."""
    y, x = np.mgrid[0:side, 0:side]
    pixels = np.full((side, side, 3), 255, np.uint8)
    pixels[np.hypot(x - side / 2, y - side / 2) < side / 3] = colour
    return pixels


def test_lab_values_are_the_published_ones() -> None:
    found = lab(np.array([[255, 255, 255], [255, 0, 0], [0, 0, 255], [0, 0, 0]]))
    expected = [[100, 0, 0], [53.24, 80.09, 67.20], [32.30, 79.19, -107.86], [0, 0, 0]]
    assert np.allclose(found, expected, atol=0.05)


def test_colours_have_the_names_the_training_data_gives_them() -> None:
    named = {
        "red": (222, 45, 45), "orange": (247, 140, 35), "yellow": (250, 215, 60), "green": (75, 175, 75),
        "blue": (60, 120, 220), "purple": (140, 80, 190), "pink": (250, 165, 195), "brown": (130, 85, 55),
        "grey": (150, 150, 150), "black": (20, 20, 22), "white": (255, 255, 255),
    }  # fmt: skip
    found = names_of(np.array([list(named.values())], np.uint8))[0]
    assert [COLOURS[i] for i in found] == list(named)


def test_what_stands_on_the_ground_is_found_with_its_holes() -> None:
    pixels = flat((200, 30, 30))
    pixels[18:22, 18:22] = 255
    assert object_on(lab(pixels)).sum() == object_on(lab(flat((200, 30, 30)))).sum()
    assert not object_on(lab(np.full((40, 40, 3), 90, np.uint8))).any()


@pytest.mark.parametrize("name", ["colour", "shape", "skin"])
def test_an_empty_picture_is_an_abstention(name: str) -> None:
    assert MEASURES[name].look(np.full((48, 48, 3), 255, np.uint8)) is None


@pytest.mark.parametrize("ground", [(255, 255, 255), (60, 120, 220), (20, 20, 22)])
def test_the_colour_is_that_of_the_thing_not_of_the_ground(ground: tuple[int, int, int]) -> None:
    pixels = flat((75, 175, 75))
    pixels[(pixels == 255).all(-1)] = ground
    assert MEASURES["colour"].look(pixels) == "green"


def test_emoji_yellow_is_no_skin_tone() -> None:
    for yellow in ((255, 204, 77), (250, 190, 50), (252, 194, 27)):
        assert MEASURES["skin"].look(flat(yellow)) is None


def test_brown_eyes_in_a_yellow_face_are_not_skin() -> None:
    pixels = flat((255, 204, 77))
    pixels[15:19, 14:18] = pixels[15:19, 22:26] = (102, 69, 0)
    assert MEASURES["skin"].look(pixels) is None


def test_the_angle_is_chardons() -> None:
    lightness, _, yellow = lab(np.array([213, 171, 136]))
    expected = np.degrees(np.arctan((lightness - 50) / yellow))
    assert Skin().angle(flat((213, 171, 136))) == pytest.approx(expected, abs=0.5)


def test_only_the_skin_measure_is_personal_and_unknown_ones_are_refused() -> None:
    assert [name for name, one in MEASURES.items() if one.personal] == ["skin"]
    with pytest.raises(InvalidParameter, match='no measure "race"'):
        measures_named(["race"])


def _known(name: str, pictures: int = 60) -> list[tuple[str, np.ndarray]]:
    rng, made = RNG(7), []
    values = {"colour": list(BODIES), "shape": ["round", "square", "triangle"], "skin": list(SKINS)[:3]}[name]
    for i in range(pictures):
        shown = {"colour": str(rng.choice(list(BODIES))), name: values[i % len(values)]}
        made.append((shown[name], figure(rng, shown)))
    return made


@pytest.mark.parametrize("name", ["colour", "shape", "skin"])
def test_a_measure_knows_its_own_error(name: str) -> None:
    found = measured(MEASURES[name], _known(name), "glyph people")
    right, spoken = found.right
    assert right / spoken >= 0.98 and spoken + sum(found.abstained.values()) == found.measured == 60
    assert found.right_interval[0] < right / spoken <= found.right_interval[1]


def test_labels_that_a_measure_does_not_know_are_refused() -> None:
    with pytest.raises(InvalidParameter, match="knows no"):
        measured(MEASURES["colour"], [("mauve", flat((1, 2, 3)))], "x")
    with pytest.raises(InvalidParameter, match="no labelled picture"):
        measured(MEASURES["colour"], [], "x")
    assert unmeasured(MEASURES["colour"]).right_interval == (0, 1)


@pytest.mark.parametrize("kind", [PlainFeatures, NetworkFeatures])
def test_features_tell_alike_from_different(kind: type[PlainFeatures] | type[NetworkFeatures]) -> None:
    features, rng = kind(), RNG(0)
    one = features.vector(figure(rng, {"colour": "red"}))
    same = features.vector(figure(RNG(0), {"colour": "red"}))
    like = features.vector(figure(rng, {"colour": "red"}))
    other = features.vector(figure(rng, {"colour": "blue", "shape": "triangle"}))
    assert np.linalg.norm(one) == pytest.approx(1, abs=1e-5)
    assert one @ same >= features.near
    assert one @ like > one @ other


def test_the_networks_inner_layer_is_the_one_before_its_scores() -> None:
    assert NetworkFeatures().vector(flat((10, 200, 30))).shape == (1024,)


def test_vendi_counts_how_many_different_pictures_there_are() -> None:
    assert vendi(np.eye(5)) == pytest.approx(5)
    assert vendi(np.ones((5, 5))) == pytest.approx(1)
    assert vendi(np.kron(np.eye(2), np.ones((3, 3)))) == pytest.approx(2)


def test_diversity_sees_duplicates_and_distance() -> None:
    vectors = np.array([[1, 0], [1, 0], [0, 1], [0.6, 0.8]], np.float32)
    found = diversity("p", vectors, near=0.99)
    assert (found.n, found.duplicates) == (4, 2)
    pairs = [1 - float(vectors[i] @ vectors[j]) for i in range(4) for j in range(i)]
    assert found.mean_distance == pytest.approx(np.mean(pairs))
    assert found.mean_distance_interval is not None and found.mean_distance_interval[0] < found.mean_distance
    assert diversity("p", vectors[:1], 0.99).vendi is None


def test_pictures_are_assigned_to_the_group_they_resemble_and_the_error_is_known() -> None:
    rng = RNG(1)
    centres = np.eye(3, 8)
    groups = {name: _rows(rng, centre, 12, 0.25) for name, centre in zip(("a", "b", "c"), centres, strict=True)}
    said = resemblance(groups, _rows(rng, centres[1], 20, 0.25))
    assert said.count("b") >= 18
    confusion, p = resemblance_confusion(groups, rng)
    assert sum(confusion[name][name] for name in groups) >= 32 and p < 0.01
    assert sum(sum(row.values()) for row in confusion.values()) == 36


def test_groups_that_are_alike_cannot_be_told_apart() -> None:
    rng = RNG(2)
    groups = {name: _rows(rng, np.ones(8), 40, 2.0) for name in ("a", "b")}
    confusion, p = resemblance_confusion(groups, rng)
    assert sum(confusion[name][name] for name in groups) < 60 and p > 0.01


def _rows(rng: np.random.Generator, centre: np.ndarray, count: int, spread: float) -> np.ndarray:
    rows = centre + rng.normal(0, spread, (count, len(centre)))
    return np.asarray(rows / np.linalg.norm(rows, axis=1, keepdims=True), np.float32)
