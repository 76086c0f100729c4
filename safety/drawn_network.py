"""A small network from a safetensors file to onnxruntime, without any file that could hold more than numbers.

The file holds every tensor as uint8 and, in its metadata under "network", JSON: `graph` is a list of nodes in the words
of ONNX (operator set 9), each {op, inputs, output, attributes}; `quantisation` gives for each tensor (scale, minimum),
so that a weight is `number * scale + minimum`; `classes` names what the output's columns mean. `training/detectors.py`
writes such files. The model that onnxruntime is given is put together here, in memory, byte by byte: ONNX files are
protocol buffers, and of those it takes three kinds of field.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load

_OPERATORS = 9
_IR = 4  # the version of the file format that belongs to this operator set
_FLOAT32, _FLOAT, _INTEGER, _STRING, _INTEGERS = 1, 1, 2, 3, 7
_SIZE = 8  # bytes of a safetensors header's length


@dataclass(frozen=True, slots=True)
class Network:
    """`onnx` is a model that takes "input" (1, 3, side, side) and gives "output" (1, len(classes))."""

    onnx: bytes
    side: int
    classes: tuple[str, ...]


def network(data: bytes) -> Network:
    """The model in the bytes of a safetensors file, whose hash the caller has compared.

    Raises ValueError, KeyError or a SafetensorError for a file of another kind.
    """
    (length,) = struct.unpack("<Q", data[:_SIZE])
    told = json.loads(json.loads(data[_SIZE : _SIZE + length])["__metadata__"]["network"])
    stored = load(data)
    weights = {name: _weights(stored[name], *how) for name, how in told["quantisation"].items()}
    side, classes = int(told["side"]), tuple(told["classes"])
    nodes = b"".join(_field(1, _node(each)) for each in told["graph"])
    tensors = b"".join(_field(5, _tensor(name, weights[name])) for name in sorted(weights))
    ends = _field(11, _value("input", (1, 3, side, side))) + _field(12, _value("output", (1, len(classes))))
    graph = nodes + _field(2, "network") + tensors + ends
    return Network(_field(1, _IR) + _field(7, graph) + _field(8, _field(2, _OPERATORS)), side, classes)


def _weights(stored: NDArray[np.uint8], scale: float, minimum: float) -> NDArray[np.float32]:
    return (stored * np.float64(scale) + minimum).astype(np.float32)


def _node(told: Mapping[str, Any]) -> bytes:
    """NodeProto: inputs 1, outputs 2, op_type 4, attributes 5."""
    inputs = b"".join(_field(1, name) for name in told["inputs"])
    attributes = b"".join(_field(5, _attribute(name, value)) for name, value in told.get("attributes", {}).items())
    return inputs + _field(2, told["output"]) + _field(4, told["op"]) + attributes


def _attribute(name: str, value: float | int | str | list[int]) -> bytes:
    """AttributeProto: name 1, float 2, integer 3, string 4, integers 8, type 20."""
    match value:
        case float():
            what = _key(2, 5) + struct.pack("<f", value) + _field(20, _FLOAT)
        case int():
            what = _field(3, value) + _field(20, _INTEGER)
        case str():
            what = _field(4, value) + _field(20, _STRING)
        case _:
            what = b"".join(_field(8, each) for each in value) + _field(20, _INTEGERS)
    return _field(1, name) + what


def _tensor(name: str, values: NDArray[np.float32]) -> bytes:
    """TensorProto: dims 1, data_type 2, name 8, raw_data 9 (little-endian)."""
    sides = b"".join(_field(1, side) for side in values.shape)
    return sides + _field(2, _FLOAT32) + _field(8, name) + _field(9, values.astype("<f4").tobytes())


def _value(name: str, sides: tuple[int, ...]) -> bytes:
    """ValueInfoProto of a float32 tensor."""
    shape = b"".join(_field(1, _field(1, side)) for side in sides)
    return _field(1, name) + _field(2, _field(1, _field(1, _FLOAT32) + _field(2, shape)))


def _field(number: int, value: int | bytes | str) -> bytes:
    """A field of a message: a number as varint, anything else with its length before it."""
    if isinstance(value, int):
        return _key(number, 0) + _varint(value)
    data = value.encode() if isinstance(value, str) else value
    return _key(number, 2) + _varint(len(data)) + data


def _key(number: int, kind: int) -> bytes:
    return _varint(number << 3 | kind)


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])
