"""Gaussian Shading (Yang et al., CVPR 2024): noise whose signs are a cipher's, and which is standard normal still.

Every value is z = Q((u + m) / 2), where Q is the normal quantile, m a bit of the keystream and u a number in [0, 1).
Without the key the noise cannot be told from any other, so a picture with the mark is as good, and as varied, as one
without. The paper hides a message, repeated over the latent and encrypted. Whoever tests for a key knows the message,
so it adds no evidence; here it is all zeros, and m the keystream itself, one bit for every value of the latent.

The paper counts the message bits that a majority of their copies got right. Here every value counts by itself, the
more the farther it and the noise it should be lie from zero. The signs of the noise are fair coins, independent of all
sizes, so the chance of the weighted sum is exact whatever the picture.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from safety.watermark.evidence import corrected
from safety.watermark.latent import GAUSSIAN_SHADING, LatentEvidence, LatentShape, Noise, checked_shape
from safety.watermark.latent_evidence import coins_tail
from safety.watermark.latent_stream import SecretStream, rough_normals

FEWEST = 256
"""Values of a latent that is worth marking: with fewer, a mark that is half lost proves nothing."""

_LEVELS = 15
_STEP = 0.25
"""Weights are whole numbers, so that their sums can be counted: products of two sizes in quarters, up to 15."""

_CHUNK = 1 << 24


class GaussianShading:
    name = GAUSSIAN_SHADING

    def __init__(self, key: bytes) -> None:
        self._stream = SecretStream(key, f"latent {self.name}")
        self._rough = rough_normals()

    def carries(self, shape: LatentShape) -> bool:
        return math.prod(shape) >= FEWEST

    def shape(self, drawn: Noise, nonce: int) -> Noise:
        """Of `drawn` only the shape counts: another seed is another nonce."""
        checked_shape(self, drawn.shape)
        return self._stream.normals(nonce, drawn.size).astype(np.float32).reshape(drawn.shape)

    def evidence(self, latent: NDArray[np.floating[Any]], nonces: Sequence[int]) -> LatentEvidence:
        checked_shape(self, latent.shape)
        distinct = tuple(dict.fromkeys(nonces))
        flat = np.nan_to_num(np.asarray(latent, np.float32).ravel(), posinf=0.0, neginf=0.0)
        size = float(np.sqrt(np.mean(flat.astype(np.float64) ** 2)))
        if not distinct or not size:
            return LatentEvidence(self.name, 1.0, None, 0)
        flat = flat / np.float32(size)
        # The one with the best score is tested exactly; as good as any, for the correction allows for the best of all.
        scores = np.concatenate([_scores(expected, flat) for expected in self._expected(distinct, flat.size)])
        best = distinct[int(np.argmax(scores))]
        expected = self._rough[self._stream.octets(best, flat.size)]
        weights = np.minimum(np.rint(np.abs(flat * expected) / _STEP), _LEVELS).astype(np.int64)
        total = int(np.sum(weights * np.sign(flat) * np.sign(expected)))
        return LatentEvidence(self.name, corrected(coins_tail(weights, total), len(distinct)), best, len(distinct))

    def _expected(self, nonces: Sequence[int], size: int) -> Iterator[NDArray[np.float32]]:
        """(some, size) of the noise of each nonce, in order, roughly."""
        some = max(1, _CHUNK // size)
        for begin in range(0, len(nonces), some):
            octets = [self._stream.octets(nonce, size) for nonce in nonces[begin : begin + some]]
            yield self._rough[np.stack(octets)]


def _scores(expected: NDArray[np.float32], flat: NDArray[np.float32]) -> NDArray[np.float64]:
    """(N,) how far each sum of products lies from 0, in its own standard deviations."""
    spread = np.sqrt(expected**2 @ flat**2)
    return np.asarray(expected @ flat / spread, np.float64)
