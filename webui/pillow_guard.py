"""Fewer picture readers in the studio: only the formats that backend.images takes, whatever libraries registered."""

from __future__ import annotations

from PIL import Image

from backend.images import INPUT_FORMATS

KEPT = frozenset(INPUT_FORMATS)


def reduce_readers() -> None:
    """Call after the last import that registers readers. Writers stay: they see only our own pixels."""
    Image.init()
    for name in [name for name in Image.OPEN if name not in KEPT]:
        del Image.OPEN[name]
    Image.ID[:] = [name for name in Image.ID if name in KEPT]
