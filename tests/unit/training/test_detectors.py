"""The converter, on a network of a few weights written as the scripts of the package are written."""

from __future__ import annotations

import base64
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch

from safety.drawn_network import network
from training import detectors

rng = np.random.default_rng(5)
WEIGHTS = {
    "Conv1/kernel": (rng.integers(0, 256, (3, 3, 3, 4), dtype=np.uint8), 0.01, -1.2),
    "bn/gamma": (rng.integers(0, 256, (4,), dtype=np.uint8), 0.01, 0.1),
    "bn/beta": (rng.integers(0, 256, (4,), dtype=np.uint8), 0.01, -1.0),
    "bn/moving_mean": (rng.integers(0, 256, (4,), dtype=np.uint8), 0.01, -1.0),
    "bn/moving_variance": (rng.integers(0, 256, (4,), dtype=np.uint8), 0.01, 0.5),
    "deep/depthwise_kernel": (rng.integers(0, 256, (3, 3, 4, 1), dtype=np.uint8), 0.01, -1.3),
    "last/kernel": (rng.integers(0, 256, (4, 5), dtype=np.uint8), 0.01, -1.1),
    "last/bias": (rng.integers(0, 256, (5,), dtype=np.uint8), 0.001, -0.1),
    "unused/kernel": (rng.integers(0, 256, (2,), dtype=np.uint8), 0.5, 0),
}
LAYERS = """
{name:"input_1",class_name:"InputLayer",config:{},inbound_nodes:[]},
{name:"pad",class_name:"ZeroPadding2D",config:{padding:[[0,1],[0,1]]},inbound_nodes:[[["input_1",0,0,{}]]]},
{name:"Conv1",class_name:"Conv2D",config:{padding:"valid",strides:[2,2],use_bias:!1},inbound_nodes:[[["pad",0,0,{}]]]},
{name:"bn",class_name:"BatchNormalization",config:{epsilon:.001,scale:!0},inbound_nodes:[[["Conv1",0,0,{}]]]},
{name:"relu",class_name:"ReLU",config:{max_value:6},inbound_nodes:[[["bn",0,0,{}]]]},
{name:"deep",class_name:"DepthwiseConv2D",config:{padding:"same",strides:[1,1]},inbound_nodes:[[["relu",0,0,{}]]]},
{name:"sum",class_name:"Add",config:{},inbound_nodes:[[["deep",0,0,{}],["relu",0,0,{}]]]},
{name:"mean",class_name:"AveragePooling2D",config:{},inbound_nodes:[[["sum",0,0,{}]]]},
{name:"flat",class_name:"Flatten",config:{note:"a{b,c:d"},inbound_nodes:[[["mean",0,0,{}]]]},
{name:"off",class_name:"Dropout",config:{rate:.5},inbound_nodes:[[["flat",0,0,{}]]]},
{name:"last",class_name:"Dense",config:{activation:"softmax"},inbound_nodes:[[["off",0,0,{}]]]}
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    told = ",".join(
        f'{{name:"{name}",shape:[{",".join(map(str, numbers.shape))}],dtype:"float32",'
        f'quantization:{{min:{_short(least)},scale:{_short(scale)},dtype:"uint8"}}}}'
        for name, (numbers, scale, least) in WEIGHTS.items()
    )
    data = b"".join(numbers.tobytes() for numbers, _, _ in WEIGHTS.values())
    half = len(data) // 2
    for number, part in enumerate((data[:half], data[half:]), 1):
        text = base64.b64encode(part).decode()
        script = f'!function(e){{module.exports=e()}}({{1:[function(e,a){{a.exports="{text}"}}]}})'
        (tmp_path / f"shard{number}.min.js").write_text(script)
    model = (
        "!function(e){var r={exports:{}};module.exports=e()}({1:[function(e,a,n){a.exports={modelTopology:"
        f"{{model_config:{{config:{{layers:[{LAYERS.replace(chr(10), '')}]}}}}}},weightsManifest:"
        f'[{{paths:["shard1","shard2"],weights:[{told}]}}]}}}},{{}}]}},{{}},[1])'
    )
    (tmp_path / "model.min.js").write_text(model)
    return tmp_path


def _short(number: float) -> str:
    """As a minifier writes it: no zero before the point."""
    return f"{number}".replace("0.", ".", 1) if abs(number) < 1 and number else f"{number}"


def test_a_network_computes_the_same_after_the_conversion(folder: Path) -> None:
    made = network(detectors.convert(folder, "a test"))
    assert (made.side, made.classes) == (224, detectors.CLASSES)
    values = rng.random((1, 3, 224, 224), dtype=np.float32)
    session = onnxruntime.InferenceSession(made.onnx, providers=["CPUExecutionProvider"])
    (scores,) = session.run(None, {"input": values})
    assert np.abs(scores - _by_hand(torch.from_numpy(values)).numpy()).max() < 1e-5
    assert scores.std() > 0.01


def _by_hand(x: torch.Tensor) -> torch.Tensor:
    known = {
        name: torch.from_numpy((numbers * np.float64(scale) + least).astype(np.float32))
        for name, (numbers, scale, least) in WEIGHTS.items()
    }
    functional = torch.nn.functional
    x = functional.conv2d(functional.pad(x, (0, 1, 0, 1)), known["Conv1/kernel"].permute(3, 2, 0, 1), stride=2)
    mean, variance = known["bn/moving_mean"], known["bn/moving_variance"]
    x = functional.batch_norm(x, mean, variance, known["bn/gamma"], known["bn/beta"], eps=0.001).clamp(0, 6)
    deep = functional.conv2d(x, known["deep/depthwise_kernel"].permute(2, 3, 0, 1), padding=1, groups=4)
    return ((deep + x).mean((2, 3)) @ known["last/kernel"] + known["last/bias"]).softmax(1)


def test_the_same_package_gives_the_same_bytes(folder: Path) -> None:
    first = detectors.convert(folder, "a test")
    assert first == detectors.convert(folder, "a test")
    assert b"unused" not in first
    assert b"copyright (c) 2019 Infinite Red, Inc." in first


def test_what_the_converter_does_not_know_it_refuses(folder: Path) -> None:
    model = folder / "model.min.js"
    text = model.read_text()
    for known, unknown in (("padding:[[0,1]", "padding:[[1,1]"), ('"Flatten"', '"Exec"'), ('"uint8"', '"uint16"')):
        model.write_text(text.replace(known, unknown))
        with pytest.raises((ValueError, KeyError)):
            detectors.convert(folder, "a test")
    model.write_text(text)
    (folder / "shard2.min.js").write_text("console.log(1)")
    with pytest.raises(ValueError, match="holds no weights"):
        detectors.convert(folder, "a test")
