"""A picture as a vector, so that pictures can be compared without naming anything that is in them.

`NetworkFeatures` are the 1,024 numbers before the last layer of the open_nsfw network that the inspection uses anyway:
a residual network trained on photographs. `PlainFeatures` need no network: colours, edges and coarse structure.
"""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy import fft

from backend.errors import SignetError
from backend.types import Pixels
from safety.bias.colours import lab
from safety.nsfw import WEIGHTS_SHA256, prepare, weights_path

Vector = NDArray[np.float32]
_POOLED = "Reshape:0"
"""The tensor that enters the network's last layer."""


class Features(Protocol):
    """`near` is the cosine similarity from which two pictures count as duplicates in this space."""

    @property
    def name(self) -> str: ...
    @property
    def near(self) -> float: ...

    def vector(self, pixels: Pixels) -> Vector:
        """Of unit length."""
        ...


class NetworkFeatures:
    """open_nsfw's pooled layer, on onnxruntime. Raises Unavailable if its weights are not there."""

    name = f"open_nsfw pooled layer (1,024 numbers), weights {WEIGHTS_SHA256[:12]}"
    near = 0.995

    def __init__(self, *, threads: int = 1) -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        data = weights_path().read_bytes() + _one_more_output(_POOLED)
        self._session: Any = onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
        self._input = self._session.get_inputs()[0].name

    def vector(self, pixels: Pixels) -> Vector:
        (pooled,) = self._session.run([_POOLED], {self._input: prepare(pixels)[None]})
        return _unit(np.asarray(pooled[0], np.float32))


class PlainFeatures:
    """Lab histograms, oriented gradients on a 4 x 4 grid (8 directions) and the 36 lowest cosine terms of L*, each of
    the three scaled to the same length."""

    name = "plain features: Lab histograms, gradient orientations, low cosine terms"
    near = 0.9995
    _side, _grid, _directions, _terms = 64, 4, 8, 6

    def vector(self, pixels: Pixels) -> Vector:
        small = Image.fromarray(pixels).resize((self._side, self._side), Image.Resampling.BOX)
        colours = lab(np.asarray(small))
        parts = (self._histograms(colours), self._gradients(colours[..., 0]), self._coarse(colours[..., 0]))
        return _unit(np.concatenate([_unit(part) for part in parts]))

    def _histograms(self, colours: NDArray[np.float64]) -> Vector:
        cells = np.stack([colours[..., 0] // 17, (colours[..., 1] + 110) // 28, (colours[..., 2] + 110) // 28], -1)
        flat = np.clip(cells.reshape(-1, 3), 0, (5, 7, 7)).astype(np.int64) @ (64, 8, 1)
        return np.sqrt(np.bincount(flat, minlength=384)).astype(np.float32)

    def _gradients(self, light: NDArray[np.float64]) -> Vector:
        down, across = np.gradient(light)
        strength = np.hypot(down, across)
        way = ((np.arctan2(down, across) % np.pi) / np.pi * self._directions).astype(np.int64) % self._directions
        rows = np.arange(self._side) * self._grid // self._side
        cell = rows[:, None] * self._grid + rows[None, :]
        places = (cell * self._directions + way).ravel()
        found = np.bincount(places, strength.ravel(), minlength=self._grid**2 * self._directions)
        return np.sqrt(found).astype(np.float32)

    def _coarse(self, light: NDArray[np.float64]) -> Vector:
        terms = fft.dctn(light / 100, norm="ortho")[: self._terms, : self._terms]
        return np.asarray(terms.ravel(), np.float32)


def open_features() -> NetworkFeatures | PlainFeatures:
    """The network's if its weights are installed, else the plain ones; `name` says in the report which they were."""
    try:
        return NetworkFeatures()
    except (SignetError, ImportError):
        return PlainFeatures()


def _unit(vector: NDArray[np.floating[Any]]) -> Vector:
    length = float(np.linalg.norm(vector))
    return np.asarray(vector / length if length else vector, np.float32)


def _one_more_output(name: str) -> bytes:
    """A piece of an ONNX file that makes an inner tensor an output.

    Protocol buffers merge: bytes of ModelProto { graph { output { name, type: tensor } } } put behind a model add the
    output to its graph (onnx.proto: ModelProto.graph = 7, GraphProto.output = 12, ValueInfoProto.name = 1, .type = 2).
    """
    value = _field(1, name.encode()) + _field(2, _field(1, b"\x08\x01"))
    return _field(7, _field(12, value))


def _field(number: int, data: bytes) -> bytes:
    """One length-delimited field shorter than 128 bytes."""
    return bytes([number << 3 | 2, len(data)]) + data
