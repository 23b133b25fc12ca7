import gc
import time
import weakref

import numpy as np
import pytest

from mmedge.profiling import latency
from mmedge.profiling.latency import measure_interleaved


def quick(candidates, **options):
    return measure_interleaved(candidates, **{"seconds": 0.0, "warmup_seconds": 0.05} | options)


def spin(milliseconds: float) -> None:
    end = time.process_time() + milliseconds / 1e3
    while time.process_time() < end:
        pass


def test_the_slower_candidate_has_the_larger_ratio():
    measured = quick(
        {
            "slow": lambda: time.sleep(0.02),
            "fast": lambda: time.sleep(0.001),
            "slower": lambda: time.sleep(0.06),
        }
    )
    assert set(measured.ratios) == {"fast", "slower"}
    assert measured.ratios["fast"].high < 1 < measured.ratios["slower"].low
    assert measured.summaries["fast"].p50_ms < measured.summaries["slow"].p50_ms
    assert measured.summaries["slow"].p50_ms >= 20


def test_a_candidate_is_no_faster_than_itself():
    call = lambda: time.sleep(0.005)  # noqa: E731
    ratio = quick({"one": call, "other": call}, seconds=0.5).ratios["other"]
    assert ratio.low <= ratio.value <= ratio.high
    assert 0.5 < ratio.value < 2


def test_samples_are_rounds_by_calls():
    measured = quick({"a": lambda: None, "b": lambda: time.sleep(0.03)}, min_rounds=8)
    assert measured.rounds == 8
    assert measured.samples_ms["a"].shape == (8, latency.BLOCK_CALLS)
    assert measured.samples_ms["b"].shape == (8, 1)
    assert all(summary.count == measured.samples_ms[name].size
               for name, summary in measured.summaries.items())  # fmt: skip


def test_rounds_go_on_until_the_time_is_up():
    measured = quick({"a": lambda: time.sleep(0.001)}, seconds=0.6, min_rounds=1)
    assert measured.rounds > latency.MIN_ROUNDS
    assert measured.wall_seconds >= 0.6
    assert measured.ratios == {}


def test_fewer_rounds_than_an_interval_needs_are_never_run():
    assert quick({"a": lambda: None}, min_rounds=1).summaries["a"].p50_interval_ms is not None


def test_blocks_change_places_between_rounds():
    calls = []
    quick({name: (lambda name=name: calls.append(name) or time.sleep(0.03)) for name in "abc"},
          min_rounds=12, warmup_seconds=0)  # fmt: skip
    blocks = calls[3::2]  # a warm-up call each, then an untimed and a timed call per block
    assert calls[4::2] == blocks[: len(calls[4::2])]
    rounds = [tuple(blocks[i : i + 3]) for i in range(0, 36, 3)]
    assert all(sorted(order) == ["a", "b", "c"] for order in rounds)
    assert len({order[0] for order in rounds}) == 3


def test_the_first_call_of_a_block_is_not_timed():
    """A cold first call, as after a switch between engines, must not reach the samples."""
    last_call = [0.0]

    def cold_after_a_pause():
        pause = time.perf_counter() - last_call[0]
        time.sleep(0.1 if pause > 0.004 else 0.012)
        last_call[0] = time.perf_counter()

    measured = quick({"a": cold_after_a_pause}, warmup_seconds=1.0)
    assert measured.summaries["a"].p50_ms < 100
    assert measured.samples_ms["a"].shape[1] > 1


def test_cpu_time_counts_work_but_not_sleep():
    measured = quick({"sleeps": lambda: time.sleep(0.01), "works": lambda: spin(10)})
    assert measured.cpu_ms_per_call["works"] >= 10
    assert measured.cpu_ms_per_call["sleeps"] < measured.cpu_ms_per_call["works"]


def test_a_steady_candidate_is_warmed_up_and_a_changing_one_is_not():
    duration = [0.001]

    def ever_slower():
        duration[0] *= 1.1
        time.sleep(min(duration[0], 0.05))

    assert quick({"steady": lambda: time.sleep(0.01)}, warmup_seconds=5).warmed_up
    measured = quick({"changing": ever_slower}, warmup_seconds=0.1)
    assert not measured.warmed_up
    assert measured.warmups["changing"].seconds >= 0.1


def test_without_warm_up_time_one_call_is_still_made():
    warmup = quick({"a": lambda: time.sleep(0.03)}, warmup_seconds=0).warmups["a"]
    assert (warmup.calls, warmup.stable) == (1, False)


@pytest.mark.parametrize("enabled", [True, False])
@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError])
def test_garbage_collection_is_off_inside_and_as_before_after_an_error(enabled, error):
    inside = []

    def interrupted():
        inside.append(gc.isenabled())
        if len(inside) > 3:
            raise error

    (gc.enable if enabled else gc.disable)()
    try:
        with pytest.raises(error):
            quick({"a": interrupted})
        assert gc.isenabled() == enabled
    finally:
        gc.enable()
    assert inside
    assert not any(inside)


def test_cycles_that_candidates_leave_behind_do_not_pile_up():
    class Node:
        pass

    nodes: list[weakref.ref] = []

    def make_cycle():
        node = Node()
        node.itself = node
        nodes.append(weakref.ref(node))
        time.sleep(0.01)

    quick({"a": make_cycle})
    alive = sum(node() is not None for node in nodes)
    assert alive < len(nodes) / 2


@pytest.mark.parametrize(
    ("candidates", "options"),
    [({}, {}), ({"a": int}, {"seconds": -1}), ({"a": int}, {"warmup_seconds": -1})],
)
def test_impossible_requests_are_refused(candidates, options):
    with pytest.raises(ValueError, match=r"no candidates|at least 0"):
        quick(candidates, **options)


def test_it_waits_for_threads_that_go_on_spinning():
    """Workers that another engine left spinning must not run into the next one's block."""
    import threading

    overlaps = []
    spinning = threading.Event()

    def spin_on():
        spin(25)
        spinning.clear()

    def leaves_a_spinning_worker():
        spinning.set()
        worker = threading.Thread(target=spin_on)
        worker.start()
        time.sleep(0.03)

    def next_engine():
        overlaps.append(spinning.is_set())
        time.sleep(0.03)

    quick({"first": leaves_a_spinning_worker, "second": next_engine}, warmup_seconds=0)
    assert np.mean(overlaps[1:]) < 0.5
