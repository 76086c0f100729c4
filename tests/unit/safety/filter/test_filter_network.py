"""The network on onnxruntime says what the network in torch learned."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file

from safety.prompt_filter.classifier import _widened
from safety.prompt_filter.network import Network
from training.filter import export, learning
from training.filter.sources import HEADS
from training.filter.student import HEADS as ATTENTION_HEADS
from training.filter.student import Shape, Student

TEXTS = [[2, 5, 9, 3], [2, 3], [2, *range(4, 40), 3]]


@pytest.fixture(scope="module")
def student() -> Student:
    torch.manual_seed(3)
    made = Student(Shape(pieces=60, narrow=16, layers=2, inner=32, longest=48), 60, len(HEADS)).eval()
    torch.nn.init.normal_(made.places, std=0.3)
    return made


@pytest.fixture(scope="module")
def network(student: Student, tmp_path_factory: pytest.TempPathFactory) -> Network:
    """As it comes back from its files."""
    folder = tmp_path_factory.mktemp("filter")
    export.write(folder, export.weights(student), {}, [], {}, {}, {})
    return Network(_widened(load_file(folder / "weights.safetensors")), ATTENTION_HEADS)


def test_eight_bits_say_what_was_learned(student: Student, network: Network) -> None:
    learned = learning.logits(student, TEXTS)
    assert np.abs(network.logits(TEXTS) - learned).max() < 0.12 * np.abs(learned).max()


def test_company_changes_nothing(network: Network) -> None:
    together = network.logits(TEXTS)
    assert all(np.array_equal(network.logits([text])[0], together[row]) for row, text in enumerate(TEXTS))


def test_the_order_of_words_matters(network: Network) -> None:
    one, other = network.logits([[2, 5, 9, 7, 3], [2, 7, 9, 5, 3]])
    assert not np.allclose(one, other, atol=1e-3)
