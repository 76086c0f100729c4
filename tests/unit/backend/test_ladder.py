from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backend.engine.ladder import LADDER, SMALLEST_TILE, State, after, failure, next_measure


def climb(state: State) -> list[str]:
    taken = []
    while (measure := next_measure(state)) is not None:
        taken.append(measure)
        state = after(state, measure)
    return taken


def test_a_batch_is_halved_down_to_one_picture_before_anything_is_unloaded():
    state = State("denoise", bucket=8, rows=2, idle=1, streams=True)
    assert climb(state) == ["halve the bucket", "halve the bucket", "unload idle models", "stream layers"]


def test_a_single_latent_is_tiled_and_a_batch_of_them_sliced_first():
    assert climb(State("decode")) == ["tile the decoder"]
    assert climb(State("decode", rows=4)) == ["slice the decoder", "tile the decoder"]


def test_tiles_of_an_upscaler_shrink_to_the_smallest_that_is_useful():
    state = State("upscale", tile=512)
    assert climb(state) == ["halve the tiles"] * 2
    assert after(after(after(state, "halve the tiles"), "halve the tiles"), "halve the tiles").tile == SMALLEST_TILE


def test_a_device_without_other_memory_streams_nothing():
    assert climb(State("load", idle=2)) == ["unload idle models"]


def test_a_failure_names_what_was_tried_and_what_is_free():
    state = State("denoise", bucket=4, rows=1)
    for _ in range(2):
        state = after(state, "halve the bucket")
    problem = failure(state, "this picture", 5 << 20).problem
    assert "5 MiB are free" in problem.detail
    assert problem.hint is not None
    assert problem.hint.startswith("Tried to halve the bucket. Make")
    assert failure(State("decode"), "x", None).problem.hint == "Make the picture smaller or ask for fewer at once."


@given(
    op=st.sampled_from(sorted(LADDER)), bucket=st.sampled_from([1, 2, 4, 8]), rows=st.integers(1, 8),
    idle=st.integers(0, 9), tile=st.integers(64, 4096), streams=st.booleans(),
)  # fmt: skip
def test_every_ladder_ends_and_its_buckets_hold_the_rows(op, bucket, rows, idle, tile, streams):
    state = State(op, bucket, rows, idle, tile, streams)
    for _ in range(20):
        measure = next_measure(state)
        if measure is None:
            return
        state = after(state, measure)
        assert state.bucket >= min(rows, bucket)
    pytest.fail("the ladder goes on and on")
