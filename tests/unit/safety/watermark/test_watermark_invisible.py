"""The methods of invisible-watermark behind the same interface."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from backend.errors import InvalidParameter
from backend.types import Pixels
from safety.watermark import METHODS, OWN, mark_id_of, open_watermark

Drawing = Callable[[int, int], Pixels]
KEY = b"sixteen bytes or more, and secret"
HISTORY = [(f"record-{i}", mark_id_of(f"record-{i}")) for i in range(200)]
INVISIBLE = tuple(method for method in METHODS if method not in OWN)


@pytest.mark.parametrize("method", INVISIBLE)
def test_a_marked_photograph_is_found_and_named(method: str, drawings: list[Drawing]) -> None:
    if method == "rivaGan":
        pytest.importorskip("onnxruntime")
    photograph = drawings[3](256, 256)
    history = HISTORY[:20]  # rivaGan reads 31 of 32 bits here, which is too little evidence among many records
    mark = open_watermark(method, KEY)
    marked = mark.embed(photograph, history[7][1])
    assert marked.dtype == np.uint8 and marked.shape == photograph.shape
    detection = mark.detect(marked, history)
    assert detection.found and detection.record_id == "record-7" and detection.method == method
    assert not mark.detect(photograph, history).found
    assert not open_watermark(method, KEY + b"!").detect(marked, history).found


@pytest.mark.parametrize("method", INVISIBLE)
def test_small_pictures_are_refused_with_a_hint_and_read_as_no_evidence(method: str, drawings: list[Drawing]) -> None:
    mark = open_watermark(method, KEY)
    with pytest.raises(InvalidParameter, match="signet-tile"):
        mark.embed(drawings[0](128, 300), 1)
    assert mark.detect(drawings[0](128, 300), HISTORY).p_value == 1.0


def test_without_a_history_32_bits_can_say_nothing(drawings: list[Drawing]) -> None:
    mark = open_watermark("dwtDctSvd", KEY)
    assert mark.detect(mark.embed(drawings[3](256, 256), 1), []).p_value == 1.0


def test_an_unknown_method_is_refused_with_the_choices() -> None:
    with pytest.raises(InvalidParameter, match="signet-tile"):
        open_watermark("tree-ring", KEY)
