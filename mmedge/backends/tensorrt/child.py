"""An engine built in a process of its own.

A builder that crashes (TensorRT for RTX 1.7 does, on attention whose query is its key) takes its
process with it, and one that has built keeps much of its memory: of a board with 4 GB the next
engine needs it. The child is this very module; it reads an Order as JSON from stdin, and writes
lines of JSON to stdout: progress, and at the end what was built or the error.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO

import msgspec

import mmedge
from mmedge import errors
from mmedge.backends.tensorrt.build import Progress, build_engine
from mmedge.backends.tensorrt.builder_config import Settings
from mmedge.backends.tensorrt.soname import searching
from mmedge.cache import default_cache_directory
from mmedge.engine_plan import Range
from mmedge.errors import BuildError, MmedgeError
from mmedge.runtime.tensorrt.library import find_library
from mmedge.storage import atomic_file
from mmedge.tensors import TensorSpec

# As many lines of what a crashed child wrote to stderr as a person reads.
LAST_LINES = 5


class Order(msgspec.Struct, frozen=True):
    """What is to be built, and where the engine goes; the arguments of `build_engine`.

    plugins: that the graph needs. plugin_library: the file that has them; None for the twin.
    plugin_capability: of the GPU that they are for.
    """

    library: str
    graph: str
    inputs: tuple[TensorSpec, ...]
    profiles: tuple[dict[str, Range], ...]
    settings: Settings
    label: str
    output: str
    plugins: tuple[str, ...] = ()
    plugin_library: str | None = None
    plugin_capability: str = ""


class Line(msgspec.Struct, frozen=True, omit_defaults=True):
    """One line of the child's stdout; exactly one field is set."""

    progress: str | None = None
    memory: dict[str, int] | None = None
    error: dict[str, str] | None = None


def build_in_child(order: Order, progress: Progress) -> dict[str, int]:
    """Build; returns what the engine will take, in bytes by use.

    Raises what `build_engine` raises, and BuildError where the builder crashed or was killed.
    Whatever is raised here, in `progress` too, the child is gone afterwards.
    """
    with TemporaryFile() as said, _started(said, order) as child:
        try:
            for line in _answers(child, order):
                if line.progress is not None:
                    progress(line.progress)
                elif line.error is not None:
                    raise _as_raised(line.error)
                elif line.memory is not None:
                    return line.memory
            said.seek(0)
            raise _crashed(child.wait(), said.read().decode(errors="replace"), order)
        finally:
            child.kill()


def _started(said: IO[bytes], order: Order) -> subprocess.Popen[bytes]:
    """The child; what it and its libraries print goes to `said`."""
    # It imports this mmedge, wherever the parent has it from.
    path = [str(Path(mmedge.__file__).parents[1]), os.environ.get("PYTHONPATH", "")]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, path))}
    if order.plugins and order.library == "tensorrt_rtx":
        environment = searching(default_cache_directory(), environment)
    return subprocess.Popen(
        [sys.executable, "-m", "mmedge.backends.tensorrt.child"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=said,
        env=environment,
    )


def _answers(child: subprocess.Popen[bytes], order: Order) -> Iterator[Line]:
    """Give the order, and yield what is told until the child has no more to tell."""
    assert child.stdin is not None
    assert child.stdout is not None
    with suppress(BrokenPipeError):  # it is gone already; why, it has said elsewhere
        child.stdin.write(msgspec.json.encode(order))
        child.stdin.close()
    for raw in child.stdout:
        yield msgspec.json.decode(raw, type=Line)


def _as_raised(facts: dict[str, str]) -> MmedgeError:
    """The error as it was raised in the child."""
    kind: type[MmedgeError] = getattr(errors, facts["error"], BuildError)
    details = {key: facts.get(key) for key in ("found", "expected", "where")}
    return kind(facts["message"], hint=facts.get("try"), **details)


def _crashed(code: int, written: str, order: Order) -> BuildError:
    """The child ended without a word: what it was killed by, and what it wrote at last."""
    last = "\n".join(written.strip().splitlines()[-LAST_LINES:])
    died = signal.Signals(-code).name if code < 0 else f"exit code {code}"
    # The kernel kills what takes the last of the memory, with the one signal nobody can catch.
    memory = code == -signal.SIGKILL
    return BuildError(
        f"the builder of {order.library} crashed on the graph of {order.label!r}",
        found=f"{died}{': ' + last if last else ''}",
        where=order.graph,
        hint="it was killed, perhaps for want of memory: give it less to do, --workspace SIZE, "
        "--optimization-level 1, smaller --shape"
        if memory
        else "an error of the library: another --opset or --precision makes other graphs",
    )


def main() -> None:
    """The child: build, and tell."""
    # Anything that a library prints must not come between the lines.
    told = os.fdopen(os.dup(1), "wb", buffering=0)
    os.dup2(2, 1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent is told, and ends this process
    order = msgspec.json.decode(sys.stdin.buffer.read(), type=Order)
    try:
        line = Line(memory=_built(order, told))
    except MmedgeError as error:
        facts = error.to_dict()
        line = Line(error={key: str(value) for key, value in facts.items()})
    _tell(told, line)


def _built(order: Order, told: IO[bytes]) -> dict[str, int]:
    library = find_library(order.library, purpose=f"building the engine of {order.label!r}")
    if order.plugins:
        from mmedge.backends.tensorrt.plugins import register_plugins

        file = None if order.plugin_library is None else Path(order.plugin_library)
        capability = order.plugin_capability
        register_plugins(library, order.plugins, file, compute_capability=capability)
    built = build_engine(
        library,
        Path(order.graph),
        order.inputs,
        order.profiles,
        settings=order.settings,
        label=order.label,
        plugins=order.plugins,
        progress=lambda text: _tell(told, Line(progress=text)),
    )
    with atomic_file(Path(order.output)) as stream:
        stream.write(built.data)
    return built.memory


def _tell(told: IO[bytes], line: Line) -> None:
    told.write(msgspec.json.encode(line) + b"\n")


if __name__ == "__main__":
    main()
