from __future__ import annotations

import io
import random
import struct
import time
import zlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from backend import images
from backend.errors import UnreadableImage
from backend.types import Pixels

PLENTY = 64_000_000
TEXT = "a cat\nSteps: 20, Sampler: Euler, Seed: 1"
UNICODE_TEXT = "ключ 鍵 🐈\nSteps: 20, Sampler: Euler, Seed: 1"


def noise(height: int, width: int, seed: int = 0) -> Pixels:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def saved(kind: str, mode: str = "RGB", **options) -> bytes:
    out = io.BytesIO()
    Image.fromarray(noise(24, 40)).convert(mode).save(out, kind, **options)
    return out.getvalue()


def exif_comment(comment: bytes) -> bytes:
    exif = Image.Exif()
    exif.get_ifd(0x8769)[0x9286] = comment
    return exif.tobytes()


def chunk(name: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))


@pytest.mark.parametrize("text", [None, TEXT, UNICODE_TEXT, "é in Latin-1"])
def test_what_was_encoded_is_decoded_pixel_for_pixel_with_its_text(text: str | None):
    pixels = noise(24, 40)
    found = images.decode(images.encode_png(pixels, text), max_pixels=PLENTY)
    assert np.array_equal(found.pixels, pixels)
    assert (found.media_type, found.text) == ("image/png", text)


def test_the_same_picture_is_always_encoded_to_the_same_bytes():
    assert len({images.encode_png(noise(24, 40), UNICODE_TEXT) for _ in range(3)}) == 1


@pytest.mark.parametrize(("kind", "media_type"), list(images.FORMATS.items()))
@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_png_jpeg_and_webp_are_decoded_to_rgb(kind: str, media_type: str, mode: str):
    found = images.decode(saved(kind, mode), max_pixels=PLENTY)
    assert found.media_type == media_type
    assert found.pixels.shape == (24, 40, 3)
    assert found.pixels.dtype == np.uint8


@pytest.mark.parametrize(
    ("kind", "mode"), [("PNG", "RGBA"), ("PNG", "P"), ("PNG", "1"), ("PNG", "LA"), ("WEBP", "RGBA"), ("JPEG", "CMYK")]
)
def test_transparency_palettes_and_cmyk_become_rgb(kind: str, mode: str):
    assert images.decode(saved(kind, mode), max_pixels=PLENTY).pixels.shape == (24, 40, 3)


def test_a_sixteen_bit_png_is_read_or_refused_but_never_breaks():
    out = io.BytesIO()
    Image.fromarray(np.full((4, 4), 40_000, dtype=np.uint16)).save(out, "PNG")
    assert images.decode(out.getvalue(), max_pixels=PLENTY).pixels.shape == (4, 4, 3)


@pytest.mark.parametrize("kind", ["JPEG", "WEBP"])
@pytest.mark.parametrize("text", [TEXT, UNICODE_TEXT])
def test_the_exif_comment_that_a1111_writes_is_read(kind: str, text: str):
    comment = b"UNICODE\x00" + text.encode("utf-16-be")
    assert images.decode(saved(kind, exif=exif_comment(comment)), max_pixels=PLENTY).text == text


def test_an_ascii_exif_comment_is_read_too_and_other_codes_are_not():
    plain = exif_comment(b"ASCII\x00\x00\x00" + TEXT.encode())
    assert images.decode(saved("JPEG", exif=plain), max_pixels=PLENTY).text == TEXT
    assert (
        images.decode(saved("JPEG", exif=exif_comment(b"JIS\x00\x00\x00\x00\x00abc")), max_pixels=PLENTY).text is None
    )


def test_text_behind_the_pixels_of_a_png_is_found():
    plain = images.encode_png(noise(8, 8))
    end = plain.index(b"IEND") - 4
    late = plain[:end] + chunk(b"tEXt", b"parameters\x00" + TEXT.encode()) + plain[end:]
    assert images.decode(late, max_pixels=PLENTY).text == TEXT


def test_an_enormous_text_is_cut_or_refused_and_never_unpacked_without_bound():
    bomb = chunk(b"zTXt", b"parameters\x00\x00" + zlib.compress(b"a" * 50_000_000, 9))
    plain = images.encode_png(noise(8, 8))
    try:
        text = images.decode(plain[:33] + bomb + plain[33:], max_pixels=PLENTY).text
    except UnreadableImage:
        return
    assert text is None or len(text) <= 1 << 20


def png_header(width: int, height: int) -> bytes:
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    body = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(1000))) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


def jpeg_header(width: int, height: int) -> bytes:
    data = saved("JPEG")
    start = data.index(b"\xff\xc0") + 5
    return data[:start] + struct.pack(">HH", height, width) + data[start + 4 :]


def webp_header(width: int, height: int) -> bytes:
    size = (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")
    plain = saved("WEBP")[12:]
    body = b"WEBP" + b"VP8X" + (10).to_bytes(4, "little") + b"\x02\x00\x00\x00" + size
    body += b"ANIM" + (6).to_bytes(4, "little") + bytes(6)
    frame = bytes(6) + size + bytes(3) + b"\x00" + plain
    body += b"ANMF" + len(frame).to_bytes(4, "little") + frame
    return b"RIFF" + len(body).to_bytes(4, "little") + body


@pytest.mark.parametrize(
    "bomb",
    [png_header(60_000, 60_000), png_header(9_000, 9_000), jpeg_header(60_000, 60_000), webp_header(16_383, 16_383)],
    ids=["png", "smaller png", "jpeg", "webp"],
)
def test_a_bomb_is_refused_by_its_header_without_decoding(bomb: bytes):
    began = time.process_time()
    with pytest.raises(UnreadableImage, match=r"at most .* million are read"):
        images.decode(bomb, max_pixels=PLENTY)
    assert time.process_time() - began < 0.5


def test_the_limit_on_pixels_is_exact():
    data = images.encode_png(noise(10, 10))
    assert images.decode(data, max_pixels=100).pixels.shape == (10, 10, 3)
    with pytest.raises(UnreadableImage, match="10 x 10"):
        images.decode(data, max_pixels=99)


@pytest.mark.parametrize("kind", images.FORMATS)
def test_a_truncated_file_is_refused(kind: str):
    data = saved(kind)
    for length in (3, 12, 30, len(data) // 2, len(data) * 9 // 10):
        with pytest.raises(UnreadableImage):
            images.decode(data[:length], max_pixels=PLENTY)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x89PNG\r\n\x1a\n",
        b"\xff\xd8\xff",
        b"RIFF\x00\x00\x00\x00WEBP",
        b"hello",
        b"<svg xmlns='http://www.w3.org/2000/svg'/>",
        b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n",
        b"\x89PNG\r\n\x1a\n%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n",
    ],
)
def test_what_is_not_a_picture_is_refused(data: bytes):
    with pytest.raises(UnreadableImage):
        images.decode(data, max_pixels=PLENTY)


@pytest.mark.parametrize("kind", ["TIFF", "EPS", "BMP", "GIF", "PDF", "ICO", "PPM"])
def test_other_formats_are_refused_whatever_their_name(kind: str):
    with pytest.raises(UnreadableImage, match="not a PNG, JPEG or WebP"):
        images.decode(saved(kind), max_pixels=PLENTY)


def test_three_hundred_mutated_pictures_are_read_or_refused_and_nothing_else():
    dice = random.Random(7)
    comment = exif_comment(b"UNICODE\x00" + TEXT.encode("utf-16-be"))
    whole = [images.encode_png(noise(24, 40), TEXT), images.encode_png(noise(24, 40), UNICODE_TEXT)]
    whole += [saved("JPEG", exif=comment), saved("WEBP", exif=comment), saved("PNG", exif=comment), saved("PNG", "P")]
    for turn in range(300):
        data = bytearray(whole[turn % len(whole)])
        for _ in range(dice.randint(1, 6)):
            # Mostly near the start, where the structure is.
            place = dice.randrange(len(data) if dice.random() < 0.3 else min(250, len(data)))
            data[place] = dice.choice([0, 1, 255, dice.randrange(256), data[place] ^ 1 << dice.randrange(8)])
        try:
            found = images.decode(bytes(data), max_pixels=PLENTY)
        except UnreadableImage:
            continue
        assert found.pixels.ndim == 3


@given(st.binary(max_size=200), st.sampled_from([b"", b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"RIFF\x40\0\0\0WEBP"]))
def test_no_bytes_make_the_decoder_raise_anything_else(tail: bytes, start: bytes):
    try:
        images.decode(start + tail, max_pixels=PLENTY)
    except UnreadableImage as error:
        assert len(error.problem.detail) < 300


def test_a_thumbnail_is_made_only_of_a_larger_picture():
    assert images.encode_thumbnail(noise(256, 256)) is None
    small = images.encode_thumbnail(noise(300, 600))
    assert small is not None
    found = images.decode(small, max_pixels=PLENTY)
    assert (found.media_type, found.pixels.shape) == ("image/webp", (128, 256, 3))


def test_previews_and_manifest_thumbnails_are_jpegs():
    assert images.decode(images.encode_preview(noise(16, 16)), max_pixels=PLENTY).pixels.shape == (16, 16, 3)
    found = images.decode(images.encode_jpeg(noise(300, 600), 100), max_pixels=PLENTY)
    assert (found.media_type, found.pixels.shape) == ("image/jpeg", (50, 100, 3))
