"""Runs a small convolutional network in TensorFlow.js' graph format (model.json and its shards) on numpy alone.

The six operations of MobileNet-like networks, NHWC with "SAME" padding. The file is data: a graph of arithmetic, of
which anything else is refused.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from graphlib import TopologicalSorter
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

Values = NDArray[np.float32]
_DTYPES = {"float32": "<f4", "int32": "<i4"}


@dataclass(frozen=True, slots=True)
class Graph:
    """Nodes in the order they are worked out in, the last one being the answer."""

    nodes: tuple[Mapping[str, Any], ...]
    weights: Mapping[str, NDArray[Any]]

    def __call__(self, picture: Values) -> Values:
        """(1, H, W, C) to the last node's values."""
        known: dict[str, Any] = dict(self.weights)
        for node in self.nodes:
            if node["op"] == "Placeholder":
                known[node["name"]] = picture
            elif node["op"] != "Const":
                known[node["name"]] = _OPERATIONS[node["op"]](node.get("attr", {}), *map(known.get, node["input"]))
        answer: Values = known[self.nodes[-1]["name"]]
        return answer


def read(folder: Path) -> Graph:
    """The graph in `folder`. Raises ValueError, KeyError or OSError for anything that is not one."""
    model = json.loads((folder / "model.json").read_text(encoding="utf-8"))
    nodes = {node["name"]: node for node in model["modelTopology"]["node"]}
    unknown = {node["op"] for node in nodes.values()} - {*_OPERATIONS, "Placeholder", "Const"}
    if unknown:
        raise ValueError(f"operations that cannot be run: {', '.join(sorted(unknown))}")
    inputs = {name: node.get("input", []) for name, node in nodes.items()}
    order = [nodes[name] for name in TopologicalSorter(inputs).static_order()]
    last = set(nodes) - {name for names in inputs.values() for name in names}
    if len(last) != 1:
        raise ValueError("not exactly one answer")
    order.sort(key=lambda node: node["name"] in last)
    return Graph(tuple(order), _weights(folder, model["weightsManifest"]))


def _weights(folder: Path, manifest: Sequence[Mapping[str, Any]]) -> dict[str, NDArray[Any]]:
    found: dict[str, NDArray[Any]] = {}
    for group in manifest:
        # Names only: a path that leads elsewhere is not followed.
        data = b"".join((folder / Path(path).name).read_bytes() for path in group["paths"])
        start = 0
        for entry in group["weights"]:
            kind, count = np.dtype(_DTYPES[entry["dtype"]]), math.prod(entry["shape"])
            array: NDArray[Any] = np.frombuffer(data, kind, count, start)
            found[entry["name"]] = array.reshape(entry["shape"])
            start += count * kind.itemsize
    return found


def _stride(attributes: Mapping[str, Any], key: str = "strides") -> tuple[int, int]:
    _, down, across, _ = (int(step) for step in attributes[key]["list"]["i"])
    return down, across


def _windows(
    values: Values, size: tuple[int, int], stride: tuple[int, int], fill: float
) -> Callable[[int, int], Values]:
    """A function that gives, for a place in the kernel, what all its positions see there ("SAME" padding)."""
    _, rows, columns, _ = values.shape
    outs = -(-rows // stride[0]), -(-columns // stride[1])
    wants = [max(0, (out - 1) * step + side - length) for out, step, side, length in
             zip(outs, stride, size, (rows, columns), strict=True)]  # fmt: skip
    edges = [(want // 2, want - want // 2) for want in wants]
    padded = np.pad(values, ((0, 0), *edges, (0, 0)), constant_values=fill)

    def window(down: int, across: int) -> Values:
        seen: Values = padded[
            :, down : down + (outs[0] - 1) * stride[0] + 1 : stride[0],
            across : across + (outs[1] - 1) * stride[1] + 1 : stride[1],
        ]  # fmt: skip
        return seen

    return window


def _convolution(attributes: Mapping[str, Any], values: Values, kernel: Values) -> Values:
    window = _windows(values, kernel.shape[:2], _stride(attributes), 0.0)
    parts = (window(*place) @ kernel[place] for place in np.ndindex(*kernel.shape[:2]))
    return _total(parts)


def _depthwise(attributes: Mapping[str, Any], values: Values, kernel: Values) -> Values:
    window = _windows(values, kernel.shape[:2], _stride(attributes), 0.0)
    parts = (window(*place) * kernel[place][:, 0] for place in np.ndindex(*kernel.shape[:2]))
    return _total(parts)


def _total(parts: Any) -> Values:
    total: Values = next(parts)
    for part in parts:
        total = total + part
    return total


def _largest(attributes: Mapping[str, Any], values: Values) -> Values:
    size = _stride(attributes, "ksize")
    window = _windows(values, size, _stride(attributes), -np.inf)
    most: Values = np.maximum.reduce([window(*place) for place in np.ndindex(*size)])
    return most


_OPERATIONS: Mapping[str, Callable[..., Any]] = {
    "Conv2D": _convolution,
    "DepthwiseConv2dNative": _depthwise,
    "BiasAdd": lambda _, values, bias: values + bias,
    "Relu": lambda _, values: np.maximum(values, 0),
    "MaxPool": _largest,
    "ConcatV2": lambda _, *parts: np.concatenate(parts[:-1], axis=int(parts[-1])),
}
