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
from PIL import Image, ImageCms, PngImagePlugin

from backend import images
from backend.errors import InvalidParameter, UnreadableImage
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


def bytes_of(image: Image.Image, kind: str = "PNG", **options) -> bytes:
    out = io.BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()


def decoded(image: Image.Image, kind: str = "PNG", **options) -> images.Decoded:
    return images.decode(bytes_of(image, kind, **options), max_pixels=PLENTY)


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_sixteen_bit_grey_is_scaled_and_not_clipped(kind: str):
    values = np.array([[0, 257 * 100, 40_000, 65_535]], dtype=np.uint16)
    assert decoded(Image.fromarray(values), kind).pixels[0, :, 1].tolist() == [0, 100, 156, 255]


def test_sixteen_bit_colour_is_scaled_and_not_clipped():
    row = struct.pack(">6H", 0, 257 * 100, 65_535, 40_000, 300, 1)
    header = struct.pack(">IIBBBBB", 2, 1, 16, 2, 0, 0, 0)
    data = (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0" + row)) + chunk(b"IEND", b"")
    )
    pixels = images.decode(data, max_pixels=PLENTY).pixels.astype(int)
    assert np.abs(pixels - [[[0, 100, 255], [156, 1, 0]]]).max() <= 1


def test_a_depth_map_of_floats_is_scaled_by_what_it_holds_and_this_is_said():
    found = decoded(Image.fromarray(np.array([[0, 0.5, 1]], dtype=np.float32)), "TIFF")
    assert found.pixels[0, :, 0].tolist() == [0, 128, 255]
    assert any("taken for white" in note for note in found.notes)
    wild = np.array([[np.nan, np.inf, -5, 1e30]], dtype=np.float32)
    assert decoded(Image.fromarray(wild), "TIFF").pixels[0, :, 0].tolist() == [0, 0, 0, 255]


@pytest.mark.parametrize(("mode", "kind"), [("RGBA", "PNG"), ("RGBA", "WEBP"), ("LA", "PNG"), ("RGBA", "TIFF")])
def test_transparency_is_laid_on_white_and_also_given_by_itself(mode: str, kind: str):
    alpha = np.array([[0, 255], [128, 254]], dtype=np.uint8)
    image = Image.fromarray(np.dstack([np.zeros((2, 2, 3), dtype=np.uint8), alpha])).convert(mode)
    found = decoded(image, kind, **({"lossless": True, "exact": True} if kind == "WEBP" else {}))
    assert np.array_equal(found.alpha, alpha)
    assert found.pixels[..., 0].tolist() == [[255, 0], [127, 1]]


def test_a_transparent_palette_entry_counts_as_transparency_and_none_as_none():
    image = Image.new("P", (2, 1))
    image.putpalette([0, 0, 0, 9, 9, 9])
    image.putpixel((1, 0), 1)
    found = decoded(image, "PNG", transparency=0)
    assert found.alpha is not None and found.alpha.tolist() == [[0, 255]]
    assert found.pixels[0, :, 0].tolist() == [255, 9]
    assert decoded(image).alpha is None


def test_the_orientation_in_exif_is_applied():
    upright = np.zeros((40, 24, 3), dtype=np.uint8)
    upright[:10] = 255
    turns = {3: 2, 6: 1, 8: 3}  # orientation: quarter turns, counter-clockwise, from upright to stored
    for orientation, quarters in turns.items():
        exif = Image.Exif()
        exif[0x0112] = orientation
        found = decoded(Image.fromarray(np.rot90(upright, quarters).copy()), "PNG", exif=exif.tobytes())
        assert np.array_equal(found.pixels, upright), orientation
    exif[0x0112] = 77
    assert decoded(Image.fromarray(upright), "PNG", exif=exif.tobytes()).pixels.shape == (40, 24, 3)


def test_a_colour_profile_is_applied_and_a_broken_one_is_said():
    grey = Image.new("RGB", (2, 2), (128, 128, 128))
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    plain = decoded(grey, "PNG", icc_profile=srgb)
    assert (plain.pixels == 128).all() and plain.notes == ()
    lab = ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB")).tobytes()
    for profile in (b"no profile", lab):
        found = decoded(grey, "PNG", icc_profile=profile)
        assert (found.pixels == 128).all()
        assert found.notes == ("The colour profile could not be used; colours may differ a little.",)


def linear_profile() -> bytes:
    """sRGB's own profile with straight lines for its curves, and another name."""
    data = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    for place in range(128 + 4, 128 + 4 + 12 * struct.unpack_from(">I", data, 128)[0], 12):
        name, start, size = struct.unpack_from(">4sII", data, place)
        if name in (b"rTRC", b"gTRC", b"bTRC"):
            data[start : start + size] = (b"curv" + bytes(8)).ljust(size, b"\0")
        if name == b"desc":
            data[start : start + size] = data[start : start + size].replace(b"s\0R\0G\0B", b"l\0i\0n\0e")
    return bytes(data)


def test_numbers_of_another_colour_space_are_converted():
    found = decoded(Image.new("RGB", (2, 2), (128, 128, 128)), "PNG", icc_profile=linear_profile())
    assert found.notes == ()
    assert 180 <= int(found.pixels[0, 0, 0]) <= 190  # half the light is 188 in sRGB


@pytest.mark.parametrize("kind", ["GIF", "PNG", "WEBP", "TIFF", "AVIF"])
def test_of_an_animation_the_first_picture_is_read_and_this_is_said(kind: str):
    first, second = (Image.new("RGB", (64, 64), colour) for colour in ((250, 10, 10), (10, 10, 250)))
    found = decoded(first, kind, save_all=True, append_images=[second])
    assert int(found.pixels[5, 5, 0]) > 200
    assert found.notes == ("The file holds several pictures; the first one was read.",)


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


def with_chunks(*chunks: bytes) -> bytes:
    plain = images.encode_png(noise(8, 8))
    return plain[:33] + b"".join(chunks) + plain[33:]


def test_an_enormous_text_is_cut_and_the_picture_is_read_all_the_same():
    bomb = zlib.compress(b"a" * 50_000_000, 9)
    for packed in (b"zTXt", b"parameters\0\0" + bomb), (b"iTXt", b"parameters\0\1\0\0\0" + bomb):
        began = time.process_time()
        found = images.decode(with_chunks(chunk(*packed)), max_pixels=PLENTY)
        assert found.text == "a" * (1 << 20)
        assert found.pixels.shape == (8, 8, 3)
        assert time.process_time() - began < 0.5


def test_sixty_four_megabytes_of_text_are_read_in_part_and_soon():
    data = with_chunks(*(chunk(b"tEXt", b"k%d\0" % n + b"a" * 1_000_000) for n in range(70)))
    began = time.process_time()
    found = images.decode(data, max_pixels=PLENTY)
    assert len(found.texts) == 64
    assert time.process_time() - began < 1


def test_a_png_of_endless_chunks_is_refused():
    with pytest.raises(UnreadableImage, match="too many parts"):
        images.decode(with_chunks(chunk(b"tEXt", b"a\0") * 200_001), max_pixels=PLENTY)


def test_text_that_cannot_be_unpacked_is_left_out():
    damaged = (chunk(b"zTXt", b"a\0\0rubbish"), chunk(b"zTXt", b"b\0\7"), chunk(b"iTXt", b"c\0\1\0\0\0rubbish"))
    assert images.decode(with_chunks(*damaged, chunk(b"tEXt", b"d\0ok")), max_pixels=PLENTY).texts == {"d": "ok"}


def test_every_text_is_given_by_its_name():
    info = PngImagePlugin.PngInfo()
    info.add_text("Title", "one")
    info.add_itxt("workflow", "鍵")
    info.add_text("Comment", "two", zip=True)
    exif = Image.Exif()
    exif[0x010E], exif[0x0110] = "described", "prompt:{}"
    found = decoded(Image.new("RGB", (4, 4)), "PNG", pnginfo=info, exif=exif.tobytes())
    assert found.texts == {
        "Title": "one", "workflow": "鍵", "Comment": "two",
        "Exif.ImageDescription": "described", "Exif.Model": "prompt:{}",
    }  # fmt: skip
    assert found.text is None
    assert "dc:rights" in decoded(Image.new("RGB", (4, 4)), "JPEG", xmp=b"<x:xmpmeta dc:rights/>").texts["XMP"]


def test_exif_wins_over_the_text_chunk_and_a_blank_comment_does_not():
    info = PngImagePlugin.PngInfo()
    info.add_text("parameters", "from the chunk")
    image = Image.new("RGB", (4, 4))
    for comment, text in ((b"ASCII\0\0\0from Exif", "from Exif"), (b"ASCII\0\0\0   \0\0", "from the chunk")):
        assert decoded(image, "PNG", pnginfo=info, exif=exif_comment(comment)).text == text


@pytest.mark.parametrize("text", [TEXT, UNICODE_TEXT, "鍵 " * 50 + TEXT])
@pytest.mark.parametrize(
    "written",
    [
        lambda text: b"UNICODE\0" + text.encode("utf-16-be"),
        lambda text: b"UNICODE\0" + text.encode("utf-16-le"),
        lambda text: b"UNICODE\0" + text.encode("utf-16"),
        lambda text: b"UNICODE\0" + text.encode(),
        lambda text: bytes(8) + text.encode(),
        lambda text: text.encode(),
    ],
    ids=["big-endian", "little-endian", "byte order mark", "utf-8 called unicode", "undefined", "no code"],
)
def test_a_comment_is_read_however_it_was_coded(text: str, written):
    assert decoded(Image.new("RGB", (4, 4)), "JPEG", exif=exif_comment(written(text))).text == text


def test_the_comment_of_a_gif_is_its_text_and_that_of_a_jpeg_is_only_kept():
    image = Image.new("RGB", (4, 4))
    assert decoded(image, "GIF", comment=TEXT.encode()).text == TEXT
    found = decoded(image, "JPEG", comment=b"made with a camera")
    assert (found.text, found.texts) == (None, {"comment": "made with a camera"})


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


@pytest.mark.parametrize("kind", ["EPS", "PDF", "ICO", "PPM"])
def test_other_formats_are_refused_whatever_their_name(kind: str):
    with pytest.raises(UnreadableImage, match="not a picture of a known kind"):
        images.decode(saved(kind), max_pixels=PLENTY)


@pytest.mark.parametrize("kind", ["GIF", "BMP", "TIFF"])
def test_more_formats_may_come_in_than_may_be_verified(kind: str):
    data = saved(kind)
    assert images.input_type(data) == f"image/{kind.lower()}"
    assert images.decode(data, max_pixels=PLENTY).pixels.shape == (24, 40, 3)
    with pytest.raises(UnreadableImage, match="not a PNG, JPEG, WebP or AVIF"):
        images.media_type(data)
    with pytest.raises(UnreadableImage, match="at most"):
        images.decode(data, max_pixels=24 * 40 - 1)


@pytest.mark.skipif(not images.writes_avif(), reason="this Pillow has no AVIF codec")
def test_avif_goes_out_with_its_text_and_labels_and_comes_in_again():
    pixels = images.decode(saved("PNG"), max_pixels=PLENTY).pixels
    data = images.encode_avif_file(pixels, "a lighthouse\nSteps: 4", 90, "<x:xmpmeta/>")
    opened = images.decode(data, max_pixels=PLENTY)
    assert (images.media_type(data), opened.text, opened.texts["XMP"]) == (
        "image/avif",
        "a lighthouse\nSteps: 4",
        "<x:xmpmeta/>",
    )
    assert np.abs(opened.pixels.astype(int) - pixels).mean() < 8


def test_avif_without_its_codec_is_a_clear_refusal(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(images, "writes_avif", lambda: False)
    with pytest.raises(InvalidParameter, match="cannot write AVIF"):
        images.encode_avif_file(np.zeros((8, 8, 3), np.uint8))


def test_an_xmp_packet_goes_into_a_png_without_touching_pixels_or_text():
    plain = images.encode_png(images.decode(saved("PNG"), max_pixels=PLENTY).pixels, "Steps: 4")
    data = images.png_with_xmp(plain, "<x:xmpmeta>lumière</x:xmpmeta>")
    before, after = (images.decode(each, max_pixels=PLENTY) for each in (plain, data))
    assert np.array_equal(before.pixels, after.pixels)
    assert (after.text, after.texts["XMP"]) == ("Steps: 4", "<x:xmpmeta>lumière</x:xmpmeta>")


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "AVIF", "GIF", "BMP", "TIFF"])
def test_texts_are_read_without_decoding_and_nothing_raises(kind: str):
    data = saved(kind)
    assert images.metadata(data) == dict(images.decode(data, max_pixels=PLENTY).texts)
    for size in (0, 10, len(data) // 2):
        assert isinstance(images.metadata(data[:size]), dict)


def test_three_hundred_mutated_pictures_are_read_or_refused_and_nothing_else():
    dice = random.Random(7)
    comment = exif_comment(b"UNICODE\x00" + TEXT.encode("utf-16-be"))
    whole = [images.encode_png(noise(24, 40), TEXT), images.encode_png(noise(24, 40), UNICODE_TEXT)]
    whole += [saved("JPEG", exif=comment), saved("WEBP", exif=comment), saved("PNG", exif=comment), saved("PNG", "P")]
    whole += [saved(kind) for kind in ("GIF", "BMP", "TIFF", "AVIF")]
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


STARTS = [
    b"", b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"RIFF\x40\0\0\0WEBP", b"II*\0\x08\0\0\0", b"MM\0*\0\0\0\x08",
    b"GIF89a", b"BM", b"\0\0\0\x1cftypavif",
]  # fmt: skip


@given(st.binary(max_size=200), st.sampled_from(STARTS))
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


@pytest.mark.parametrize("text", [None, TEXT, UNICODE_TEXT])
def test_jpeg_and_webp_files_carry_the_text_where_a1111_puts_it(text: str | None):
    for data in (images.encode_jpeg_file(noise(24, 40), text), images.encode_webp_file(noise(24, 40), text)):
        assert images.decode(data, max_pixels=PLENTY).text == text
        if text:
            assert b"UNICODE\0" + text.encode("utf-16-be") in data


def test_a_lossless_webp_has_the_very_pixels_and_quality_has_an_effect():
    pixels = noise(24, 40)
    assert np.array_equal(
        images.decode(images.encode_webp_file(pixels, TEXT, lossless=True), max_pixels=PLENTY).pixels, pixels
    )
    assert len(images.encode_jpeg_file(pixels, None, 95)) > len(images.encode_jpeg_file(pixels, None, 30))
    assert len(images.encode_webp_file(pixels, None, 95)) > len(images.encode_webp_file(pixels, None, 30))


def test_what_a_format_cannot_hold_is_refused_with_a_way_out():
    with pytest.raises(InvalidParameter, match=r"JPEG holds at most 65,535 .* Use PNG"):
        images.encode_jpeg_file(np.zeros((1, 65_536, 3), dtype=np.uint8))
    with pytest.raises(InvalidParameter, match=r"WebP holds at most 16,383 .* Use PNG"):
        images.encode_webp_file(np.zeros((16_384, 1, 3), dtype=np.uint8))
    with pytest.raises(InvalidParameter, match="too long for a JPEG"):
        images.encode_jpeg_file(noise(8, 8), "a" * 40_000)
    long = images.decode(images.encode_webp_file(noise(8, 8), "a" * 40_000), max_pixels=PLENTY).text
    assert long == "a" * 40_000


def test_stretch_crop_and_fill_give_exactly_the_size_that_was_asked_for():
    for height, width in ((30, 50), (50, 30), (1, 90), (64, 64)):
        for asked in ((64, 64), (100, 20), (7, 33), (1, 1)):
            for mode in ("stretch", "crop", "fill"):
                for picture in (noise(height, width), noise(height, width)[..., 0]):
                    shape = images.resize(picture, *asked, mode).shape
                    assert shape == (asked[1], asked[0], *picture.shape[2:])


def halves(height: int, width: int) -> Pixels:
    """White on the left, black on the right."""
    pixels = np.zeros((height, width, 3), dtype=np.uint8)
    pixels[:, : width // 2] = 255
    return pixels


def test_crop_cuts_the_sides_and_fill_repeats_the_border():
    wide = halves(20, 80)
    wide[:, :10] = 100
    cropped = images.resize(wide, 20, 20, "crop")
    assert cropped[10, 2, 0] > 240 and cropped[10, 17, 0] < 15
    filled = images.resize(wide, 80, 80, "fill")
    assert np.array_equal(filled[30:50], wide)
    assert np.array_equal(filled[0], wide[0]) and np.array_equal(filled[79], wide[19])
    tall = images.resize(np.ascontiguousarray(wide.swapaxes(0, 1)), 80, 80, "fill")
    assert np.array_equal(tall, filled.swapaxes(0, 1))


def test_a_picture_of_the_right_size_is_not_touched():
    pixels = noise(8, 8)
    assert images.resize(pixels, 8, 8, "crop") is pixels


def test_a_mask_is_the_brightness_of_a_picture():
    mask = images.to_mask(halves(4, 8))
    assert mask.shape == (4, 8)
    assert mask[0].tolist() == [255] * 4 + [0] * 4


@pytest.mark.parametrize("ink", [(0, 0, 0), (255, 255, 255), (250, 30, 90)])
def test_a_stroke_of_one_colour_on_a_transparent_layer_is_the_mask(ink: tuple[int, int, int]):
    alpha = np.tile(np.array([0, 60, 128, 255], dtype=np.uint8), (4, 1))
    layer = np.dstack([np.full((4, 4, 3), ink, dtype=np.uint8), alpha])
    assert np.array_equal(images.to_mask(decoded(Image.fromarray(layer))), alpha)


def test_a_real_picture_with_some_transparency_is_still_judged_by_brightness():
    alpha = np.full((8, 8, 1), 255, dtype=np.uint8)
    alpha[0] = 0
    mask = images.to_mask(decoded(Image.fromarray(np.dstack([noise(8, 8), alpha]))))
    assert not np.array_equal(mask, alpha[..., 0])
    opaque = np.dstack([halves(8, 8), np.full((8, 8, 1), 254, dtype=np.uint8)])
    assert images.to_mask(decoded(Image.fromarray(opaque)))[0, 7] <= 1
