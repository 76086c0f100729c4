"""Turn a network of nsfwjs (MIT) into the file that `safety.drawn` reads. Run once, by us; never on a user's machine.

    npm pack nsfwjs@4.4.0 && tar xzf nsfwjs-4.4.0.tgz
    python -m training.detectors package --out models/detectors

The package holds TensorFlow.js models as scripts: an object literal with Keras layers, and base64 with one byte per
weight. Nothing of it is executed. Bytes are kept as they are (only their order changes, from channels last to channels
first), so that the file can be checked against the package number by number.
"""

from __future__ import annotations

import argparse
import base64
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import save

CLASSES = ("drawing", "hentai", "neutral", "porn", "sexy")
SIDE = 224
MODEL = "mobilenet_v2"
Node = dict[str, Any]

_TOKENS = re.compile(r'"(?:[^"\\]|\\.)*"|[A-Za-z_$][\w$]*(?=:)|!0|!1|(?<![\w.])\.(?=\d)')
_PLAIN = {"!0": "true", "!1": "false", ".": "0."}
_RELU6 = {"min": 0.0, "max": 6.0}
_LAYERS = {"Add": "Add", "Flatten": "Flatten", "AveragePooling2D": "GlobalAveragePool"}


@dataclass(frozen=True, slots=True)
class Stored:
    """A weight is `numbers * scale + minimum`."""

    numbers: NDArray[np.uint8]
    scale: float
    minimum: float


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m training.detectors", description=__doc__)
    parser.add_argument("package", type=Path, help="the unpacked npm package nsfwjs")
    parser.add_argument("--out", type=Path, default=Path("models/detectors"))
    asked = parser.parse_args(arguments)
    version = json.loads((asked.package / "package.json").read_text(encoding="utf-8"))["version"]
    data = convert(asked.package / "dist" / "models" / MODEL, f"nsfwjs {version}, {MODEL}")
    asked.out.mkdir(parents=True, exist_ok=True)
    (asked.out / "nsfwjs.safetensors").write_bytes(data)


def convert(folder: Path, source: str) -> bytes:
    """The safetensors file of the TensorFlow.js model in `folder`. The same bytes every time."""
    model = literal((folder / "model.min.js").read_text(encoding="utf-8"))
    stored = _weights(model["weightsManifest"][0], folder)
    graph = tuple(_layers(model["modelTopology"]["model_config"]["config"]))
    kernels = {node["inputs"][1]: node["op"] for node in graph if node["op"] in ("Conv", "Depthwise")}
    used = {name for node in graph for name in node["inputs"]} & stored.keys()
    tensors = {name: _channels_first(stored[name].numbers, kernels.get(name, "")) for name in sorted(used)}
    told = {
        "source": source,
        "licence": "MIT, copyright (c) 2019 Infinite Red, Inc.",
        "side": SIDE,
        "classes": CLASSES,
        "graph": [_with_groups(node, tensors) for node in graph],
        "quantisation": {name: (stored[name].scale, stored[name].minimum) for name in tensors},
    }
    # One entry of metadata: the library writes several in an order of its own.
    data: bytes = save(tensors, {"network": json.dumps(told, separators=(",", ":"))})
    return data


def literal(script: str) -> dict[str, Any]:
    """The object that a minified script exports."""
    start = script.rindex(".exports={", 0, 4000) + len(".exports=")
    value: dict[str, Any] = json.JSONDecoder().raw_decode(_TOKENS.sub(_json, script[start:]))[0]
    return value


def _json(token: re.Match[str]) -> str:
    text = token.group()
    return text if text[0] == '"' else _PLAIN.get(text, f'"{text}"')


def _weights(group: Mapping[str, Any], folder: Path) -> dict[str, Stored]:
    data = b"".join(_shard(folder / f"{name}.min.js") for name in group["paths"])
    found: dict[str, Stored] = {}
    at = 0
    for told in group["weights"]:
        how, size = told["quantization"], int(np.prod(told["shape"], dtype=int))
        if how["dtype"] != "uint8":
            raise ValueError(f"{told['name']} is stored as {how['dtype']}")
        numbers = np.frombuffer(data, np.uint8, size, at).reshape(told["shape"])
        found[told["name"]] = Stored(numbers, float(how["scale"]), float(how["min"]))
        at += size
    if at != len(data):
        raise ValueError(f"{len(data) - at} bytes of weights belong to nothing")
    return found


def _shard(path: Path) -> bytes:
    found = re.search(r'\.exports="([A-Za-z0-9+/=]+)"', path.read_text(encoding="utf-8"))
    if not found:
        raise ValueError(f"{path.name} holds no weights")
    return base64.b64decode(found[1], validate=True)


def _channels_first(numbers: NDArray[np.uint8], op: str) -> NDArray[np.uint8]:
    """(h, w, in, out) to (out, in, h, w); a depthwise kernel (h, w, in, times) to (in * times, 1, h, w)."""
    if op == "Conv":
        return np.ascontiguousarray(numbers.transpose(3, 2, 0, 1))
    if op == "Depthwise":
        height, width, channels, multiplier = numbers.shape
        return np.ascontiguousarray(numbers.transpose(2, 3, 0, 1)).reshape(channels * multiplier, 1, height, width)
    return np.ascontiguousarray(numbers)


def _with_groups(node: Node, tensors: Mapping[str, NDArray[np.uint8]]) -> Node:
    if node["op"] != "Depthwise":
        return node
    return {**node, "op": "Conv", "attributes": {**node["attributes"], "group": len(tensors[node["inputs"][1]])}}


def _node(op: str, inputs: Sequence[str], output: str, **attributes: Any) -> Node:
    return {"op": op, "inputs": list(inputs), "output": output, "attributes": attributes}


def _conv(op: str, inputs: Sequence[str], output: str, strides: Sequence[int], padding: str) -> Node:
    # TensorFlow's "same" puts the odd pixel at the bottom and the right, as ONNX's SAME_UPPER does.
    return _node(op, inputs, output, strides=list(strides), auto_pad={"SAME": "SAME_UPPER", "VALID": "VALID"}[padding])


def _layers(config: Mapping[str, Any]) -> Iterator[Node]:
    names: dict[str, str] = {}
    padded: set[str] = set()
    last = config["layers"][-1]["name"]
    for layer in config["layers"]:
        name, said = layer["name"], layer["config"]
        inputs = [names[each[0]] for each in layer["inbound_nodes"][0]] if layer["inbound_nodes"] else []
        names[name] = "output" if name == last else name
        match layer["class_name"]:
            case "InputLayer":
                names[name] = "input"
            case "Dropout":
                names[name] = inputs[0]
            case "ZeroPadding2D":  # [[0, 1], [0, 1]] before a stride of 2 is what "same" means there
                if said["padding"] != [[0, 1], [0, 1]]:
                    raise ValueError(f"a padding of {said['padding']} is not known here")
                names[name] = inputs[0]
                padded.add(name)
            case "Conv2D" | "DepthwiseConv2D" as op:
                kernel = "kernel" if op == "Conv2D" else "depthwise_kernel"
                same = said["padding"] == "same" or layer["inbound_nodes"][0][0][0] in padded
                kind = "Conv" if op == "Conv2D" else "Depthwise"
                padding = "SAME" if same else "VALID"
                yield _conv(kind, [*inputs, f"{name}/{kernel}"], name, said["strides"], padding)
            case "BatchNormalization":
                parts = [f"{name}/{part}" for part in ("gamma", "beta", "moving_mean", "moving_variance")]
                yield _node("BatchNormalization", [*inputs, *parts], name, epsilon=float(said["epsilon"]))
            case "ReLU":
                yield _node("Clip", inputs, name, **_RELU6)
            case "Dense":
                yield from _dense(name, names[name], inputs, said["activation"])
            case op:
                yield _node(_LAYERS[op], inputs, name)


def _dense(name: str, output: str, inputs: Sequence[str], activation: str) -> Iterator[Node]:
    yield _node("Gemm", [*inputs, f"{name}/kernel", f"{name}/bias"], f"{name}/plain")
    if activation == "softmax":
        yield _node("Softmax", [f"{name}/plain"], output, axis=1)
    else:
        yield _node("Relu", [f"{name}/plain"], output)


if __name__ == "__main__":
    main()
