"""Pictures with captions to train on, read from a folder."""

from __future__ import annotations

import hashlib
import json
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from backend import images
from backend.errors import InvalidParameter, SignetError
from backend.types import Pixels

MAX_PIXELS = 50_000_000
MOST_PICTURES = 5_000
_SUFFIXES = (".png", ".jpg", ".jpeg", ".webp")
_MAX_CAPTION = 10_000
# What cameras and programs call their files says nothing about the picture.
_EMPTY_NAMES = re.compile(
    r"(img|image|dsc[nf]?|pict?|photo|screenshot|untitled|download|[0-9a-f]{8,})?[\W\d_]*", re.IGNORECASE
)


@dataclass(frozen=True, slots=True)
class TrainingImage:
    """One picture (H, W, 3) and what it shows; `name` is what errors call it."""

    pixels: Pixels
    caption: str
    name: str = ""


def read_dataset(folder: Path, *, max_pixels: int = MAX_PIXELS) -> tuple[TrainingImage, ...]:
    """Every picture of a folder, by name. The caption is the .txt file beside it or, without one, the file's name.

    Raises InvalidParameter if there is no picture, if some cannot be read, or if some have no caption: all are named.
    """
    files = sorted(path for path in folder.iterdir() if path.suffix.lower() in _SUFFIXES) if folder.is_dir() else []
    if not files:
        hint = f"Put {', '.join(_SUFFIXES)} pictures there, each with a .txt file of the same name beside it."
        raise InvalidParameter("dataset", f'There are no pictures in "{folder.name}".', hint)
    if len(files) > MOST_PICTURES:
        raise InvalidParameter("dataset", f"There are {len(files)} pictures; at most {MOST_PICTURES} are read.")
    found, unreadable, silent = [], [], []
    for path in files:
        try:
            pixels, caption = images.decode(path.read_bytes(), max_pixels=max_pixels).pixels, caption_of(path)
        except (SignetError, OSError) as error:
            unreadable.append(f"{path.name} ({str(error)[:80]})")
            continue
        if not caption:
            silent.append(path.name)
        found.append(TrainingImage(pixels, caption, path.name))
    if unreadable:
        raise InvalidParameter("dataset", f"These cannot be read: {_listed(unreadable)}.", "Remove or replace them.")
    if silent:
        hint = "Write what a picture shows into a .txt file of the same name beside it."
        raise InvalidParameter("dataset", f"These have no caption: {_listed(silent)}.", hint)
    return tuple(found)


def caption_of(picture: Path) -> str:
    """In one line. "a_red-apple (3).png" says "a red apple"; "IMG_2041.png" says nothing, which is ""."""
    text = picture.with_suffix(".txt")
    if text.is_file():
        words = text.read_bytes()[:_MAX_CAPTION].decode("utf-8-sig", errors="replace")
    elif _EMPTY_NAMES.fullmatch(picture.stem):
        return ""
    else:
        words = re.sub(r"[\s_-]*(\(\d+\)|\d+)$", "", picture.stem)
        words = re.sub(r"[_-]+", " ", words)
    return " ".join(words.replace("\0", " ").split())


def worded(caption: str, word: str) -> str:
    """The caption with the word in it: where it stands, in any case of letters, or at the end."""
    stands = re.search(rf"(?<!\w){re.escape(word)}(?!\w)", caption, re.IGNORECASE)
    return caption if stands else ", ".join(part for part in (caption.rstrip(", "), word) if part)


def _listed(names: Sequence[str], most: int = 5) -> str:
    rest = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + rest


def digest(pictures: Sequence[TrainingImage]) -> str:
    """One sha256 for pixels and captions, in order."""
    whole = hashlib.sha256()
    for picture in pictures:
        whole.update(json.dumps([picture.pixels.shape, picture.caption]).encode())
        whole.update(picture.pixels.tobytes())
    return whole.hexdigest()


def tag_frequency(captions: Sequence[str]) -> dict[str, int]:
    """How many pictures name each comma-separated tag, most frequent first."""
    tags = Counter(
        tag for caption in captions for tag in dict.fromkeys(part.strip() for part in caption.split(",")) if tag
    )
    return dict(sorted(tags.items(), key=lambda item: (-item[1], item[0])))
