"""The small transformer behind the classifier, on onnxruntime with eight-bit weights.

Embeddings of E numbers per piece are widened to W; then come BERT layers (Devlin et al. 2018: attention and
feed-forward with the sum normalised after each), here with a narrower feed-forward part. The mean and the maximum
over the pieces feed one linear layer. The graph is made from the arrays when the weights are loaded; one thread, since
waiting for a second one takes longer than these few million products.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from safety.prompt_filter.graph import Node, model

Array = NDArray[np.float32]
_OWN = "com.microsoft"
_EPSILON = 1e-12
_MATRICES = ("join", "mix", "up", "down")


class Network:
    """`tensors` as training/filter exports them: matrices (inputs, outputs) as int8 with a scale for each output under
    "NAME.scale", the pieces as int8 with a scale for each piece, all others float32. Safe to share between threads."""

    def __init__(self, tensors: Mapping[str, NDArray[Any]], attention_heads: int) -> None:
        self._pieces, self._sizes = tensors["pieces"], tensors["pieces.scale"]
        self._places: Array = tensors["places"]
        self._head, self._head_bias = tensors["head"], tensors["head_bias"]
        narrow, width = tensors["widen"].shape
        layers = sum(name.endswith(".join") for name in tensors)
        names = {name for node in _nodes(layers, attention_heads) for name in node.inputs}
        arrays = {name: np.ascontiguousarray(tensors[name]) for name in sorted(names & set(tensors))}
        arrays["first_axis"] = np.zeros(1, np.int64)
        inputs = {"words": ("pieces", narrow), "places_here": ("pieces", width)}
        built = model(_nodes(layers, attention_heads), arrays, inputs, ["state"])
        options = ort.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.log_severity_level = 3
        self._session: Any = ort.InferenceSession(built, options, providers=["CPUExecutionProvider"])

    @property
    def longest(self) -> int:
        """Pieces in a text, marks included."""
        return len(self._places)

    def logits(self, texts: Sequence[Sequence[int]]) -> Array:
        """(texts, categories) for the numbers of pieces, marks included, at most `longest` each."""
        return np.stack([self._one(text) for text in texts])

    def _one(self, text: Sequence[int]) -> Array:
        words = self._pieces[text].astype(np.float32) * self._sizes[text][:, None]
        state = self._session.run(["state"], {"words": words, "places_here": self._places[: len(text)]})[0][0]
        logits: Array = np.concatenate([state.mean(0), state.max(0)]) @ self._head + self._head_bias
        return logits


def _nodes(layers: int, attention_heads: int) -> Iterator[Node]:
    yield Node("MatMul", ("words", "widen"), ("wide",))
    yield Node("Add", ("wide", "places_here"), ("placed",))
    yield Node("LayerNormalization", ("placed", "input_scale", "input_shift"), ("flat",), "", {"epsilon": _EPSILON})
    yield Node("Unsqueeze", ("flat", "first_axis"), ("state0",))
    for number in range(layers):
        name, state = f"layer{number}", f"state{number}"
        yield _product(f"{name}.join", state, f"{name}/joined")
        parts = tuple(f"{name}/{part}" for part in ("queries", "keys", "values"))
        yield Node("Split", (f"{name}/joined",), parts, "", {"axis": 2, "num_outputs": 3})
        yield Node("MultiHeadAttention", parts, (f"{name}/seen",), _OWN, {"num_heads": attention_heads})
        yield _product(f"{name}.mix", f"{name}/seen", f"{name}/mixed")
        yield _sum(f"{name}.mix", f"{name}/mixed", state, f"{name}/between")
        yield _product(f"{name}.up", f"{name}/between", f"{name}/inner")
        yield Node("FastGelu", (f"{name}/inner",), (f"{name}/bent",), _OWN)
        yield _product(f"{name}.down", f"{name}/bent", f"{name}/outer")
        following = "state" if number == layers - 1 else f"state{number + 1}"
        yield _sum(f"{name}.out", f"{name}/outer", f"{name}/between", following)


def _product(name: str, given: str, result: str) -> Node:
    inputs = (given, name, f"{name}.scale", "", f"{name}_bias")
    return Node("DynamicQuantizeMatMul", inputs, (result,), _OWN)


def _sum(name: str, given: str, before: str, result: str) -> Node:
    inputs = (given, before, f"{name}_scale", f"{name}_shift")
    return Node("SkipLayerNormalization", inputs, (result,), _OWN, {"epsilon": _EPSILON})
