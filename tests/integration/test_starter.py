"""The model that comes along: small, open, whole; and one picture of it through the real studio, down to Verify.

Nothing here asserts what the pictures look like.
"""

from __future__ import annotations

import io
import logging
import struct
import warnings
import zlib
from collections.abc import Iterator

import pytest
import torch
from diffusers import StableDiffusionPipeline
from PIL import Image
from safetensors import safe_open

from backend.errors import UnreadableImage
from tests.support.whole import Made, Whole, open_whole
from webui.options import STARTER

MOST_BYTES = 32 << 20
PARTS = ("text_encoder", "unet", "vae")


def test_the_starter_is_small_enough_to_come_along() -> None:
    assert sum(path.stat().st_size for path in STARTER.rglob("*") if path.is_file()) <= MOST_BYTES


def test_its_weights_are_safetensors_in_half_precision() -> None:
    assert not [path for kind in ("bin", "pt", "pth", "ckpt", "pkl", "msgpack") for path in STARTER.rglob(f"*.{kind}")]
    for part in PARTS:
        (file,) = (STARTER / part).glob("*.safetensors")
        with safe_open(file, "pt") as weights:
            kinds = {weights.get_slice(name).get_dtype() for name in weights.keys()}  # noqa: SIM118 - not a mapping
        assert kinds == {"F16"}, file


class Heard(logging.Handler):
    """Every warning of diffusers and transformers, which do not tell the loggers above them."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(record.getMessage())


@pytest.fixture
def heard() -> Iterator[Heard]:
    handler = Heard()
    levels = {logger: logger.level for logger in map(logging.getLogger, ("diffusers", "transformers"))}
    for logger in levels:
        logger.setLevel(logging.WARNING)
        logger.addHandler(handler)
    yield handler
    for logger, level in levels.items():
        logger.setLevel(level)
        logger.removeHandler(handler)


def test_the_stock_pipeline_loads_it_whole_and_without_a_warning(heard: Heard) -> None:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        pipe = StableDiffusionPipeline.from_pretrained(STARTER, dtype=torch.float32, local_files_only=True)
    assert all(getattr(pipe, part) is not None for part in (*PARTS, "tokenizer", "scheduler"))
    said = [*heard.lines, *(str(each.message) for each in caught)]
    complaints = ("missing", "newly initialized", "not used", "not initialized", "unexpected", "safety checker")
    assert not [line for line in said if any(word in line.casefold() for word in complaints)]


# ---- one picture on the whole road


@pytest.fixture(scope="module")
def studio(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Whole]:
    with open_whole(tmp_path_factory.mktemp("starter") / "data", steps=4) as opened:
        yield opened


@pytest.fixture(scope="module")
def apple(studio: Whole) -> Made:
    """A red apple, sealed."""
    return studio.make(prompt="a red apple", seed=7)


def test_a_picture_of_the_starter_is_recognised_until_its_pixels_are_touched(studio: Whole, apple: Made) -> None:
    record, data = apple.record, apple.file
    verify = studio.services.service.verify

    whole = verify(data)
    assert (whole.c2pa.state, whole.watermark.found, whole.history.match) == ("valid", True, "exact")
    assert whole.watermark.record_id == whole.history.record_id == record.id

    assert verify(touched(data)).c2pa.state == "invalid"

    copy = verify(as_jpeg(data))
    assert (copy.c2pa.state, copy.watermark.found, copy.history.match) == ("absent", True, "watermark")
    assert copy.watermark.record_id == copy.history.record_id == record.id

    with pytest.raises(UnreadableImage, match="million"):
        verify(bomb())


def touched(data: bytes) -> bytes:
    """The PNG with one byte of its pixel data flipped."""
    kind = data.index(b"IDAT")
    middle = kind + 4 + int.from_bytes(data[kind - 4 : kind], "big") // 2
    return data[:middle] + bytes([data[middle] ^ 0xFF]) + data[middle + 1 :]


def as_jpeg(data: bytes) -> bytes:
    """A copy as most programs make it: the pixels alone, at quality 85."""
    out = io.BytesIO()
    with Image.open(io.BytesIO(data)) as image:
        bare = Image.frombytes("RGB", image.size, image.convert("RGB").tobytes())
    bare.save(out, "JPEG", quality=85)
    return out.getvalue()


def bomb() -> bytes:
    """A PNG of a few bytes whose header claims 60,000 by 60,000 pixels."""
    head = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(bytes(100))) + chunk(b"IEND", b"")


def chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
