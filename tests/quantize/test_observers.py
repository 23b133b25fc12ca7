"""Histograms over a stream, and the ranges that observers choose."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from mmedge.quantize.histogram import BINS, CHUNK, Histogram
from mmedge.quantize.number_formats import INT4, INT8, UINT8
from mmedge.quantize.observers import OBSERVERS, entropy, min_max, mse, percentile
from mmedge.quantize.scheme import Scheme, parameters, rounded

SIGNED, UNSIGNED = Scheme(INT8), Scheme(UINT8, symmetric=False)
BATCH = hnp.arrays(np.float32, st.integers(1, 40), elements=st.floats(-1e6, 1e6, width=32))


def histogram_of(*tensors):
    seen = Histogram()
    for tensor in tensors:
        seen.add(tensor)
    return seen


@given(st.lists(BATCH, min_size=1, max_size=6))
def test_every_value_is_counted_once_in_a_bin_that_holds_it(batches):
    seen = histogram_of(*batches)
    everything = np.concatenate(batches)
    assert seen.values == everything.size == seen.counts.sum() + seen.zeros
    assert (seen.low, seen.high) == (everything.min(), everything.max())
    places = np.flatnonzero(seen.counts)
    for place in places:
        reach = seen.reach / BINS * 1.01
        assert (np.abs(everything - seen.centres[place]) <= reach).any()


def test_values_that_are_not_finite_are_counted_apart():
    seen = histogram_of(np.array([1.0, np.nan, np.inf, -np.inf, 0.0]))
    assert (seen.values, seen.not_finite, seen.zeros, seen.low, seen.high) == (2, 3, 1, 0.0, 1.0)


def test_a_constant_is_known():
    assert histogram_of(np.full(9, 3.0)).is_constant
    assert not histogram_of(np.full(9, 3.0), np.zeros(1)).is_constant
    assert not Histogram().is_constant


def test_memory_does_not_grow_with_the_stream():
    seen = Histogram()
    for scale in (1e-3, 1.0, 1e3):
        seen.add(np.full(CHUNK + 1, scale, np.float32))
    assert seen.counts.nbytes == BINS * 8
    assert seen.values == 3 * (CHUNK + 1)


@settings(max_examples=50)
@given(st.lists(BATCH, min_size=1, max_size=3), st.sampled_from(sorted(OBSERVERS)))
def test_every_range_contains_zero_and_nothing_beyond_what_was_seen(batches, name):
    seen = histogram_of(*batches)
    for scheme in (SIGNED, UNSIGNED):
        low, high = OBSERVERS[name](seen, scheme)
        assert min(seen.low, 0) <= low <= 0 <= high <= max(seen.high, 0)


def test_a_percentile_leaves_outliers_out():
    draw = np.random.default_rng(0)
    values = np.append(draw.normal(size=100_000), [1e3, -1e3])
    low, high = percentile(histogram_of(values), SIGNED)
    assert -60 < low < -3 < 3 < high < 60
    assert min_max(histogram_of(values), SIGNED) == (-1e3, 1e3)


def test_a_percentile_counts_the_zeros():
    values = np.concatenate([np.zeros(999_000), np.linspace(1, 2, 1000)])
    low, high = percentile(histogram_of(values), UNSIGNED, share=99.98)
    assert low == 0
    assert 1.9 < high < 2


@pytest.mark.parametrize("scheme", [SIGNED, UNSIGNED, Scheme(INT4)], ids=["int8", "uint8", "int4"])
def test_mse_has_the_least_error_of_all(scheme):
    draw = np.random.default_rng(1)
    values = draw.standard_t(3, size=200_000).astype(np.float32)
    seen = histogram_of(values)

    def error(found):
        return ((rounded(values, parameters(*found, scheme)) - values) ** 2).mean()

    best = error(mse(seen, scheme))
    for other in (min_max, percentile, entropy):
        assert best <= error(other(seen, scheme)) * 1.02
    assert best < 0.9 * error(min_max(seen, scheme))


def test_entropy_clips_a_long_tail_and_not_a_uniform_distribution():
    draw = np.random.default_rng(2)
    tail = draw.normal(size=200_000)
    tail[:20] = 200.0
    assert entropy(histogram_of(tail), SIGNED)[1] < 100
    flat = draw.uniform(-1, 1, size=200_000)
    assert entropy(histogram_of(flat), SIGNED)[1] > 0.9
