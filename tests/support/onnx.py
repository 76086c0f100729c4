"""The smallest ONNX files, written byte by byte: a network whose one output is the mean of its input's channels."""

from __future__ import annotations

from pathlib import Path


def _number(value: int) -> bytes:
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    return bytes([*out, value])


def _field(number: int, value: int | bytes | str) -> bytes:
    """One field of a protocol buffer message."""
    if isinstance(value, int):
        return _number(number << 3) + _number(value)
    data = value.encode() if isinstance(value, str) else value
    return _number(number << 3 | 2) + _number(len(data)) + data


def _tensor(name: str, sides: tuple[int | str, ...]) -> bytes:
    shape = b"".join(_field(1, _field(1, side) if isinstance(side, int) else _field(2, side)) for side in sides)
    return _field(1, name) + _field(2, _field(1, _field(1, 1) + _field(2, shape)))


def save_mean(path: Path, sides: tuple[int | str, ...] = (1, 3, "h", "w"), *, keep: bool = False) -> Path:
    """A model that takes `sides` and gives the mean over channels, without that axis unless `keep`."""
    axes = _field(1, "axes") + _field(8, 1) + _field(20, 7)
    keepdims = _field(1, "keepdims") + _field(3, int(keep)) + _field(20, 2)
    node = _field(1, "x") + _field(2, "y") + _field(4, "ReduceMean") + _field(5, axes) + _field(5, keepdims)
    out = (sides[0], 1, *sides[2:]) if keep else (sides[0], *sides[2:])
    graph = _field(1, node) + _field(2, "mean") + _field(11, _tensor("x", sides)) + _field(12, _tensor("y", out))
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(_field(1, 8) + _field(7, graph) + _field(8, _field(2, 13)))
    return path
