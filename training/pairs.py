"""Two signs in one picture."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def halved(picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Premultiplied (H, W, 4) to (H / 2, W / 2, 4) by averaging."""
    height, width, layers = picture.shape
    blocks = picture.reshape(height // 2, 2, width // 2, 2, layers).astype(np.uint16)
    mean: NDArray[np.uint8] = ((blocks.sum(axis=(1, 3)) + 2) // 4).astype(np.uint8)
    return mean


def side_by_side(left: NDArray[np.uint8], right: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Two premultiplied pictures (H, W, 4) at half their size, next to each other at mid height, as one (H, W, 4)."""
    height, width, _ = left.shape
    whole = np.zeros_like(left)
    middle = slice(height // 4, height // 4 + height // 2)
    whole[middle, : width // 2], whole[middle, width // 2 :] = halved(left), halved(right)
    return whole
