"""How likely a picture is explicit, drawn ones included: a network of nsfwjs on onnxruntime.

It sorts pictures into five classes. Only "hentai" (drawn and explicit) flags by itself. "Porn" does not: on photographs
of clothed women it comes out high far too often, so that together with "hentai" it is the doubtful score that counts
only where another detector leans the same way. "Sexy", "drawing" and "neutral" never count. What was measured stands
in models/detectors/README.md; the weights are MIT, copyright (c) 2019 Infinite Red, Inc.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from backend.errors import Unavailable
from backend.types import Pixels
from safety.drawn_network import network
from safety.inspect import Finding
from safety.nsfw import session

WEIGHTS = Path(__file__).resolve().parent.parent / "models" / "detectors" / "nsfwjs.safetensors"
WEIGHTS_SHA256 = "d76703f50436b6481223336c29bba4530d3b20bc13241578863abe9817831ea2"
THRESHOLD = 0.8
_HINT = "The file comes with Signet: restore it (git checkout models/detectors), or unpack the release again."


class Drawn:
    """A Detector. Loaded and warm when constructed (about 0.1 s); safe to share between threads.

    Raises Unavailable if the weights are missing or are not the ones we know.
    """

    name = "nsfwjs"

    def __init__(self, threshold: float = THRESHOLD, *, threads: int = 1, weights: Path = WEIGHTS) -> None:
        self.threshold = threshold
        try:
            data = weights.read_bytes()
        except OSError as error:
            raise Unavailable("The weights of the picture scanner nsfwjs are missing.", _HINT) from error
        self.model_sha256 = hashlib.sha256(data).hexdigest()
        if self.model_sha256 != WEIGHTS_SHA256:
            raise Unavailable("The weights of the picture scanner nsfwjs are not the expected file.", _HINT)
        made = network(data)
        self.classes, self._side = made.classes, made.side
        self._session = session(made.onnx, threads)
        self.look(np.zeros((self._side, self._side, 3), dtype=np.uint8))

    def look(self, pixels: Pixels) -> Finding:
        """`score` is the class "hentai", `doubtful` that and "porn" together."""
        shares = self.shares(pixels)
        explicit = min(shares["hentai"] + shares["porn"], 1.0)
        said = ", ".join(f"{name} {share:.2f}" for name, share in shares.items())
        return Finding(shares["hentai"], said, doubtful=explicit)

    def shares(self, pixels: Pixels) -> dict[str, float]:
        """What the network gives to each of its classes; together 1."""
        (scores,) = self._session.run(None, {"input": prepare(pixels, self._side)})
        return {name: float(share) for name, share in zip(self.classes, scores[0], strict=True)}


def prepare(pixels: Pixels, side: int) -> NDArray[np.float32]:
    """uint8 RGB (H, W, 3) to the network's input: float32 (1, 3, side, side), 0..1. Aspect is not kept.

    Four neighbours are mixed for every pixel, corners on corners, as nsfwjs does. Large pictures alias by that, and it
    is how the network has seen them: smoothing them first made it call clothed people "porn" twice as often.
    """
    height, width = pixels.shape[:2]
    above, below, down = _between(height, side)
    left, right, across = _between(width, side)
    down, across = down[:, None, None], across[None, :, None]

    def row(rows: NDArray[np.intp]) -> NDArray[np.float32]:
        before, after = (pixels[np.ix_(rows, columns)].astype(np.float32) for columns in (left, right))
        return before * (1 - across) + after * across

    top, bottom = row(above), row(below)
    mixed = (top * (1 - down) + bottom * down) / np.float32(255)
    return np.ascontiguousarray(mixed.transpose(2, 0, 1)[None])


def _between(length: int, side: int) -> tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.float32]]:
    """For each of `side` places along `length` pixels: the pixel before, the one after, and how far it is between."""
    places = np.linspace(0, length - 1, side)
    before = places.astype(np.intp)
    return before, np.minimum(before + 1, length - 1), (places - before).astype(np.float32)
