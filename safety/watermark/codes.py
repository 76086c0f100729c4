"""Turn a key and mark ids into secret signs: 32 pilots and 64 payload chips (48-bit id and CRC-16, whitened)."""

from __future__ import annotations

import binascii
import hashlib
import hmac
from typing import Any

import numpy as np
from numpy.typing import NDArray

from backend.errors import InvalidParameter
from safety.watermark.types import MARK_BITS

PILOTS = 32
PAYLOAD = 64
CHIPS = PILOTS + PAYLOAD
SHORTEST_KEY = 16

Signs = NDArray[np.float32]


def derive(key: bytes, purpose: str, size: int) -> bytes:
    """`size` <= 32 secret bytes for one purpose. Different purposes give independent bytes."""
    return hmac.new(key, b"signet watermark 1\0" + purpose.encode(), hashlib.sha256).digest()[:size]


def checked_key(key: bytes) -> bytes:
    if len(key) < SHORTEST_KEY:
        raise InvalidParameter(
            "watermark_key", f"A watermark key needs at least {SHORTEST_KEY} bytes.", "Let Signet make the key."
        )
    return key


def checked_mark_id(mark_id: int) -> int:
    if not 0 <= mark_id < 1 << MARK_BITS:
        raise InvalidParameter("mark_id", f"A mark id is a number of {MARK_BITS} bits.")
    return mark_id


def _signs(bits: NDArray[np.uint8]) -> Signs:
    return bits.astype(np.float32) * 2 - 1


class Codebook:
    """The secret signs of one key. Pilots and whitening come from separate derivations, so they are independent."""

    def __init__(self, key: bytes) -> None:
        self.pilots: Signs = _signs(np.unpackbits(np.frombuffer(derive(key, "pilots", PILOTS // 8), np.uint8)))
        self._white = np.unpackbits(np.frombuffer(derive(key, "whitening", PAYLOAD // 8), np.uint8))
        # CRC-16 from zero is linear over bits, so the check bits of many ids are one matrix product.
        units = [binascii.crc_hqx((1 << (MARK_BITS - 1 - i)).to_bytes(6, "big"), 0) for i in range(MARK_BITS)]
        self._crc = np.array([[(unit >> (15 - j)) & 1 for j in range(16)] for unit in units], np.float32)

    def payloads(self, mark_ids: NDArray[np.uint64]) -> Signs:
        """(N,) mark ids to (N, 64) signs."""
        octets = mark_ids.astype(">u8").view(np.uint8).reshape(-1, 8)[:, 2:]
        bits = np.unpackbits(octets, axis=1)
        check = (bits.astype(np.float32) @ self._crc).astype(np.uint8) & 1
        return _signs(np.concatenate([bits, check], axis=1) ^ self._white)

    def chips(self, mark_id: int) -> Signs:
        """(96,) signs: pilots, then the payload."""
        return np.concatenate([self.pilots, self.payloads(np.array([mark_id], np.uint64))[0]])

    def decode(self, payload: NDArray[np.floating[Any]]) -> int | None:
        """The mark id in (64,) soft chips, or None if the CRC disagrees (a random word passes once in 65,536)."""
        word = np.packbits((payload > 0).astype(np.uint8) ^ self._white).tobytes()
        return int.from_bytes(word[:6], "big") if binascii.crc_hqx(word[:6], 0) == int.from_bytes(word[6:]) else None
