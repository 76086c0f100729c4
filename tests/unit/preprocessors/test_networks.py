"""The networks that run on numpy: the same numbers as torch, and skeletons where there are people."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch.nn import functional

from backend.errors import Unavailable
from backend.preprocessors import graph, pose, preprocess
from backend.preprocessors.weighted import HED, POSE

STICK = {
    0: (32, 8), 1: (32, 16), 2: (24, 16), 3: (18, 26), 4: (16, 36), 5: (40, 16), 6: (46, 26), 7: (48, 36), 8: (27, 38),
    9: (26, 50), 10: (26, 60), 11: (37, 38), 12: (38, 50), 13: (38, 60), 14: (30, 6), 15: (34, 6), 16: (28, 8),
    17: (36, 8),
}  # fmt: skip
"""A person in map pixels: joint number to (across, down)."""


def tensor(values: NDArray[np.float32]) -> torch.Tensor:
    return torch.from_numpy(np.ascontiguousarray(values))


def save_graph(folder: Path, nodes: list[dict[str, Any]], weights: dict[str, NDArray[Any]]) -> Path:
    """As TensorFlow.js keeps it, the weights cut into two files."""
    folder.mkdir(parents=True, exist_ok=True)
    kinds = {"f": "float32", "i": "int32"}
    manifest = [
        {"name": name, "shape": list(array.shape), "dtype": kinds[array.dtype.kind]} for name, array in weights.items()
    ]
    consts = [{"name": name, "op": "Const", "attr": {}} for name in weights]
    files = {"paths": ["a.bin", "b.bin"], "weights": manifest}
    model = {"modelTopology": {"node": [*nodes, *consts]}, "weightsManifest": [files]}
    (folder / "model.json").write_text(json.dumps(model))
    data = b"".join(array.tobytes() for array in weights.values())
    (folder / "a.bin").write_bytes(data[:7])
    (folder / "b.bin").write_bytes(data[7:])
    return folder


def node(name: str, op: str, *inputs: str, strides: int = 1, ksize: int = 1) -> dict[str, Any]:
    sides = {key: {"list": {"i": ["1", str(v), str(v), "1"]}} for key, v in (("strides", strides), ("ksize", ksize))}
    return {"name": name, "op": op, "input": list(inputs), "attr": sides}


def same(values: torch.Tensor, kernel: int, stride: int, fill: float = 0.0) -> torch.Tensor:
    """TensorFlow's "SAME" padding for torch, (N, C, H, W)."""
    wants = [max(0, (-(-side // stride) - 1) * stride + kernel - side) for side in values.shape[-2:]]
    (down, across) = wants
    return functional.pad(values, (across // 2, across - across // 2, down // 2, down - down // 2), value=fill)


@pytest.mark.parametrize("size", [(16, 16), (17, 22), (5, 9)])
def test_a_graph_gives_the_same_numbers_as_torch(size: tuple[int, int], tmp_path: Path) -> None:
    dice = np.random.default_rng(0)
    weights: dict[str, NDArray[Any]] = {
        "w1": dice.standard_normal((3, 3, 3, 8)).astype(np.float32),
        "b1": dice.standard_normal(8).astype(np.float32),
        "w2": dice.standard_normal((3, 3, 8, 1)).astype(np.float32),
        "axis": np.array(3, np.int32),
    }
    nodes = [
        node("both", "ConcatV2", "pool", "small", "axis"),  # the order in the file means nothing
        node("x", "Placeholder"),
        node("conv", "Conv2D", "x", "w1", strides=2),
        node("bias", "BiasAdd", "conv", "b1"),
        node("relu", "Relu", "bias"),
        node("pool", "MaxPool", "relu", strides=2, ksize=2),
        node("small", "DepthwiseConv2dNative", "relu", "w2", strides=2),
    ]
    picture = dice.standard_normal((1, *size, 3)).astype(np.float32)
    made = graph.read(save_graph(tmp_path, nodes, weights))(picture)
    x = tensor(picture).permute(0, 3, 1, 2)
    first = functional.conv2d(same(x, 3, 2), tensor(weights["w1"]).permute(3, 2, 0, 1), tensor(weights["b1"]), stride=2)
    first = first.relu()
    pooled = functional.max_pool2d(same(first, 2, 2, -torch.inf), 2)
    small = functional.conv2d(same(first, 3, 2), tensor(weights["w2"]).permute(2, 3, 0, 1), stride=2, groups=8)
    expected = torch.cat([pooled, small], dim=1).permute(0, 2, 3, 1)
    assert np.allclose(made, expected.numpy(), atol=1e-4)


def test_a_graph_may_hold_nothing_but_arithmetic(tmp_path: Path) -> None:
    save_graph(tmp_path, [node("x", "Placeholder"), node("y", "ReadFile", "x")], {})
    with pytest.raises(ValueError, match="ReadFile"):
        graph.read(tmp_path)


def test_a_graph_in_a_circle_is_refused(tmp_path: Path) -> None:
    save_graph(tmp_path, [node("a", "Relu", "b"), node("b", "Relu", "a"), node("c", "Relu", "a")], {})
    with pytest.raises(ValueError):
        graph.read(tmp_path)


def maps(*people: dict[int, tuple[int, int]], size: tuple[int, int] = (72, 128)) -> tuple[Any, Any]:
    """What a perfect network would say about stick figures."""
    rows, columns = size
    heat = np.zeros((rows, columns, 19), np.float32)
    fields = np.zeros((rows, columns, 38), np.float32)
    down, across = np.mgrid[:rows, :columns].astype(np.float32)
    for person in people:
        for joint, (x, y) in person.items():
            heat[..., joint] = np.maximum(heat[..., joint], np.exp(-((across - x) ** 2 + (down - y) ** 2) / 8))
        for (first, second), channel in zip(pose.LIMBS, pose.FIELDS, strict=True):
            if first in person and second in person:
                start, way = np.array(person[first]), np.subtract(person[second], person[first])
                length = float(np.hypot(*way))
                along = ((across - start[0]) * way[0] + (down - start[1]) * way[1]) / length
                beside = np.abs((across - start[0]) * way[1] - (down - start[1]) * way[0]) / length
                on = (along >= -1) & (along <= length + 1) & (beside < 2)
                fields[on, channel : channel + 2] = way / length
    heat[..., 18] = 1 - heat[..., :18].max(axis=2)
    return heat, fields


def moved(person: dict[int, tuple[int, int]], by: int) -> dict[int, tuple[int, int]]:
    return {joint: (x + by, y) for joint, (x, y) in person.items()}


def test_two_people_side_by_side_are_told_apart_joint_by_joint() -> None:
    found = pose.people(*maps(STICK, moved(STICK, 50)))
    assert len(found) == 2
    for person, real in zip(sorted(found, key=lambda p: p[1]), (STICK, moved(STICK, 50)), strict=True):
        assert person.keys() == real.keys()
        assert all(np.hypot(*np.subtract(person[joint], real[joint])) <= 1 for joint in real)


def test_a_person_who_is_partly_seen_keeps_the_joints_that_are_there() -> None:
    half = {joint: STICK[joint] for joint in (0, 1, 2, 3, 5, 14, 15)}
    (found,) = pose.people(*maps(half))
    assert found.keys() == half.keys()


def test_nobody_is_found_where_nobody_is() -> None:
    assert pose.people(*maps()) == ()
    assert pose.people(*maps({0: (9, 9), 1: (9, 20)})) == (), "two joints are no person"
    heat, fields = maps(STICK)
    assert pose.people(heat, np.zeros_like(fields)) == (), "joints without limbs are none either"


def test_a_skeleton_has_the_colours_pose_models_were_trained_on() -> None:
    canvas = pose.drawn(pose.people(*maps(STICK)), 512, 288, (4.0, 4.0))
    assert canvas.shape == (288, 512, 3)
    x, y = STICK[4]
    assert tuple(canvas[4 * y + 2, 4 * x + 2]) == (170, 255, 0), "the right wrist"
    middle = np.add(STICK[1], STICK[2]) * 2 + 2
    assert tuple(canvas[middle[1], middle[0]]) == (153, 0, 0), "from neck to right shoulder, three fifths of red"
    assert not canvas[:, 300:].any()


def test_the_pose_preprocessor_runs_a_network_and_draws_what_it_finds(tmp_path: Path) -> None:
    # A network of one convolution whose maps are empty: nobody is there, and the canvas stays black.
    weights: dict[str, NDArray[Any]] = {"w": np.zeros((1, 1, 3, 57), np.float32)}
    save_graph(tmp_path / "openpose", [node("x", "Placeholder"), node("y", "Conv2D", "x", "w", strides=8)], weights)
    picture = np.full((90, 160, 3), 128, np.uint8)
    assert not preprocess("openpose", picture, width=96, height=64, weights=tmp_path).any()
    weights = {"w": np.zeros((1, 1, 3, 5), np.float32)}
    save_graph(tmp_path / "openpose", [node("x", "Placeholder"), node("y", "Conv2D", "x", "w", strides=8)], weights)
    with pytest.raises(Unavailable, match="5 maps instead of 57") as caught:
        preprocess("openpose", picture, width=96, height=64, weights=tmp_path)
    assert "max-human-pose-estimator" in str(caught.value.problem.hint)
    (tmp_path / POSE).write_text("[]")
    with pytest.raises(Unavailable, match="cannot be run"):
        preprocess("openpose", picture, width=96, height=64, weights=tmp_path)


class _File:
    """As h5py shows a file: names with slashes, arrays that have a shape."""

    def __init__(self, arrays: dict[str, NDArray[np.float32]]) -> None:
        self.arrays = arrays

    def __enter__(self) -> _File:
        return self

    def __exit__(self, *_: object) -> None:
        return None

    def visititems(self, visit: Callable[[str, Any], None]) -> None:
        visit("block1", SimpleNamespace())
        for name, array in self.arrays.items():
            visit(name, array)


def test_hed_gives_the_same_edges_as_torch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    dice = np.random.default_rng(1)
    widths, layers, arrays = (3, 4, 5, 6, 6, 6), (2, 2, 3, 3, 3), {}
    for block, count in enumerate(layers):
        for layer in range(count):
            inside = widths[block] if layer == 0 else widths[block + 1]
            name = f"block{block + 1}/layers/conv2d" + (f"_{layer}" if layer else "")
            scale = 0.01 if (block, layer) == (0, 0) else 0.4
            arrays[f"{name}/vars/0"] = (
                dice.standard_normal((3, 3, inside, widths[block + 1])).astype(np.float32) * scale
            )
            arrays[f"{name}/vars/1"] = dice.standard_normal(widths[block + 1]).astype(np.float32)
        arrays[f"dsn{block + 1}/vars/0"] = dice.standard_normal((1, 1, widths[block + 1], 1)).astype(np.float32) * 0.3
        arrays[f"dsn{block + 1}/vars/1"] = dice.standard_normal(1).astype(np.float32)
    arrays["fuse/vars/0"] = dice.random((1, 1, 5, 1)).astype(np.float32) * 0.4
    arrays["fuse/vars/1"] = dice.standard_normal(1).astype(np.float32)
    monkeypatch.setitem(sys.modules, "h5py", SimpleNamespace(File=lambda path, mode: _File(arrays)))
    (tmp_path / HED).touch()
    picture = dice.integers(0, 256, (64, 96, 3), np.uint8)
    made = preprocess("hed", picture, width=96, height=64, weights=tmp_path)

    x = tensor(picture[..., ::-1].astype(np.float32) - np.array([104.007, 116.669, 122.679], np.float32))
    values, fused = x.permute(2, 0, 1)[None], tensor(arrays["fuse/vars/1"])
    for block, count in enumerate(layers):
        values = functional.max_pool2d(values, 2, ceil_mode=True) if block else values
        for layer in range(count):
            name = f"block{block + 1}/layers/conv2d" + (f"_{layer}" if layer else "")
            kernel, bias = tensor(arrays[f"{name}/vars/0"]).permute(3, 2, 0, 1), tensor(arrays[f"{name}/vars/1"])
            values = functional.conv2d(values, kernel, bias, padding=1).relu()
        weight, bias = tensor(arrays[f"dsn{block + 1}/vars/0"]), tensor(arrays[f"dsn{block + 1}/vars/1"])
        side = functional.conv2d(values, weight.permute(3, 2, 0, 1), bias)
        whole = functional.interpolate(side, (64, 96), mode="bilinear")
        fused = fused + arrays["fuse/vars/0"][0, 0, block, 0] * whole[0, 0]
    expected = (torch.sigmoid(fused) * 255).numpy()
    assert expected.std() > 20
    assert np.abs(made[..., 0].astype(float) - expected).max() <= 1.5


def test_hed_says_that_it_needs_h5py(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "h5py", None)
    (tmp_path / HED).touch()
    with pytest.raises(Unavailable, match="h5py"):
        preprocess("hed", np.zeros((64, 64, 3), np.uint8), width=64, height=64, weights=tmp_path)
