"""From whatever a file holds to 8-bit sRGB: depth, palettes, transparency and colour profiles.

Works on pictures that are already open; opening them is backend.images' business.
"""

from __future__ import annotations

import io
import struct

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageCms

DAMAGE = (
    OSError, ValueError, SyntaxError, MemoryError, LookupError, TypeError, AttributeError, ArithmeticError,
    RuntimeError, AssertionError, EOFError, struct.error,
)  # fmt: skip
"""What Pillow's plugins are known to raise on hostile bytes."""
_PROFILE_LIMIT = 4 << 20
_PROFILE_SPACES = {"RGB": ("RGB",), "RGBA": ("RGB",), "CMYK": ("CMYK",), "L": ("GRAY",)}


def eight_bit(image: Image.Image, notes: list[str]) -> Image.Image:
    """The same picture in mode RGB, RGBA, CMYK or L."""
    if image.mode in ("RGB", "RGBA", "CMYK", "L") and "transparency" not in image.info:
        return image
    if image.mode.startswith("I;16"):
        return Image.fromarray(_scaled(np.asarray(image, dtype=np.float32), 65_535))
    if image.mode in ("I", "F"):
        # These modes state no range: a picture of shares goes to 1, a photograph to 255, a depth map to 65,535.
        values = np.nan_to_num(np.asarray(image, dtype=np.float32), posinf=0, neginf=0)
        most = float(values.max(initial=0))
        whole = next((top for top in (1, 255, 65_535) if most <= top), most)
        if image.mode == "I" and whole == 1:
            whole = 255
        notes.append(f"The values are of {image.mode} type; {whole:g} was taken for white.")
        return Image.fromarray(_scaled(values, whole))
    see_through = image.mode in ("LA", "La", "PA", "RGBa") or "transparency" in image.info
    if image.mode == "La":
        image = image.convert("LA")
    return image.convert("RGBA" if see_through else "RGB")


def _scaled(values: NDArray[np.float32], white: float) -> NDArray[np.uint8]:
    return (values.clip(0, white) * np.float32(255 / white) + np.float32(0.5)).astype(np.uint8)


def srgb(image: Image.Image, profile: object, notes: list[str]) -> Image.Image:
    """Mode RGB in sRGB. Without a usable profile the numbers are taken as sRGB, as browsers do."""
    if isinstance(profile, bytes) and profile:
        try:
            return _by_profile(image, profile)
        except (ImageCms.PyCMSError, *DAMAGE):
            notes.append("The colour profile could not be used; colours may differ a little.")
    return image.convert("RGB")


def _by_profile(image: Image.Image, profile: bytes) -> Image.Image:
    if len(profile) > _PROFILE_LIMIT:
        raise ValueError("the colour profile is too large")
    source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
    if "srgb" in ImageCms.getProfileDescription(source).casefold():
        return image.convert("RGB")
    if image.mode == "RGBA":
        image = image.convert("RGB")
    if source.profile.xcolor_space.strip() not in _PROFILE_SPACES[image.mode]:
        raise ValueError("the colour profile is for another kind of picture")
    seen = ImageCms.profileToProfile(image, source, ImageCms.createProfile("sRGB"), outputMode="RGB")
    return image.convert("RGB") if seen is None else seen


def on_white(image: Image.Image, alpha: Image.Image | None) -> Image.Image:
    if alpha is None:
        return image
    paper = Image.new("RGB", image.size, (255, 255, 255))
    paper.paste(image, mask=alpha)
    return paper
