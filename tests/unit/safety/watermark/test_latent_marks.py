"""Marks in the first noise, without a model: what they make, and what can be said about noise that comes back."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import product
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import stats

from backend.errors import InvalidParameter, Unavailable
from backend.types import Pixels, WatermarkReport
from safety.watermark.latent import METHODS, LatentMark, open_latent_mark
from safety.watermark.latent_desk import LatentReader, open_latent_reader, open_noise_mark
from safety.watermark.latent_evidence import coins_tail, direction_tail
from safety.watermark.latent_rings import share_of
from safety.watermark.latent_stream import SecretStream

KEY, OTHER = b"a key of sixteen", b"another key, too"
STARTER = (1, 24, 8, 8)
STABLE = (1, 4, 64, 64)
NO_PIXELS = np.zeros((1, 1, 3), np.uint8)
SHAPES = (STARTER, STABLE, (1, 4, 96, 40))

Noise = NDArray[np.float32]


def drawn(shape: tuple[int, ...] = STARTER, seed: int = 0) -> Noise:
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def recovered(noise: Noise, share: float, seed: int = 1) -> Noise:
    """Noise of which `share` (a correlation) has come back."""
    return share * noise + np.sqrt(1 - share**2) * drawn(noise.shape, seed)


@pytest.fixture(params=METHODS)
def mark(request: pytest.FixtureRequest) -> LatentMark:
    return open_latent_mark(request.param, KEY)


@pytest.mark.parametrize("shape", SHAPES)
def test_a_mark_is_found_in_noise_of_which_most_comes_back_and_under_no_other_key(
    mark: LatentMark, shape: tuple[int, ...]
) -> None:
    back = recovered(mark.shape(drawn(shape), 7), 0.9)
    assert mark.evidence(back, [7]).p_value < 1e-6
    assert open_latent_mark(mark.name, OTHER).evidence(back, [7]).p_value > 1e-3


def test_noise_is_a_function_of_key_nonce_and_draw(mark: LatentMark) -> None:
    again = open_latent_mark(mark.name, KEY)
    assert np.array_equal(mark.shape(drawn(), 3), again.shape(drawn(), 3))
    assert not np.array_equal(mark.shape(drawn(), 3), open_latent_mark(mark.name, OTHER).shape(drawn(), 3))


@pytest.mark.parametrize("method", METHODS)
def test_chances_are_uniform_over_keys_whatever_the_noise_looks_like(method: str) -> None:
    rng = np.random.default_rng(5)
    odd = np.exp(rng.normal(size=STARTER)) * np.linspace(0.1, 2, 24)[:, None, None]
    chances = [open_latent_mark(method, rng.bytes(16)).evidence(odd, [1]).p_value for _ in range(1000)]
    assert stats.kstest(chances, "uniform").pvalue > 0.001
    assert np.mean(np.array(chances) <= 0.01) < 0.025


def test_gaussian_shading_gives_standard_normal_noise() -> None:
    mark = open_latent_mark("gaussian-shading", KEY)
    values = np.stack([mark.shape(drawn(), nonce).ravel() for nonce in range(100)])
    assert stats.kstest(values.ravel(), "norm").pvalue > 0.001
    assert np.abs(np.corrcoef(values) - np.eye(100)).max() < 5 / np.sqrt(values.shape[1])


def test_gaussian_shading_names_the_seed_among_many_and_pays_for_having_looked() -> None:
    mark = open_latent_mark("gaussian-shading", KEY)
    back = recovered(mark.shape(drawn(), 431), 0.5)
    alone, among = mark.evidence(back, [431]), mark.evidence(back, range(1000))
    assert among.nonce == 431
    assert among.tried == 1000
    assert among.p_value == pytest.approx(1000 * alone.p_value)
    assert mark.evidence(back, range(400)).p_value > 1e-3


def test_gaussian_shading_without_a_seed_to_try_says_nothing() -> None:
    mark = open_latent_mark("gaussian-shading", KEY)
    assert mark.evidence(mark.shape(drawn(), 1), []).p_value == 1.0
    assert mark.evidence(np.zeros(STARTER), [1]).p_value == 1.0


def test_tree_ring_leaves_most_of_large_noise_alone_and_its_power_as_it_was() -> None:
    mark = open_latent_mark("tree-ring", KEY)
    marked = mark.shape(drawn(STABLE), 1)
    assert np.array_equal(marked[:, 2:], drawn(STABLE)[:, 2:])
    assert marked.std() == pytest.approx(1.0, abs=0.03)
    assert share_of(STABLE) == pytest.approx(0.04, abs=0.005)
    assert 0.3 < share_of(STARTER) < 0.5  # a price, which is why it is written down


def test_tree_ring_is_the_same_for_every_seed() -> None:
    mark = open_latent_mark("tree-ring", KEY)
    assert np.array_equal(mark.shape(drawn(), 1), mark.shape(drawn(), 2))


def test_noise_that_is_too_small_is_refused(mark: LatentMark) -> None:
    small = drawn((1, 4, 4, 4))
    assert not mark.carries(small.shape)
    with pytest.raises(InvalidParameter):
        mark.shape(small, 1)
    with pytest.raises(InvalidParameter):
        mark.evidence(small, [1])


def test_noise_that_is_no_number_is_no_evidence(mark: LatentMark) -> None:
    with np.errstate(all="raise"):
        assert mark.evidence(np.full(STARTER, np.nan), [1]).p_value >= 0.5


def test_a_method_or_key_that_there_is_not_is_refused() -> None:
    with pytest.raises(InvalidParameter):
        open_latent_mark("stable-signature", KEY)
    with pytest.raises(InvalidParameter):
        open_latent_mark("tree-ring", b"short")


@given(st.lists(st.integers(0, 6), min_size=1, max_size=9), st.integers(-60, 60))
def test_the_chance_of_weighted_coins_is_that_of_counting_all_throws(weights: list[int], total: int) -> None:
    throws = [np.dot(weights, signs) for signs in product((-1, 1), repeat=len(weights))]
    exact = sum(throw >= total for throw in throws) / len(throws)
    assert coins_tail(np.array(weights), total) == pytest.approx(max(exact, 1e-300), rel=1e-9)


def test_equal_coins_are_the_binomial_far_out_in_the_tail() -> None:
    assert coins_tail(np.ones(1536, np.int64), 600) == pytest.approx(float(stats.binom.sf(1067, 1536, 0.5)), rel=1e-8)


def test_a_direction_in_the_plane_is_an_angle() -> None:
    assert direction_tail(np.cos(0.01), 2) == pytest.approx(0.01 / np.pi, rel=1e-3)
    assert direction_tail(0.0, 36) == pytest.approx(0.5)
    assert direction_tail(float("nan"), 36) == 1.0


def test_a_nonce_names_its_stream_however_much_of_it_is_read() -> None:
    stream = SecretStream(KEY, "test")
    assert np.array_equal(stream.octets(5, 40), stream.octets(5, 64)[:40])
    assert not np.array_equal(stream.octets(5, 40), stream.octets(6, 40))
    with pytest.raises(InvalidParameter):
        stream.octets(1 << 96, 1)


def recovering(*noises: Noise) -> Callable[[Pixels], Sequence[Noise]]:
    return lambda pixels: noises


def test_a_reader_names_the_record_whose_seed_fits(tmp_path: Path) -> None:
    marked = open_noise_mark(tmp_path, "gaussian-shading").shape(drawn(), 21)
    noise = recovered(marked, 0.6)

    def read(*known: tuple[str, int]) -> WatermarkReport:
        return open_latent_reader(tmp_path, recovering(noise), lambda: known).read(NO_PIXELS)

    found = read(("first", 20), ("second", 21), ("", 22))
    assert found.found
    assert (found.record_id, found.method) == ("second", "gaussian-shading")
    assert found.p_value <= 1e-6

    twice = read(("one", 21), ("other", 21))
    assert twice.found
    assert twice.record_id is None

    missed = read(("first", 20))
    assert missed.tested
    assert not missed.found
    assert missed.p_value > 1e-3


def test_a_reader_needs_no_history_for_tree_ring_and_reads_marks_of_earlier_keys() -> None:
    rings = open_latent_mark("tree-ring", OTHER).shape(drawn(), 0)
    marks = [open_latent_mark(method, key) for key in (KEY, OTHER) for method in METHODS]
    noises = recovering(drawn(STABLE, 4), recovered(rings, 0.8))
    report = LatentReader(marks, noises, tuple).read(NO_PIXELS)
    assert report.found
    assert report.method == "tree-ring"
    alone = open_latent_mark("tree-ring", OTHER).evidence(recovered(rings, 0.8), [])
    assert report.p_value == pytest.approx(4 * alone.p_value)  # two keys, two models


def test_a_reader_that_cannot_look_says_so(tmp_path: Path) -> None:
    def cold(pixels: Pixels) -> Sequence[Noise]:
        raise Unavailable("The model is not loaded.")

    assert not open_latent_reader(tmp_path, cold, tuple).read(NO_PIXELS).tested
    assert not open_latent_reader(tmp_path, recovering(drawn((1, 4, 4, 4))), tuple).read(NO_PIXELS).tested
