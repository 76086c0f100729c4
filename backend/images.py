"""The only module that decodes pictures of strangers or encodes ours.

Decoding is guarded before it starts: known format by its first bytes, size and pixel count from the header, text taken
out with bounds (backend.imagetext). Encoding writes plain 8-bit RGB with the infotext where A1111 puts it; Content
Credentials are added afterwards, by safety.seal.
"""

from __future__ import annotations

import io
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter, PngImagePlugin, features

from backend import imagecolour as colour
from backend import imagetext
from backend.errors import InvalidParameter, UnreadableImage
from backend.types import Pixels

FORMATS = {"PNG": "image/png", "JPEG": "image/jpeg", "WEBP": "image/webp", "AVIF": "image/avif"}
"""What we write, and what is taken as it came where a file of ours is meant."""
INPUT_FORMATS = {
    **FORMATS,
    "GIF": "image/gif",
    "BMP": "image/bmp",
    "TIFF": "image/tiff",
}
PARAMETERS = "parameters"
JPEG_SIDE = 65_535
WEBP_SIDE = 16_383
AVIF_SIDE = 65_535
_AVIF_SPEED = 8  # of 10: libavif's default of 6 takes three times as long for a few percent of the size
ResizeMode = Literal["stretch", "crop", "fill"]
Mask = NDArray[np.uint8]
"""uint8, (height, width)."""

_USER_COMMENT = 0x9286
_PNG_XMP = "XML:com.adobe.xmp"  # XMP specification, part 3, 1.1.5
_EXIF_IFD = 0x8769
_ORIENTATION = 0x0112
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""Exif 2.32, Orientation: how the stored picture is turned to be seen upright."""


@dataclass(frozen=True, slots=True)
class Decoded:
    """A picture as it is meant to be seen: upright, sRGB, 8 bit, transparency laid on white.

    `alpha` (H, W) is the transparency itself, None if the file has none. `text` is the "parameters" text if the file
    carries one; `texts` is every text in it by name ("parameters", "prompt", "Exif.UserComment", "XMP", "comment").
    `notes` says in sentences what was lost or changed on the way in.
    """

    pixels: Pixels
    media_type: str
    text: str | None
    alpha: Mask | None = None
    notes: tuple[str, ...] = ()
    texts: Mapping[str, str] = field(default_factory=dict)


def _told(data: bytes) -> str | None:
    """The format's name by the first bytes, None if it is none of ours."""
    brand = data[8:12] if data[4:8] == b"ftyp" else b""
    signs = (
        ("PNG", data.startswith(b"\x89PNG\r\n\x1a\n")),
        ("JPEG", data.startswith(b"\xff\xd8\xff")),
        ("WEBP", data[:4] == b"RIFF" and data[8:12] == b"WEBP"),
        ("AVIF", brand in (b"avif", b"avis")),
        ("GIF", data[:6] in (b"GIF87a", b"GIF89a")),
        ("BMP", data[:2] == b"BM"),
        ("TIFF", data[:4] in (b"II*\0", b"MM\0*")),
    )
    return next((name for name, fits in signs if fits), None)


def media_type(data: bytes) -> str:
    """The media type told by the first bytes. Raises UnreadableImage for anything but PNG, JPEG, WebP and AVIF."""
    name = _told(data)
    if name not in FORMATS:
        raise UnreadableImage("The file is empty." if not data else "This is not a PNG, JPEG, WebP or AVIF picture.")
    return FORMATS[name]


def input_type(data: bytes) -> str:
    """As `media_type`, but for everything that may come in: GIF, BMP and TIFF too. Raises UnreadableImage."""
    name = _told(data)
    if name is None:
        detail = "The file is empty." if not data else "This is not a picture of a known kind."
        raise UnreadableImage(detail, "Use a PNG, JPEG, WebP, AVIF, GIF, BMP or TIFF file.")
    return INPUT_FORMATS[name]


def decode(data: bytes, *, max_pixels: int) -> Decoded:
    """Bytes of an untrusted file to pixels. Raises UnreadableImage; never decodes more than `max_pixels`.

    Of an animation or a file of several pictures the first is read.
    """
    kind = input_type(data)
    plugin = next(name for name, media in INPUT_FORMATS.items() if media == kind)
    try:
        chunks, data = imagetext.png_texts(data) if kind == "image/png" else ({}, data)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Image.open(io.BytesIO(data), formats=(plugin,)) as image:
                width, height = image.size
                if width * height > max_pixels:
                    raise _too_large(f"{width} x {height}", max_pixels)
                return _decoded(image, kind, chunks)
    except UnreadableImage:
        raise
    except imagetext.TooManyChunks as error:
        raise UnreadableImage("The picture consists of far too many parts.") from error
    except Image.DecompressionBombError as error:
        raise _too_large("far too many", max_pixels) from error
    except colour.DAMAGE as error:
        raise UnreadableImage(f"The picture is damaged: {str(error)[:120]}.") from error


def _too_large(claimed: str, max_pixels: int) -> UnreadableImage:
    detail = f"The picture claims {claimed} pixels; at most {max_pixels / 1e6:g} million are read."
    return UnreadableImage(detail, "Make a smaller copy and try again.")


def _decoded(image: Image.Image, kind: str, chunks: Mapping[str, str]) -> Decoded:
    image.load()
    notes: list[str] = []
    if getattr(image, "is_animated", False):
        image.seek(0)
        image.load()
        notes.append("The file holds several pictures; the first one was read.")
    texts, orientation = _texts(image, chunks)
    visible = colour.eight_bit(image, notes)
    alpha = visible.getchannel("A") if visible.mode == "RGBA" else None
    seen = colour.on_white(colour.srgb(visible, image.info.get("icc_profile"), notes), alpha)
    turn = _TURNS.get(orientation)
    if turn is not None:
        seen = seen.transpose(turn)
        alpha = alpha.transpose(turn) if alpha else None
    return Decoded(
        np.asarray(seen, dtype=np.uint8),
        kind,
        _parameters(texts, kind),
        None if alpha is None else np.asarray(alpha, dtype=np.uint8),
        tuple(notes),
        texts,
    )


def _texts(image: Image.Image, chunks: Mapping[str, str]) -> tuple[dict[str, str], int]:
    """Every text of the file by name, and the Exif orientation (1 = upright)."""
    try:
        exif = image.getexif()
        orientation = exif.get(_ORIENTATION, 1)
        found = imagetext.exif_texts(exif, exif.get_ifd(_EXIF_IFD))
    except colour.DAMAGE:
        found, orientation = {}, 1
    chunks = {imagetext.XMP if name == _PNG_XMP else name: text for name, text in chunks.items()}
    for name, value in ((imagetext.XMP, image.info.get("xmp")), (imagetext.COMMENT, image.info.get("comment"))):
        text = value.decode("utf-8", errors="replace") if isinstance(value, bytes) else value
        if isinstance(text, str) and text:
            found[name] = text[: imagetext.TEXT_LIMIT]
    merged = {**found, **chunks}
    return dict(list(merged.items())[: imagetext.MOST_TEXTS]), orientation if isinstance(orientation, int) else 1


def _parameters(texts: Mapping[str, str], kind: str) -> str | None:
    """A1111's text: Exif UserComment, which wins over the PNG text chunk, or the comment of a GIF."""
    comment = texts.get(imagetext.COMMENT) if kind == "image/gif" else None
    return texts.get(imagetext.USER_COMMENT) or texts.get(PARAMETERS) or comment


def resize(pixels: NDArray[np.uint8], width: int, height: int, mode: ResizeMode) -> NDArray[np.uint8]:
    """Lanczos to exactly `width` x `height` pixels; (H, W, 3) and (H, W) alike (A1111 1.10.1, resize modes 0 to 2).

    "stretch" ignores the proportions, "crop" keeps them and cuts what stands over, "fill" keeps them and pads by
    repeating the border's pixels.
    """
    tall, wide = pixels.shape[:2]
    if (wide, tall) == (width, height):
        return pixels
    if mode == "stretch":
        return _lanczos(pixels, width, height)
    wider = width * tall > height * wide  # the frame is wider than the picture
    if wider == (mode == "crop"):
        inner_width, inner_height = width, max(1, tall * width // wide)
    else:
        inner_width, inner_height = max(1, wide * height // tall), height
    inner = _lanczos(pixels, inner_width, inner_height)
    left, top = width // 2 - inner_width // 2, height // 2 - inner_height // 2
    if mode == "crop":
        left, top = max(0, -left), max(0, -top)
        inner = inner[top : top + height, left : left + width]
        left = top = 0
    sides = ((top, height - inner.shape[0] - top), (left, width - inner.shape[1] - left))
    return np.pad(inner, (*sides, (0, 0))[: pixels.ndim], mode="edge")


def _lanczos(pixels: NDArray[np.uint8], width: int, height: int) -> NDArray[np.uint8]:
    image = Image.fromarray(pixels).resize((width, height), Image.Resampling.LANCZOS)
    return np.asarray(image, dtype=np.uint8)


def to_mask(picture: Decoded | Pixels) -> Mask:
    """A picture as a mask (H, W): its brightness, or its transparency if that is where the drawing is.

    A stroke of one colour on a transparent layer has no brightness of its own; then `alpha` is the mask.
    """
    if isinstance(picture, Decoded):
        if picture.alpha is not None and _is_drawn_in_alpha(picture.pixels, picture.alpha):
            return picture.alpha
        picture = picture.pixels
    return np.asarray(Image.fromarray(picture).convert("L"), dtype=np.uint8)


def _is_drawn_in_alpha(pixels: Pixels, alpha: Mask) -> bool:
    """Whether `alpha` varies and the pixels are one colour laid on white by it (two levels of rounding allowed)."""
    if int(alpha.max()) - int(alpha.min()) <= 1:  # a difference of 1 is hidden text, not a drawing
        return False
    most = np.unravel_index(int(alpha.argmax()), alpha.shape)
    strength = float(alpha[most])
    for channel in range(3):
        ink = 255 + (float(pixels[(*most, channel)]) - 255) * 255 / strength
        expected = 255 + (ink - 255) * (alpha.astype(np.float32) / 255)
        if np.abs(pixels[..., channel] - expected).max() > 2:
            return False
    return True


def png_with_xmp(data: bytes, packet: str) -> bytes:
    """A PNG of ours with an XMP packet; pixels and other texts stay as they are."""
    return imagetext.with_png_text(data, _PNG_XMP, packet)


def encode_png(pixels: Pixels, text: str | None = None) -> bytes:
    """Pixels to PNG bytes with `text` as the "parameters" chunk (iTXt when it is not Latin-1)."""
    info = PngImagePlugin.PngInfo()
    if text:
        info.add_text(PARAMETERS, text) if _is_latin1(text) else info.add_itxt(PARAMETERS, text)
    return _saved(pixels, "PNG", pnginfo=info, compress_level=4)


def _is_latin1(text: str) -> bool:
    try:
        text.encode("latin-1")
    except UnicodeEncodeError:
        return False
    return True


def encode_jpeg_file(pixels: Pixels, text: str | None = None, quality: int = 80, xmp: str | None = None) -> bytes:
    """Pixels to a JPEG to keep, `text` in Exif UserComment. Raises InvalidParameter if JPEG cannot hold it."""
    _check_sides(pixels, "JPEG", JPEG_SIDE, "Use PNG for a picture of this size.")
    try:
        return _saved(pixels, "JPEG", quality=quality, **_exif(text), **_xmp(xmp))
    except ValueError as error:  # the only one Pillow raises here: a segment holds 64 KiB
        detail = f"The parameters ({len(text or ''):,} characters) are too long for a JPEG."
        raise InvalidParameter("format", detail, "Use PNG or WebP, or leave the parameters out.") from error


def encode_webp_file(
    pixels: Pixels, text: str | None = None, quality: int = 80, xmp: str | None = None, *, lossless: bool = False
) -> bytes:
    """Pixels to a WebP to keep, `text` in Exif UserComment. Raises InvalidParameter for a side WebP cannot hold."""
    _check_sides(pixels, "WebP", WEBP_SIDE, "Use PNG for a picture of this size.")
    return _saved(pixels, "WEBP", quality=quality, lossless=lossless, **_exif(text), **_xmp(xmp))


def writes_avif() -> bool:
    """Whether the codec is there; Pillow's own packages have had it since version 11.3."""
    return bool(features.check("avif"))


def encode_avif_file(pixels: Pixels, text: str | None = None, quality: int = 80, xmp: str | None = None) -> bytes:
    """Pixels to an AVIF to keep, `text` in Exif UserComment. Raises InvalidParameter without the codec."""
    if not writes_avif():
        raise InvalidParameter("format", "This machine's Pillow cannot write AVIF.", "Use PNG, JPEG or WebP.")
    _check_sides(pixels, "AVIF", AVIF_SIDE, "Use PNG for a picture of this size.")
    # One thread gives the same bytes on every machine; full colour resolution keeps the mark.
    options = {"speed": _AVIF_SPEED, "max_threads": 1, "subsampling": "4:4:4"}
    return _saved(pixels, "AVIF", quality=quality, **options, **_exif(text), **_xmp(xmp))


def _check_sides(pixels: Pixels, kind: str, most: int, hint: str) -> None:
    height, width = pixels.shape[:2]
    if max(width, height) > most:
        detail = f"{kind} holds at most {most:,} pixels a side; this picture has {width:,} x {height:,}."
        raise InvalidParameter("format", detail, hint)


def _exif(text: str | None) -> dict[str, bytes]:
    if not text:
        return {}
    exif = Image.Exif()
    exif.get_ifd(_EXIF_IFD)[_USER_COMMENT] = imagetext.user_comment(text)
    return {"exif": exif.tobytes()}


def _xmp(packet: str | None) -> dict[str, bytes]:
    return {"xmp": packet.encode()} if packet else {}


def metadata(data: bytes) -> dict[str, str]:
    """Every text of a file by name (see Decoded.texts), without decoding its pixels. {} for what cannot be read."""
    try:
        kind = input_type(data)
        plugin = next(name for name, media in INPUT_FORMATS.items() if media == kind)
        chunks, data = imagetext.png_texts(data) if kind == "image/png" else ({}, data)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Image.open(io.BytesIO(data), formats=(plugin,)) as image:
                return _texts(image, chunks)[0]
    except (UnreadableImage, imagetext.TooManyChunks, Image.DecompressionBombError, *colour.DAMAGE):
        return {}


def _saved(pixels: NDArray[np.uint8] | Image.Image, kind: str, **options: Any) -> bytes:
    out = io.BytesIO()
    image = pixels if isinstance(pixels, Image.Image) else Image.fromarray(pixels)
    image.save(out, kind, **options)
    return out.getvalue()


def encode_thumbnail(pixels: Pixels, side: int = 256) -> bytes | None:
    """A WebP whose longer side is `side` pixels, or None if the picture is not larger than that."""
    if max(pixels.shape[:2]) <= side:
        return None
    return _saved(_within(pixels, side), "WEBP", quality=80)


def blurred(pixels: Pixels) -> Pixels:
    """So much that only colours are left: for pictures that are covered, or not inspected yet."""
    radius = max(pixels.shape[:2]) / 8
    return np.asarray(Image.fromarray(pixels).filter(ImageFilter.GaussianBlur(radius)), dtype=np.uint8)


def encode_veil(pixels: Pixels, side: int = 128) -> bytes:
    """What stands for a covered picture: a WebP of its colours alone, never larger than `side` pixels."""
    return _saved(blurred(np.asarray(_within(pixels, side))), "WEBP", quality=60)


def encode_preview(pixels: Pixels, quality: int = 80) -> bytes:
    """A small JPEG for the live preview; never stored."""
    return _saved(pixels, "JPEG", quality=quality)


def encode_jpeg(pixels: Pixels, side: int) -> bytes:
    """A JPEG no larger than `side` pixels: the thumbnail inside a manifest."""
    return _saved(_within(pixels, side), "JPEG", quality=75)


def _within(pixels: Pixels, side: int) -> Image.Image:
    image = Image.fromarray(pixels)
    image.thumbnail((side, side), Image.Resampling.LANCZOS)
    return image
