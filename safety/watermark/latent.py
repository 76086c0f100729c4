"""Marks in the noise that a picture grows from: one interface for Gaussian Shading and Tree-Ring.

Such a mark changes no pixel after the fact: the picture is another one from the start. It is read by running the model
backwards, from the picture to the noise it would grow from (DDIM inversion, backend.engine.inversion), so it can be
read only where the same model is loaded. It exists only where the noise was drawn here and the way from it to the
picture adds no noise of its own.

The nonce of a picture is its seed. A seed already names the noise, so nothing becomes linkable that was not; the same
seed still gives the same picture within an installation, and whoever reads a mark tries the seeds that the history, or
the text in the file, names. Nothing has to be stored beside the picture.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from backend.errors import InvalidParameter

GAUSSIAN_SHADING, TREE_RING = METHODS = ("gaussian-shading", "tree-ring")

Noise = NDArray[np.float32]
"""float32, (1, channels, height, width): standard normal noise in the latents of a model."""

LatentShape = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class LatentEvidence:
    """What one recovered latent says about one key.

    `p_value` is the chance that a picture which never had this key's mark looks at least so marked: exact over the
    choice of the key, whatever the picture, and corrected for the `tried` nonces. `nonce` is the one that fits best,
    None for a mark that has none. With nothing tried the p-value is 1.
    """

    method: str
    p_value: float
    nonce: int | None
    tried: int


class LatentMark(Protocol):
    """A keyed mark in initial noise. Immutable; safe to share between threads."""

    @property
    def name(self) -> str: ...

    def carries(self, shape: LatentShape) -> bool:
        """Whether noise of this shape has room for the mark."""
        ...

    def shape(self, drawn: Noise, nonce: int) -> Noise:
        """The marked noise for a picture, in place of `drawn`, the standard normal noise an unmarked one begins with.

        A function of key, nonce and `drawn` alone, so that a seed repeats its picture. Raises InvalidParameter if
        `carries` would be False.
        """
        ...

    def evidence(self, latent: NDArray[np.floating[Any]], nonces: Sequence[int]) -> LatentEvidence:
        """Look for the mark in noise (1, channels, height, width) that was recovered from a picture."""
        ...


def open_latent_mark(method: str, key: bytes) -> LatentMark:
    """The mark called `method` (one of METHODS) under the installation's watermark `key` of at least 16 bytes."""
    # Imported here: scipy takes its time, and a studio without these marks should not wait for it.
    from safety.watermark.latent_rings import TreeRing
    from safety.watermark.latent_shading import GaussianShading

    if method == GAUSSIAN_SHADING:
        return GaussianShading(key)
    if method == TREE_RING:
        return TreeRing(key)
    raise InvalidParameter(
        "latent_mark", f'There is no latent mark "{method[:80]}".', f"Choose one of: {', '.join(METHODS)}."
    )


def checked_shape(mark: LatentMark, shape: LatentShape) -> LatentShape:
    """Raises InvalidParameter if the mark has no room in noise of this shape."""
    if not mark.carries(shape):
        size = " x ".join(map(str, shape))
        raise InvalidParameter("latent", f"Noise of {size} cannot carry the {mark.name} mark.", "Make it larger.")
    return shape
