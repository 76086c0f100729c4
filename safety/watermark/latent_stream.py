"""Secret numbers from a key, a purpose and a nonce: ChaCha20, and normals made from it."""

from __future__ import annotations

import numpy as np
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms
from numpy.typing import NDArray
from scipy.special import ndtri

from backend.errors import InvalidParameter
from safety.watermark.codes import checked_key, derive

MOST_NONCE = 1 << 96


class SecretStream:
    """The keystreams of one purpose, one for each nonce (RFC 8439, section 2.4, counted from block 0)."""

    def __init__(self, key: bytes, purpose: str) -> None:
        self._key = derive(checked_key(key), purpose, 32)

    def octets(self, nonce: int, size: int) -> NDArray[np.uint8]:
        """The first `size` bytes of a nonce's stream. Raises InvalidParameter for a nonce of more than 96 bits."""
        if not 0 <= nonce < MOST_NONCE:
            raise InvalidParameter("nonce", "A nonce is a number of at most 96 bits.")
        cipher = Cipher(algorithms.ChaCha20(self._key, bytes(4) + nonce.to_bytes(12, "little")), mode=None)
        return np.frombuffer(cipher.encryptor().update(bytes(size)), np.uint8)

    def normals(self, nonce: int, size: int) -> NDArray[np.float64]:
        """(size,) standard normals, up to 6.2: the quantiles of 32 random bits each.

        The first `size` bytes of the stream are the high ones, so that the signs and rough sizes of all normals are
        known from a quarter of it.
        """
        octets = self.octets(nonce, 4 * size)
        high, low = octets[:size].astype(np.uint64), octets[size:].reshape(3, size).astype(np.uint64)
        word = (high << 24) | (low[0] << 16) | (low[1] << 8) | low[2]
        normals: NDArray[np.float64] = ndtri((word.astype(np.float64) + 0.5) / 2.0**32)
        return normals


def rough_normals() -> NDArray[np.float32]:
    """(256,) the middle of the normals whose high byte is the index."""
    return np.asarray(ndtri((np.arange(256) + 0.5) / 256), np.float32)
