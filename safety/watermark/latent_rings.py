"""Tree-Ring (Wen et al., NeurIPS 2023): rings of secret constants in the spectrum of the noise.

In half of the channels every ring of the spectrum gets one real number, the same in every picture of a key. So nothing
about a picture has to be known to find the mark, not even its seed. The price: that part of the noise is the same in
all of them, which makes them more alike (`share_of`); Gaussian Shading has no such price.

Large latents get the paper's disc (the paper: in one channel of four, whose few numbers could not prove much). The
latents of a small model are a few dozen pixels, of which the lowest frequencies say what the prompt says and little of
the noise: there the rings are 2 to 4.

The paper's p-value takes an unmarked spectrum for white noise, which a recovered one is not. Here the chance is over
the key: a vector of normals points anywhere alike, so the angle between it and whatever is found has an exact
distribution, for every picture.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from safety.watermark.evidence import corrected
from safety.watermark.latent import TREE_RING, LatentEvidence, LatentShape, Noise, checked_shape
from safety.watermark.latent_evidence import direction_tail
from safety.watermark.latent_stream import SecretStream

SMALLEST_SIDE = 8
_SMALL = 32
_REACH = 10 / 64
"""Radius of the disc over the side of the latent."""


@dataclass(frozen=True, slots=True)
class _Layout:
    """Rings `first` to `last` in the first `channels` channels; `rings` (height, width) tells each frequency's own.

    Rings of few values are read with reserve: their sums are divided by `doubt` values more than they have.
    """

    channels: int
    first: int
    last: int
    doubt: float
    rings: NDArray[np.int64]

    @property
    def inside(self) -> NDArray[np.bool_]:
        return (self.rings >= self.first) & (self.rings <= self.last)

    @property
    def numbers(self) -> tuple[int, int]:
        return self.channels, self.last - self.first + 1

    @classmethod
    def of(cls, shape: LatentShape) -> _Layout:
        channels, height, width = shape[-3:]
        down, across = np.fft.fftfreq(height) * height, np.fft.fftfreq(width) * width
        rings = np.rint(np.hypot(down[:, None], across[None, :])).astype(np.int64)
        if min(height, width) < _SMALL:
            return cls(-(-channels // 2), 2, 4, 8.0, rings)
        return cls(-(-channels // 2), 0, round(_REACH * min(height, width)), 1.0, rings)


class TreeRing:
    name = TREE_RING

    def __init__(self, key: bytes) -> None:
        self._stream = SecretStream(key, f"latent {self.name}")

    def carries(self, shape: LatentShape) -> bool:
        return len(shape) == 4 and min(shape[-2:]) >= SMALLEST_SIDE

    def shape(self, drawn: Noise, nonce: int) -> Noise:
        """The nonce plays no part."""
        checked_shape(self, drawn.shape)
        layout = _Layout.of(drawn.shape)
        inside, key = layout.inside, self._key(layout)
        marked = drawn.astype(np.float64)
        spectrum = np.fft.fft2(marked[:, : layout.channels])
        # As large as the noise it replaces: the squares of a spectrum of white noise are height * width on average.
        spectrum[..., inside] = key[:, layout.rings[inside] - layout.first] * np.sqrt(inside.size)
        marked[:, : layout.channels] = np.fft.ifft2(spectrum).real
        return marked.astype(np.float32)

    def evidence(self, latent: NDArray[np.floating[Any]], nonces: Sequence[int] = ()) -> LatentEvidence:
        checked_shape(self, latent.shape)
        layout = _Layout.of(latent.shape)
        known = np.nan_to_num(np.asarray(latent[0, : layout.channels], np.float64), posinf=0.0, neginf=0.0)
        spectrum = np.fft.fft2(known).real
        places = [layout.rings == ring for ring in range(layout.first, layout.last + 1)]
        sums = np.stack([spectrum[:, place].sum(axis=1) for place in places], axis=1)
        found = sums / (np.array([np.count_nonzero(place) for place in places]) + layout.doubt)
        key = self._key(layout)
        length = float(np.linalg.norm(found) * np.linalg.norm(key))
        cosine = float(np.sum(found * key)) / length if length else 0.0
        return LatentEvidence(self.name, corrected(direction_tail(cosine, key.size), 1), None, 1)

    def _key(self, layout: _Layout) -> NDArray[np.float64]:
        """(channels, rings) secret normals."""
        channels, rings = layout.numbers
        return self._stream.normals(rings, channels * rings).reshape(channels, rings)


def share_of(shape: LatentShape) -> float:
    """Of the values of the noise, how many are the same in every picture of a key."""
    layout = _Layout.of(shape)
    return layout.channels * int(np.count_nonzero(layout.inside)) / float(np.prod(shape))
