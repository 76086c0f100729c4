from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backend.engine.batcher import BUCKETS, Candidate, choose_bucket, join_bucket, next_batch


def candidate(number: int, *, key: str = "a", bucket: int = 8, rows: int = 2, left: int = 10, waited: int = 0):
    return Candidate(number, key, bucket, rows, left, waited)


@st.composite
def candidates(draw: st.DrawFn) -> Candidate:
    rows = draw(st.sampled_from([1, 2]))
    return candidate(
        draw(st.integers(0, 10**6)),
        key=draw(st.sampled_from("abc")),
        bucket=draw(st.sampled_from([bucket for bucket in BUCKETS if bucket >= rows])),
        rows=rows,
        left=draw(st.integers(1, 150)),
        waited=draw(st.integers(0, 100)),
    )


crowds = st.lists(candidates(), max_size=20, unique_by=lambda one: one.id)


@pytest.mark.parametrize(("rows", "bucket"), [(0, 1), (1, 1), (2, 2), (3, 4), (4, 4), (5, 8), (8, 8), (9, 8), (100, 8)])
def test_the_bucket_is_the_smallest_that_holds_the_rows_or_the_largest_there_is(rows: int, bucket: int):
    assert choose_bucket(rows) == bucket


def test_a_lonely_picture_gets_a_bucket_of_its_own_size():
    assert join_bucket(1, 1, {}) == 1
    assert join_bucket(2, 2, {}) == 2


def test_pictures_that_start_together_get_a_bucket_that_holds_them_all():
    assert join_bucket(2, 6, {}) == 8


def test_a_free_place_in_a_running_batch_is_taken_before_another_batch_is_opened():
    assert join_bucket(2, 2, {8: 6}) == 8
    assert join_bucket(1, 1, {4: 3, 2: 2}) == 4


def test_a_full_batch_is_not_joined_and_the_next_one_is_opened_larger():
    assert join_bucket(2, 2, {2: 2}) == 4
    assert join_bucket(2, 2, {4: 3}) == 8


@given(
    st.sampled_from([1, 2]),
    st.integers(0, 14),
    st.dictionaries(st.sampled_from(BUCKETS), st.integers(1, 30), max_size=4),
)
def test_the_bucket_of_a_starting_picture_always_holds_its_rows(rows: int, others: int, live: dict[int, int]):
    assert join_bucket(rows, rows + others, live) >= rows


def test_nobody_waiting_means_an_empty_batch():
    assert next_batch([]) == ()


def test_the_shortest_remaining_work_goes_first_and_takes_along_who_fits():
    crowd = [candidate(1, left=50), candidate(2, left=4), candidate(3, left=20), candidate(4, left=3, key="b")]
    assert [one.id for one in next_batch(crowd)] == [4]
    assert [one.id for one in next_batch(crowd[:3])] == [2, 3, 1]


def test_a_picture_too_wide_for_the_room_left_does_not_keep_a_narrow_one_out():
    crowd = [candidate(1, bucket=4, left=1, rows=1)]
    crowd += [candidate(2, bucket=4, left=2), candidate(3, bucket=4, left=3), candidate(4, bucket=4, left=4, rows=1)]
    assert [one.id for one in next_batch(crowd)] == [1, 2, 4]


@given(crowds)
def test_a_batch_never_exceeds_its_bucket_and_holds_one_kind_only(crowd: list[Candidate]):
    batch = next_batch(crowd)
    assert bool(batch) == bool(crowd)
    if batch:
        assert sum(one.rows for one in batch) <= batch[0].bucket
        assert {(one.key, one.bucket) for one in batch} == {(batch[0].key, batch[0].bucket)}
        assert len({one.id for one in batch}) == len(batch)


@given(crowds)
def test_no_room_is_left_that_a_picture_of_the_same_kind_would_fill(crowd: list[Candidate]):
    batch = next_batch(crowd)
    if batch:
        room = batch[0].bucket - sum(one.rows for one in batch)
        left_out = [
            one for one in crowd if one not in batch and (one.key, one.bucket) == (batch[0].key, batch[0].bucket)
        ]
        assert all(one.rows > room for one in left_out)


@given(crowds, st.randoms(use_true_random=False))
def test_the_choice_does_not_depend_on_the_order_of_the_candidates(crowd: list[Candidate], random):
    shuffled = list(crowd)
    random.shuffle(shuffled)
    assert next_batch(shuffled) == next_batch(crowd)


@settings(max_examples=25)
@given(st.integers(1, 60), st.lists(st.integers(1, 6), min_size=1, max_size=5))
def test_a_long_picture_is_never_starved_by_a_stream_of_short_ones(left: int, newcomers: list[int]):
    """Every tick another short picture of another kind is there; the long one must still get on."""
    long, longest_wait = candidate(0, key="long", left=left), 0
    for tick in range(1, left * 2000):
        short = candidate(tick, key="short", left=newcomers[tick % len(newcomers)])
        if next_batch([long, short])[0].id == 0:
            longest_wait = max(longest_wait, long.waited)
            if long.left == 1:
                break
            long = replace(long, left=long.left - 1, waited=0)
        else:
            long = replace(long, waited=long.waited + 1)
    else:
        pytest.fail("the long picture never came to its end")
    assert longest_wait <= 2 * left
