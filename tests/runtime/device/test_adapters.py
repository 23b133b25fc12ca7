"""Each adapter uses what its library has; on a GPU also that it does what the protocol says."""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from host_device import HostDevice
from host_driver import build_driver

from mmedge.errors import MissingDependencyError, ResourceError
from mmedge.runtime.device.gpu import find_gpu
from mmedge.runtime.device.open_device import ADAPTERS, installed_library
from mmedge.runtime.device.protocol import Device
from mmedge.runtime.device.staging import GrowingMemory, Staging

# Module -> what its adapter uses of it, written as the adapter writes it.
USED = {
    "cuda.bindings.driver": """
        cuMemGetInfo cuMemAlloc cuMemFree cuMemHostAlloc cuMemFreeHost cuMemHostGetDevicePointer
        cuMemcpyAsync CUresult.CUDA_SUCCESS CUresult.CUDA_ERROR_OUT_OF_MEMORY
        CU_MEMHOSTALLOC_DEVICEMAP cuStreamBeginCapture cuStreamEndCapture cuGraphInstantiate
        cuGraphLaunch cuGraphDestroy cuGraphExecDestroy
        CUstreamCaptureMode.CU_STREAM_CAPTURE_MODE_RELAXED""",
    "cuda.core": """
        Device.set_current Device.create_stream Device.create_event StreamOptions EventOptions
        Stream.handle Stream.sync Stream.close Stream.record Event.sync Event.__sub__""",
    "pycuda.driver": """
        init Device.retain_primary_context Context.push Context.pop Context.detach mem_get_info
        mem_alloc DeviceAllocation.free DeviceAllocation.__int__ pagelocked_empty
        PagelockedHostAllocation.free PagelockedHostAllocation.get_device_pointer
        host_alloc_flags.DEVICEMAP Stream.synchronize Stream.handle Event.record Event.synchronize
        Event.time_since memcpy_htod_async memcpy_dtoh_async memcpy_dtod_async MemoryError""",
}


@pytest.mark.parametrize("module", USED)
def test_the_library_has_what_the_adapter_uses(module: str) -> None:
    try:
        library = importlib.import_module(module)
    except ImportError as error:
        pytest.skip(f"not installed here: {error}")
    missing = []
    for path in USED[module].split():
        value: object = library
        for part in path.split("."):
            value = getattr(value, part, None)
        missing += [path] if value is None else []
    assert missing == []


def test_the_adapters_name_all_that_they_use() -> None:
    """A name of a driver function that an adapter has and the table above has not."""
    for module, place in (
        ("cuda.bindings.driver", "cuda_core"),
        ("pycuda.driver", "pycuda_driver"),
    ):
        name = f"mmedge.runtime.device.{place}"
        text = inspect.getsource(importlib.import_module(name))
        words = set(text.replace('"', " ").replace("(", " ").replace(".", " ").split())
        used = set(USED[module].replace(".", " ").split())
        found = {
            w
            for w in words
            if w.startswith(("cuMem", "cuStream", "cuGraph", "memcpy_", "mem_", "pagelocked_"))
        }
        found -= {"mem_flags=flags)"}
        assert found <= used


def test_one_library_is_taken_or_both_are_named() -> None:
    there = [name for name in ADAPTERS if importlib.util.find_spec(name.split(".")[0])]
    if there:
        assert installed_library() == there[0]
        return
    with pytest.raises(MissingDependencyError, match="neither is installed") as caught:
        installed_library()
    assert caught.value.details["expected"] == " or ".join(ADAPTERS)


@pytest.fixture(params=["host", *ADAPTERS])
def device(request: pytest.FixtureRequest) -> Iterator[Device]:
    """Every device that this machine has; the host's own is one."""
    if request.param == "host":
        yield HostDevice()
        return
    module, _, name = ADAPTERS[request.param].partition(":")
    try:
        opened = getattr(importlib.import_module(module), name)(find_gpu())
    except MissingDependencyError as error:
        pytest.skip(error.what)
    yield opened
    opened.close()


def test_bytes_cross_and_come_back(device: Device) -> None:
    data = np.arange(1000, dtype="int64")
    with device.active():
        stream = device.stream()
        there, back = Staging(device), Staging(device)
        there.write(data, stream)
        source, target = device.allocate(8000, "pinned"), device.allocate(8000, "device")
        assert source.host is not None
        source.host[:] = data.view("uint8")
        device.copy(target, source, size_bytes=8000, stream=stream)
        middle, last = device.allocate(8000, "device"), device.allocate(8000, "pinned")
        device.copy(middle, target, size_bytes=8000, stream=stream)
        device.copy(last, middle, size_bytes=8000, stream=stream)
        stream.synchronize()
        assert last.host is not None
        np.testing.assert_array_equal(last.host.view("int64"), data)
        for memory in (source, target, middle, last, there, back):
            memory.free()
            memory.free()
        stream.close()


def test_captured_work_is_done_when_it_is_launched(device: Device) -> None:
    with device.active():
        stream = device.stream()
        source, target = device.allocate(8, "pinned"), device.allocate(8, "pinned")
        middle = device.allocate(8, "device")
        assert source.host is not None
        assert target.host is not None

        def work() -> None:
            device.copy(middle, source, size_bytes=8, stream=stream)
            device.copy(target, middle, size_bytes=8, stream=stream)

        graph = device.capture(stream, work)
        if graph is None:
            pytest.skip(f"{device.library} has no graphs")
        source.host[:] = 5
        graph.launch(stream)
        stream.synchronize()
        # The stand-in for a driver does what it is told at once, and keeps nothing to be done.
        assert device.gpu.name == "Host" or target.host.tolist() == [5] * 8
        graph.close()
        for memory in (source, middle, target):
            memory.free()
        stream.close()


def test_no_room_is_said_in_one_sentence(device: Device) -> None:
    with device.active(), pytest.raises(ResourceError, match="the GPU has no memory left"):
        device.allocate(2**50, "device")


@pytest.mark.parametrize("kind", ["device", "pinned", "shared"])
def test_memory_has_an_address_even_of_no_bytes(device: Device, kind: str) -> None:
    with device.active():
        memory = device.allocate(0, kind)  # type: ignore[arg-type]
        assert memory.address != 0
        assert (memory.host is None) == (kind == "device")
        memory.free()


def test_memory_grows_ahead_of_what_is_asked(device: Device) -> None:
    with device.active():
        memory = GrowingMemory(device, "device")
        sizes = {memory.of(size).size_bytes for size in range(1000, 2000)}
        assert len(sizes) <= 3  # not one block for each length of a cache
        memory.free()


def test_events_tell_the_time_between_them(device: Device) -> None:
    with device.active():
        stream, first, last = device.stream(), device.event(), device.event()
        first.record(stream)
        last.record(stream)
        assert 0 <= last.milliseconds_since(first) < 1000
        stream.close()


def test_free_memory_gets_less(device: Device) -> None:
    with device.active():
        before = device.free_bytes()
        memory = device.allocate(8 * 2**20, "device")
        assert device.free_bytes() < before
        memory.free()


def test_cuda_core_does_so_with_a_driver_that_needs_no_gpu(tmp_path: Path) -> None:
    """All of the above again, by the real package, in a process that finds our own driver."""
    try:
        importlib.import_module("cuda.core")
    except ImportError as error:
        pytest.skip(f"not installed here: {error}")
    build_driver(tmp_path / "driver")
    mine = [sys.executable, "-m", "pytest", __file__, "-q", "-k", "cuda.core and not needs_no_gpu"]
    done = subprocess.run(
        [*mine, "-p", "no:cacheprovider", "-n0", "-rs"],
        env={**os.environ, "LD_LIBRARY_PATH": str(tmp_path / "driver")},
        capture_output=True,
        text=True,
        timeout=120,
        cwd=Path(__file__).parents[3],
    )
    assert done.returncode == 0, done.stdout
    assert "SKIPPED" not in done.stdout
