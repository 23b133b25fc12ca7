import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from mmedge.profiling import statistics
from mmedge.profiling.statistics import LatencySummary, paired_ratio, summarise

latency = st.floats(min_value=1e-3, max_value=1e4)
samples = arrays(np.float64, st.integers(1, 150), elements=latency)
rounds = st.tuples(st.integers(6, 40), st.integers(1, 4)).flatmap(
    lambda shape: arrays(np.float64, shape, elements=latency)
)
# Powers of two scale without rounding, so that everything must follow exactly.
powers = st.integers(-6, 6).map(lambda exponent: 2.0**exponent)
fast = settings(max_examples=40, deadline=None)
MILLISECONDS = ("mean_ms", "p50_ms", "p90_ms", "p95_ms", "p99_ms", "max_ms")


def noisy(generator: np.random.Generator, shape, *, median=10.0, spread=0.1):
    return median * np.exp(spread * generator.standard_normal(shape))


@fast
@given(samples)
def test_percentiles_are_ordered_and_within_the_samples(values):
    summary = summarise(values)
    ordered = [values.min(), summary.p50_ms, summary.p90_ms, summary.p95_ms, summary.p99_ms]
    slack = 1e-12 * summary.max_ms
    assert all(a <= b + slack for a, b in zip(ordered, [*ordered[1:], summary.max_ms], strict=True))
    assert summary.count == values.size
    assert 0 <= summary.outlier_share < 1


@fast
@given(samples)
def test_intervals_hold_their_estimate_or_are_absent(values):
    summary = summarise(values)
    needed = {"p50": 6, "p90": 100, "p99": 1000}
    for name, count in needed.items():
        interval = getattr(summary, f"{name}_interval_ms")
        assert (interval is not None) == (values.size >= count)
        if interval is not None:
            assert interval.low <= getattr(summary, f"{name}_ms") <= interval.high
            assert values.min() <= interval.low <= interval.high <= values.max()


@fast
@given(samples, powers)
def test_scaling_the_samples_scales_the_summary(values, factor):
    before, after = summarise(values), summarise(values * factor)
    for name in MILLISECONDS:
        assert getattr(after, name) == getattr(before, name) * factor
    if before.p50_interval_ms is not None:
        assert after.p50_interval_ms.low == before.p50_interval_ms.low * factor
        assert after.p50_interval_ms.high == before.p50_interval_ms.high * factor
    assert after.drift == before.drift
    assert (after.drifted, after.outlier_share) == (before.drifted, before.outlier_share)


@fast
@given(rounds, powers)
def test_a_candidate_that_is_the_baseline_scaled_has_exactly_that_ratio(baseline, factor):
    ratio = paired_ratio(baseline, baseline * factor)
    assert (ratio.value, ratio.low, ratio.high) == (factor, factor, factor)


@fast
@given(rounds, st.randoms(use_true_random=False))
def test_swapping_the_runs_inverts_the_ratio(baseline, random):
    candidate = baseline[::-1] * random.uniform(0.5, 2)
    forward, backward = paired_ratio(baseline, candidate), paired_ratio(candidate, baseline)
    assert forward.low <= forward.value <= forward.high
    assert backward.value == pytest.approx(1 / forward.value)
    assert backward.low == pytest.approx(1 / forward.high)
    assert backward.high == pytest.approx(1 / forward.low)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ([], "empty"),
        ([[]], "empty"),
        ([1.0, float("nan")], "not finite"),
        ([1.0, float("inf")], "not finite"),
        ([1.0, 0.0], "above 0"),
        ([1.0, -1.0], "above 0"),
        (np.ones((2, 2, 2)), "shape"),
    ],
)
def test_impossible_samples_are_refused(values, message):
    with pytest.raises(ValueError, match=message):
        summarise(values)
    with pytest.raises(ValueError, match=message):
        paired_ratio(np.ones(6), values)
    with pytest.raises(ValueError, match=message):
        paired_ratio(values, np.ones(6))


def test_runs_that_do_not_pair_are_refused():
    with pytest.raises(ValueError, match="same rounds: 7 of the baseline, 8"):
        paired_ratio(np.ones(7), np.ones(8))
    with pytest.raises(ValueError, match="5 rounds are too few"):
        paired_ratio(np.ones(5), np.ones(5))


def test_known_values():
    summary = summarise(np.arange(1.0, 102.0))
    assert (summary.p50_ms, summary.p90_ms, summary.p95_ms) == (51, 91, 96)
    assert (summary.p99_ms, summary.max_ms, summary.mean_ms) == (100, 101, 51)
    assert summarise([*[1.0, 1.1] * 45, *[50.0] * 10]).outlier_share == 0.1


def test_a_thousand_samples_have_all_three_intervals():
    values = noisy(np.random.default_rng(0), 1000)
    summary = summarise(values)
    for name in ("p50", "p90", "p99"):
        interval = getattr(summary, f"{name}_interval_ms")
        assert interval.low < getattr(summary, f"{name}_ms") < interval.high


def test_five_rounds_of_many_calls_give_no_interval():
    assert summarise(noisy(np.random.default_rng(0), (5, 100))).p50_interval_ms is None
    assert summarise(noisy(np.random.default_rng(0), (6, 100))).p50_interval_ms is not None


@pytest.mark.parametrize("count", [12, 100])
def test_the_interval_of_the_median_covers_the_truth_as_often_as_it_says(count):
    generator = np.random.default_rng(7)
    intervals = [summarise(noisy(generator, count)).p50_interval_ms for _ in range(200)]
    covered = np.mean([interval.low <= 10 <= interval.high for interval in intervals])
    assert 0.89 <= covered < 1


def test_the_interval_narrows_with_more_samples():
    generator = np.random.default_rng(0)
    few, many = (summarise(noisy(generator, n)).p50_interval_ms for n in (50, 2000))
    assert many.high - many.low < (few.high - few.low) / 3


def test_correlated_samples_have_a_wider_interval_than_shuffled_ones():
    generator = np.random.default_rng(3)
    walk = np.convolve(generator.standard_normal(600), np.ones(15) / 15, mode="valid")
    correlated = 10 * np.exp(walk)
    shuffled = generator.permutation(correlated)
    widths = [
        i.high - i.low for i in (summarise(v).p50_interval_ms for v in (correlated, shuffled))
    ]
    assert widths[0] > 1.5 * widths[1]


def test_rounds_that_differ_are_resampled_whole():
    """20 rounds of 10 equal calls hold 20 observations, not 200."""
    per_round = noisy(np.random.default_rng(1), 20)
    whole = summarise(np.repeat(per_round[:, None], 10, axis=1)).p50_interval_ms
    assert whole == summarise(per_round).p50_interval_ms


def test_drift_is_seen_and_steadiness_too():
    generator = np.random.default_rng(0)
    heating = noisy(generator, 200, spread=0.03) * np.linspace(1, 1.3, 200)
    assert summarise(heating).drifted
    assert summarise(heating).drift.low > 1.02
    assert summarise(heating[::-1]).drifted
    assert not summarise(noisy(generator, 200, spread=0.03)).drifted


def test_a_change_too_small_to_matter_is_no_drift():
    steps = np.repeat([10.0, 10.1], 100)
    assert not summarise(steps).drifted
    assert summarise(np.repeat([10.0, 10.5], 100)).drifted


@pytest.mark.parametrize("count", [1, 11])
def test_too_few_samples_say_nothing_of_drift(count):
    summary = summarise(np.linspace(1, 100, count))
    assert (summary.drift, summary.drifted) == (None, False)


def test_what_slows_both_in_a_round_cancels_in_the_ratio():
    generator = np.random.default_rng(0)
    machine = np.exp(0.5 * generator.standard_normal((60, 1)))
    baseline = machine * noisy(generator, (60, 3), spread=0.01)
    candidate = machine * noisy(generator, (60, 5), spread=0.01) * 0.9
    paired = paired_ratio(baseline, candidate)
    unpaired = paired_ratio(baseline, generator.permutation(candidate))
    assert paired.low < 0.9 < paired.high < 1
    assert paired.high - paired.low < (unpaired.high - unpaired.low) / 3


def test_batches_do_not_change_the_result(monkeypatch):
    values = noisy(np.random.default_rng(0), (50, 4))
    whole = summarise(values)
    monkeypatch.setattr(statistics, "BATCH_ELEMENTS", 1000)
    batched = summarise(values)
    assert batched.p50_interval_ms.low == pytest.approx(whole.p50_interval_ms.low, rel=0.01)
    assert batched.p50_interval_ms.high == pytest.approx(whole.p50_interval_ms.high, rel=0.01)


def test_the_same_samples_give_the_same_summary():
    values = noisy(np.random.default_rng(0), 120)
    assert summarise(values) == summarise(values.copy())
    assert summarise(values, seed=1) != summarise(values)


def test_a_summary_survives_json():
    summary = summarise(noisy(np.random.default_rng(0), 30))
    assert msgspec.json.decode(msgspec.json.encode(summary), type=LatencySummary) == summary
