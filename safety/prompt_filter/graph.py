"""Just enough of ONNX to hand onnxruntime a network that is made from arrays: messages as protobuf writes them.

Field numbers are those of onnx.proto (ONNX 1.16); only what the classifier's network needs is here.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

_KINDS = {np.dtype(np.float32): 1, np.dtype(np.int8): 3, np.dtype(np.int64): 7}
_IR_VERSION = 8
_OPSETS = {"": 18, "com.microsoft": 1}


@dataclass(frozen=True, slots=True)
class Node:
    """One operator; `domain` "com.microsoft" for those that only onnxruntime has."""

    operator: str
    inputs: Sequence[str]
    outputs: Sequence[str]
    domain: str = ""
    attributes: Mapping[str, int | float] = field(default_factory=dict, hash=False)


def model(
    nodes: Iterable[Node],
    arrays: Mapping[str, NDArray[Any]],
    inputs: Mapping[str, Sequence[int | str]],
    outputs: Sequence[str],
) -> bytes:
    """A ModelProto. `inputs` are float32, with their shapes; a name in a shape is any size."""
    graph = b"".join(_part(1, _node(node)) for node in nodes) + _text(2, "classifier")
    graph += b"".join(_part(5, _tensor(name, values)) for name, values in arrays.items())
    graph += b"".join(_part(11, _value(name, shape)) for name, shape in inputs.items())
    graph += b"".join(_part(12, _value(name, ())) for name in outputs)
    opsets = b"".join(_part(8, _text(1, domain) + _number(2, version)) for domain, version in _OPSETS.items())
    return _number(1, _IR_VERSION) + _part(7, graph) + opsets


def _node(node: Node) -> bytes:
    found = b"".join(_text(1, name) for name in node.inputs) + b"".join(_text(2, name) for name in node.outputs)
    found += _text(4, node.operator) + _text(7, node.domain)
    return found + b"".join(_part(5, _attribute(name, value)) for name, value in node.attributes.items())


def _attribute(name: str, value: int | float) -> bytes:
    if isinstance(value, int):
        return _text(1, name) + _number(3, value) + _number(20, 2)
    return _text(1, name) + b"\x15" + struct.pack("<f", value) + _number(20, 1)


def _tensor(name: str, values: NDArray[Any]) -> bytes:
    sizes = b"".join(_number(1, size) for size in values.shape)
    return sizes + _number(2, _KINDS[values.dtype]) + _text(8, name) + _part(9, values.tobytes())


def _value(name: str, shape: Sequence[int | str]) -> bytes:
    sizes = b"".join(_part(1, _number(1, s) if isinstance(s, int) else _text(2, s)) for s in shape)
    kind = _number(1, 1) + (_part(2, sizes) if shape else b"")
    return _text(1, name) + _part(2, _part(1, kind))


def _varint(value: int) -> bytes:
    found = bytearray()
    while value > 0x7F:
        found.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*found, value])


def _number(place: int, value: int) -> bytes:
    return _varint(place << 3) + _varint(value)


def _part(place: int, data: bytes) -> bytes:
    return _varint(place << 3 | 2) + _varint(len(data)) + data


def _text(place: int, text: str) -> bytes:
    return _part(place, text.encode())
