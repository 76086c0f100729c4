"""The methods of the invisible-watermark package behind our interface: dwtDct, dwtDctSvd and rivaGan.

Other studios ship these, mostly with one fixed text as payload, for which no false-positive rate is known. Here the 32
bits are a secret function of key and mark id, so the number of agreeing bits in an unmarked picture is that of 32 fair
coins, exactly. 32 bits allow no reading without the history, and among more than about 4,000 known records even a
perfect agreement no longer reaches the level of a find.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from backend.errors import InvalidParameter
from backend.types import Pixels
from safety.watermark.codes import checked_key, checked_mark_id, derive
from safety.watermark.evidence import coin_tail, corrected
from safety.watermark.types import FOUND_LEVEL, Detection

METHODS = ("dwtDct", "dwtDctSvd", "rivaGan")
SMALLEST_SIDE = 256
BITS = 32


class InvisibleWatermark:
    """One of METHODS. The package (and torch, which it imports) is loaded at the first use, not before."""

    def __init__(self, method: str, key: bytes) -> None:
        self.name = method
        self._key = checked_key(key)

    def embed(self, pixels: Pixels, mark_id: int) -> Pixels:
        height, width, _ = pixels.shape
        if min(height, width) < SMALLEST_SIDE:
            raise InvalidParameter(
                "pixels",
                f"A picture of {width} x {height} px is too small for the {self.name} watermark.",
                f'Use the "signet-tile" watermark, or at least {SMALLEST_SIDE} px on both sides.',
            )
        encoder = self._package().WatermarkEncoder()
        encoder.set_by_bits(self._payload(mark_id).tolist())
        # The package works on OpenCV's channel order.
        marked = encoder.encode(np.ascontiguousarray(pixels[..., ::-1]), self.name)
        return np.ascontiguousarray(marked[..., ::-1], dtype=np.uint8)

    def detect(self, pixels: Pixels, known: Iterable[tuple[str, int]]) -> Detection:
        names = list(known)
        height, width, _ = pixels.shape
        if min(height, width) < SMALLEST_SIDE or not names:
            return Detection(False, 1.0, None, None, self.name)
        decoder = self._package().WatermarkDecoder("bits", BITS)
        read = np.asarray(decoder.decode(np.ascontiguousarray(pixels[..., ::-1]), self.name)).astype(np.uint8)
        agreeing = [int((read == self._payload(mark_id)).sum()) for _, mark_id in names]
        best = int(np.argmax(agreeing))
        p_value = corrected(coin_tail(agreeing[best], BITS), len(names))
        if p_value > FOUND_LEVEL:
            return Detection(False, p_value, None, None, self.name)
        return Detection(True, p_value, *names[best], self.name)

    def _payload(self, mark_id: int) -> NDArray[np.uint8]:
        secret = derive(self._key, f"{self.name} {checked_mark_id(mark_id):012x}", BITS // 8)
        return np.unpackbits(np.frombuffer(secret, np.uint8))

    def _package(self) -> Any:
        import imwatermark

        if self.name == "rivaGan":
            imwatermark.WatermarkEncoder.loadModel()
        return imwatermark
