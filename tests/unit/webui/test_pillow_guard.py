"""The studio reads the pictures people bring, and nothing else, once the guard is up."""

from __future__ import annotations

import io

import pytest
from PIL import Image

from backend import images
from webui.pillow_guard import reduce_readers


@pytest.mark.parametrize("kind", images.INPUT_FORMATS)
def test_every_format_that_may_come_in_is_still_read(kind: str) -> None:
    reduce_readers()
    out = io.BytesIO()
    Image.new("RGB", (16, 16), (200, 30, 30)).save(out, kind)
    assert images.decode(out.getvalue(), max_pixels=1000).pixels.shape == (16, 16, 3)


def test_other_formats_have_no_reader_left() -> None:
    reduce_readers()
    assert set(Image.OPEN) <= set(images.INPUT_FORMATS)
    out = io.BytesIO()
    Image.new("RGB", (16, 16)).save(out, "PPM")
    with pytest.raises(OSError, match="cannot identify"):
        Image.open(io.BytesIO(out.getvalue()))
