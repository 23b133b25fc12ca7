"""Engines are built in a process of their own, which may come to any end."""

from __future__ import annotations

import os
import signal
import threading
import time
from pathlib import Path

import msgspec
import pytest
from tiny_vlm import save_graph

from mmedge.backends.tensorrt import child
from mmedge.backends.tensorrt.builder_config import Settings
from mmedge.backends.tensorrt.child import Order, build_in_child
from mmedge.errors import BuildError, MissingDependencyError

pytest.importorskip("tensorrt_rtx")
ADD = "add (float[2, 4] x) => (float[2, 4] y) { y = Add(x, x) }"


@pytest.fixture
def order(tmp_path: Path) -> Order:
    return Order(
        library="tensorrt_rtx",
        graph=str(save_graph(tmp_path / "add.onnx", ADD)),
        inputs=(),
        profiles=(),
        settings=Settings("8.6"),
        label="add",
        output=str(tmp_path / "add.engine"),
    )


def no_child_is_left() -> bool:
    own = Path("/proc/self/task").glob("*/children")
    return not any(path.read_text().split() for path in own)


def test_it_tells_its_progress_and_what_the_engine_takes(order: Order) -> None:
    lines: list[str] = []
    memory = build_in_child(order, lines.append)
    assert Path(order.output).read_bytes()[:4] == b"vtrt"
    assert "activations_bytes" in memory
    assert all(line.startswith("add: ") and line.endswith("%") for line in lines)
    assert no_child_is_left()


def test_errors_are_those_of_the_child(order: Order) -> None:
    Path(order.graph).write_bytes(b"nonsense")
    with pytest.raises(BuildError, match="does not take the graph of 'add'") as caught:
        build_in_child(order, print)
    assert caught.value.details["where"] == order.graph
    other = msgspec.structs.replace(order, library="tensorrt_of_tomorrow")
    with pytest.raises(MissingDependencyError, match="tensorrt_of_tomorrow"):
        build_in_child(other, print)


@pytest.mark.parametrize(
    ("number", "hint"), [(signal.SIGKILL, "want of memory"), (signal.SIGSEGV, "--opset")]
)
def test_a_child_that_is_killed(order: Order, number: signal.Signals, hint: str) -> None:
    def kill(_line: str) -> None:
        (pid,) = Path(f"/proc/self/task/{threading.get_native_id()}/children").read_text().split()
        os.kill(int(pid), number)
        time.sleep(0.2)

    with pytest.raises(BuildError, match="crashed on the graph of 'add'") as caught:
        build_in_child(order, kill)
    assert number.name in str(caught.value.details["found"])
    assert hint in str(caught.value.details["try"])
    assert not Path(order.output).exists()
    assert no_child_is_left()


def test_an_interrupt_here_ends_it_there(order: Order) -> None:
    def stop(_line: str) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        build_in_child(order, stop)
    assert no_child_is_left()


def test_a_python_that_cannot_even_start(
    order: Order, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = tmp_path / "python"
    broken.write_text("#!/bin/sh\nfor i in $(seq 20000); do echo no such thing >&2; done; exit 3\n")
    broken.chmod(0o755)
    monkeypatch.setattr(child.sys, "executable", str(broken))
    with pytest.raises(BuildError, match="crashed") as caught:
        build_in_child(order, print)
    assert str(caught.value.details["found"]).startswith("exit code 3: no such thing")
    assert str(caught.value.details["found"]).count("no such thing") == child.LAST_LINES
