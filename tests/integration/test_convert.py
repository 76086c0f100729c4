"""Another file of the same picture, through the engine: no model is loaded and no pixel changes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from backend import images
from backend.types import SourceImage
from tests.support.bench import Bench, make_work
from tests.support.models import Shelf, shelf
from tests.support.pictures import gradient, put

__all__ = ["shelf"]

TEXT = "a lighthouse\nSteps: 4, Seed: 7"


def convert(shelf: Shelf, source: SourceImage) -> Bench:
    bench = Bench()
    work = make_work("job", shelf.info("one"), mode="convert", prompt="", init_image=source.sha256, width=50, height=40)
    bench.picture(replace(work, inputs={source.sha256: source}))
    return bench


def test_a_conversion_loads_no_model_and_keeps_every_pixel(shelf: Shelf, tmp_path: Path):
    bench = convert(shelf, put(gradient(50, 40), tmp_path))
    sealed = bench.sealed["job", 0]
    assert np.array_equal(images.decode(sealed.data, max_pixels=10**6).pixels, gradient(50, 40))
    assert bench.memory.loaded == ()
    assert sealed.passport.model.title == "no model"
    assert "Signet mode: convert" in sealed.infotext
    bench.close()


def test_the_words_that_a_file_holds_go_on_with_its_picture(shelf: Shelf, tmp_path: Path):
    data = images.encode_jpeg_file(gradient(50, 40), TEXT, 95)
    path = tmp_path / "photo"
    path.write_bytes(data)
    bench = convert(shelf, SourceImage("ab" * 32, str(path), "image/jpeg", "parent"))
    assert bench.sealed["job", 0].infotext == TEXT
    bench.close()
