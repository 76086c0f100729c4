"""Fewer picture readers in the studio: only the formats we take, whatever libraries registered."""

from __future__ import annotations

from PIL import Image

KEPT = frozenset({"PNG", "JPEG", "WEBP"})


def reduce_readers() -> None:
    """Call after the last import that registers readers. Writers stay: they see only our own pixels."""
    Image.init()
    for name in [name for name in Image.OPEN if name not in KEPT]:
        del Image.OPEN[name]
    Image.ID[:] = [name for name in Image.ID if name in KEPT]
