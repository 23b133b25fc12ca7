"""The runner on a device and an engine of the host: all of it but the GPU itself."""

from __future__ import annotations

import threading
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from host_device import GPU, HostDevice
from host_engine import HostEngine, Tensor
from hypothesis import given, settings
from hypothesis import strategies as st

from mmedge.errors import BuildError, InputError, MmedgeError, ResourceError
from mmedge.generation import Generation
from mmedge.runtime.kv_cache import cached_step
from mmedge.runtime.runner import Binding, GrowingBinding
from mmedge.runtime.tensorrt.runner import TensorRTRunner
from mmedge.tensors import Array, TensorSpec
from mmedge.wiring import ComponentSpec

ROWS = (((1, 3), (2, 3), (8, 3)),)


def scale(device: HostDevice, **changes: Any) -> HostEngine:
    """y = x * [1, 2, 3]."""
    tensors = {
        "x": Tensor("INPUT", "float32", (-1, 3), profiles=ROWS),
        "y": Tensor("OUTPUT", "float32", (-1, 3)),
    }

    def compute(inputs: dict[str, Array]) -> dict[str, Array]:
        return {"y": inputs["x"] * np.array([1, 2, 3], "float32")}

    return replace(HostEngine(device, tensors, compute), **changes)


def decoder(device: HostDevice) -> HostEngine:
    """The cache gets the new tokens' values appended; the logits are the sum of all of it."""
    prompt, token = ((1, 1), (1, 4), (2, 16)), ((1, 1), (1, 1), (2, 1))
    none, some = ((1, 0, 2), (1, 0, 2), (2, 0, 2)), ((1, 1, 2), (1, 8, 2), (2, 32, 2))
    tensors = {
        "ids": Tensor("INPUT", "int64", (-1, -1), profiles=(prompt, token)),
        "past": Tensor("INPUT", "float32", (-1, -1, 2), profiles=(none, some)),
        "logits": Tensor("OUTPUT", "float32", (-1,)),
        "present": Tensor("OUTPUT", "float32", (-1, -1, 2)),
    }

    def compute(inputs: dict[str, Array]) -> dict[str, Array]:
        ids = inputs["ids"].astype("float32")
        new = np.stack([ids, -ids], axis=-1)
        present = np.concatenate([inputs["past"], new], axis=1)
        return {"present": present, "logits": present[..., 0].sum(axis=1)}

    return HostEngine(device, tensors, compute, profiles=2)


def runner(engine: HostEngine, **options: Any) -> TensorRTRunner:
    return TensorRTRunner(engine.library, engine, engine.device, component="scale", **options)


def test_a_call_goes_to_the_gpu_and_back_through_pinned_memory() -> None:
    device = HostDevice()
    with runner(scale(device)) as opened:
        assert [str(spec) for spec in opened.input_specs] == ["x: float32[x.0, 3]"]
        assert [str(spec) for spec in opened.output_specs] == ["y: float32[y.0, 3]"]
        for rows in (1, 8, 2):
            x = np.arange(rows * 3, dtype="float32").reshape(rows, 3)
            np.testing.assert_array_equal(opened.infer({"x": x})["y"], x * [1, 2, 3])
    kinds = {(source, target) for source, target, _ in device.copies}
    assert kinds == {("pinned", "device"), ("device", "pinned")}


def test_memory_is_kept_grows_when_needed_and_is_all_given_back() -> None:
    device = HostDevice()
    opened = runner(scale(device))
    x = np.ones((4, 3), "float32")
    first = opened.infer({"x": x})["y"]
    allocations = device.allocations
    second = opened.infer({"x": 2 * x})["y"]
    assert device.allocations == allocations
    assert first[0, 0] == 1  # an output is the caller's, not the next call's
    assert second[0, 0] == 2
    opened.infer({"x": np.ones((8, 3), "float32")})
    assert device.allocations > allocations
    opened.close()
    opened.close()
    assert not device.held
    assert device.open_streams == 0
    assert device.closed
    with pytest.raises(MmedgeError, match="closed"):
        opened.infer({"x": x})


def test_where_the_memory_is_one_nothing_is_copied() -> None:
    device = HostDevice(replace(GPU, unified=True))
    with runner(scale(device)) as opened:
        np.testing.assert_array_equal(
            opened.infer({"x": np.ones((2, 3), "float32")})["y"], [[1, 2, 3]] * 2
        )
        assert {memory.kind for memory in device.held.values()} == {"shared"}
    assert device.copies == []


def test_unfit_feeds_are_refused_and_told_the_allowed_sizes() -> None:
    with runner(scale(HostDevice())) as opened:
        good = np.ones((1, 3), "float32")
        for feed in ({}, {"z": good}, {"x": good[0]}, {"x": good.astype("float64")}, {"x": [1]}):
            with pytest.raises(InputError, match="scale"):
                opened.infer(feed)  # type: ignore[arg-type]
        with pytest.raises(InputError, match="not built for inputs of these sizes") as caught:
            opened.infer({"x": np.ones((9, 3), "float32")})
        assert caught.value.details["expected"] == "profile 0: x [1..8, 3]"
        assert "--shape" in str(caught.value)


@given(
    dtype=st.sampled_from(["float32", "float16", "int8", "int32", "int64", "uint8", "bool"]),
    shape=st.lists(st.integers(0, 3), max_size=3).map(tuple),
    unified=st.booleans(),
)
@settings(max_examples=60, deadline=None)
def test_every_type_and_shape_passes_unchanged(
    dtype: str, shape: tuple[int, ...], unified: bool
) -> None:
    tensors = {"x": Tensor("INPUT", dtype, shape), "y": Tensor("OUTPUT", dtype, shape)}
    device = HostDevice(replace(GPU, unified=unified))
    engine = HostEngine(device, tensors, lambda inputs: {"y": inputs["x"]})
    x = np.random.default_rng(0).integers(0, 2, shape).astype(dtype)
    with runner(engine) as opened:
        y = opened.infer({"x": x})["y"]
    assert y.dtype == x.dtype
    np.testing.assert_array_equal(y, x)


def test_a_view_is_taken_as_it_reads() -> None:
    x = np.arange(24, dtype="float32").reshape(3, 8)
    with runner(scale(HostDevice())) as opened:
        y = opened.infer({"x": x[:, ::3].T[:, ::-1]})["y"]
        np.testing.assert_array_equal(y, x[:, ::3].T[:, ::-1] * [1, 2, 3])


def test_a_type_that_numpy_has_not_is_refused() -> None:
    device = HostDevice()
    tensors = {"x": Tensor("INPUT", "bfloat16", (1,))}
    engine = HostEngine(device, tensors, lambda inputs: {})
    with pytest.raises(BuildError, match="numpy does not have") as caught:
        runner(engine)
    assert caught.value.details["found"] == "BF16"
    assert device.closed


def test_an_output_of_unknown_size_is_allocated_by_the_engine() -> None:
    device = HostDevice()
    tensors = {
        "x": Tensor("INPUT", "float32", (-1,), profiles=(((1,), (4,), (100,)),)),
        "where": Tensor("OUTPUT", "int64", (-1, 1)),
    }
    engine = HostEngine(
        device, tensors, lambda i: {"where": np.argwhere(i["x"])}, unknown=frozenset({"where"})
    )
    with runner(engine, cuda_graph=True) as opened:
        for x in (np.eye(10)[3], np.ones(100), np.zeros(5), np.ones(2)):
            found = opened.infer({"x": x.astype("float32")})["where"]
            np.testing.assert_array_equal(found, np.argwhere(x))
    assert not device.held
    assert device.captures == 0  # such a call cannot be captured


def test_no_room_for_an_output_of_unknown_size_is_said_after_the_call() -> None:
    device = HostDevice(replace(GPU, memory_bytes=2000))
    tensors = {
        "x": Tensor("INPUT", "float32", (-1,), profiles=(((1,), (4,), (100,)),)),
        "where": Tensor("OUTPUT", "int64", (-1, 1)),
    }
    engine = HostEngine(
        device, tensors, lambda i: {"where": np.argwhere(i["x"])}, unknown=frozenset({"where"})
    )
    with runner(engine) as opened:
        with pytest.raises(ResourceError, match="no memory left"):
            opened.infer({"x": np.ones(90, "float32")})
        # The runner is as good as before.
        assert len(opened.infer({"x": np.ones(2, "float32")})["where"]) == 2


def test_tensors_that_shapes_follow_from_are_on_the_host() -> None:
    tensors = {
        "size": Tensor("INPUT", "int64", (1,), location="HOST"),
        "ones": Tensor("OUTPUT", "float32", (-1,)),
        "total": Tensor("OUTPUT", "int64", (1,), location="HOST"),
    }
    device = HostDevice()
    engine = HostEngine(
        device,
        tensors,
        lambda i: {"ones": np.ones(int(i["size"][0]), "float32"), "total": i["size"] + 1},
    )
    with runner(engine, cuda_graph=True) as opened:
        for size in (3, 0, 5, 5, 5):
            outputs = opened.infer({"size": np.array([size])})
            assert outputs["ones"].shape == (size,)
            assert outputs["total"].tolist() == [size + 1]


def test_what_tensorrt_says_is_in_the_error() -> None:
    with (
        runner(scale(HostDevice(), fails="cask: no kernel")) as opened,
        pytest.raises(MmedgeError, match="TensorRT failed in component 'scale'") as caught,
    ):
        opened.infer({"x": np.ones((1, 3), "float32")})
    assert caught.value.details["found"] == "cask: no kernel"


def test_repeated_calls_are_captured_once_and_then_launched() -> None:
    device = HostDevice()
    with runner(scale(device), cuda_graph=True) as opened:
        for number, rows in enumerate((2, 2, 2, 2, 3, 3, 3)):
            x = np.full((rows, 3), number, "float32")
            np.testing.assert_array_equal(opened.infer({"x": x})["y"], x * [1, 2, 3])
    # Of each shape the first call is made, the second captured, and every one after it launched.
    assert (device.captures, device.launches) == (2, 5)


def test_without_graphs_the_option_changes_nothing() -> None:
    device = HostDevice(graphs=False)
    with runner(scale(device), cuda_graph=True) as opened:
        for _ in range(3):
            y = opened.infer({"x": np.ones((1, 3), "float32")})["y"]
            np.testing.assert_array_equal(y, [[1, 2, 3]])
    assert device.launches == 0


@pytest.mark.parametrize("cuda_graph", [False, True])
@pytest.mark.parametrize("unified", [False, True])
def test_a_growing_cache_stays_on_the_gpu(cuda_graph: bool, unified: bool) -> None:
    device = HostDevice(replace(GPU, unified=unified))
    engine = decoder(device)
    with runner(engine, cuda_graph=cuda_graph) as opened:
        assert isinstance(opened, Binding)
        assert isinstance(opened, GrowingBinding)
        for _generation in range(2):
            step = opened.bound({"past": "present"}, {"past": np.zeros((1, 0, 2), "float32")})
            total = 0.0
            for ids in ([[1, 2, 3]], [[4]], [[5]], [[6]]):
                device.copies.clear()
                outputs = step({"ids": np.array(ids)})
                total += sum(ids[0])
                assert set(outputs) == {"logits"}
                assert outputs["logits"].tolist() == [total]
                # Nothing crosses but the new ids and the logits.
                expected = 0 if unified else 8 * len(ids[0]) + 4
                assert sum(size for *_, size in device.copies) == expected
    assert engine.contexts[0].profiles == [0, 1, 0, 1]
    assert not device.held


def test_a_cache_starts_as_what_it_is_given_and_equals_infer() -> None:
    device = HostDevice()
    past = np.arange(12, dtype="float32").reshape(2, 3, 2)
    ids = np.array([[7], [8]])
    with runner(decoder(device)) as opened:
        plain = opened.infer({"ids": ids, "past": past})
        step = opened.bound({"past": "present"}, {"past": past})
        np.testing.assert_array_equal(step({"ids": ids})["logits"], plain["logits"])
        with pytest.raises(InputError):
            step({"ids": ids, "past": past})
        again = opened.infer({"ids": ids, "past": plain["present"]})
        np.testing.assert_array_equal(step({"ids": ids})["logits"], again["logits"])


def test_only_the_last_cache_that_was_bound_is_good() -> None:
    with runner(decoder(HostDevice())) as opened:
        empty = {"past": np.zeros((1, 0, 2), "float32")}
        old = opened.bound({"past": "present"}, empty)
        new = opened.bound({"past": "present"}, empty)
        with pytest.raises(MmedgeError, match="another cache"):
            old({"ids": np.array([[1]])})
        assert new({"ids": np.array([[1]])})["logits"].tolist() == [1]


def test_a_cache_longer_than_the_profiles_is_refused_and_nothing_is_lost() -> None:
    with runner(decoder(HostDevice())) as opened:
        step = opened.bound({"past": "present"}, {"past": np.zeros((1, 32, 2), "float32")})
        step({"ids": np.array([[1]])})
        with pytest.raises(InputError) as caught:
            step({"ids": np.array([[1]])})
        assert str(caught.value.details["expected"]).splitlines() == [
            "profile 0: ids [1..2, 1..16], past [1..2, 0, 2]",
            "profile 1: ids [1..2, 1], past [1..2, 1..32, 2]",
        ]


def test_threads_take_turns() -> None:
    results: dict[int, Array] = {}
    with runner(scale(HostDevice())) as opened:

        def call(number: int) -> None:
            for _ in range(20):
                results[number] = opened.infer({"x": np.full((number, 3), number, "float32")})["y"]

        threads = [threading.Thread(target=call, args=(n,)) for n in range(1, 7)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    for number in range(1, 7):
        np.testing.assert_array_equal(results[number], [[number, 2 * number, 3 * number]] * number)


def test_a_generation_leaves_its_growing_cache_on_the_gpu() -> None:
    """The loop binds the cache by itself, and gets the logits it would get through the host."""
    device = HostDevice()
    engine = decoder(device)
    compute = engine.compute
    engine.tensors = {**engine.tensors, "logits": Tensor("OUTPUT", "float32", (-1, 1, 1))}

    def with_positions(inputs: dict[str, Array]) -> dict[str, Array]:
        outputs = compute(inputs)
        return {**outputs, "logits": outputs["logits"][:, None, None]}

    engine.compute = with_positions
    ids = TensorSpec("ids", "int64", ("batch", "length"))
    past = TensorSpec("past", "float32", ("batch", "past", 2))
    component = ComponentSpec("decoder", "text", (ids, past), (), {})
    generation = Generation(
        decoder="decoder", token_input="ids", logits_output="logits", cache={"past": "present"},
        start_token_ids=(1,), end_token_ids=(2,), pad_token_id=0, max_new_tokens=4,
    )  # fmt: skip
    with runner(engine) as opened:
        plain = cached_step(generation, component, opened.infer, 2)
        bound = cached_step(
            generation, component, opened.infer, 2, bind=lambda _name, *cache: opened.bound(*cache)
        )
        for tokens in ([[1, 2], [3, 4]], [[5], [6]], [[7], [8]]):
            through_host = plain({"ids": np.array(tokens)})
            device.copies.clear()
            np.testing.assert_array_equal(bound({"ids": np.array(tokens)}), through_host)
            assert sum(size for *_, size in device.copies) == np.array(tokens).nbytes + 8
