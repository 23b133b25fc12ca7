"""The one protocol every engine answers to, and the table of engine kinds."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import msgspec

from mmedge.errors import BundleError
from mmedge.strict import nearest
from mmedge.tensors import Array, TensorSpec

if TYPE_CHECKING:
    from typing_extensions import Self

# More threads than cores are of no use, and each costs memory and time to start; a mistyped
# number must not take the machine down.
MOST_THREADS = 1024

# Engine kind -> "module:class"; the class has `open(path, *, threads, options)`, and one whose
# engines are tied to a machine has `refusal(built_with, path=)`, too.
ENGINES = {
    "onnxruntime": "mmedge.runtime.onnxruntime_runner:OnnxRuntimeRunner",
    "tensorrt": "mmedge.runtime.tensorrt.runner:TensorRTRunner",
}


class Refusal(msgspec.Struct, frozen=True):
    """Why this machine is not to open an engine; hint: what to do, if not to build it again."""

    why: str
    hint: str | None = None


class Runner(Protocol):
    """One opened engine; a context manager that releases the engine when it closes."""

    @property
    def input_specs(self) -> tuple[TensorSpec, ...]:
        """The engine's inputs, in its own order."""
        ...

    @property
    def output_specs(self) -> tuple[TensorSpec, ...]:
        """The engine's outputs, in its own order."""
        ...

    def infer(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        """All outputs by name; InputError unless `feeds` fits `input_specs` exactly."""
        ...

    def close(self) -> None:
        """Release the engine; closing twice is harmless."""
        ...

    def __enter__(self) -> Self: ...

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None: ...


@runtime_checkable
class Binding(Protocol):
    """What a Runner may also be: one that reads and writes buffers in place."""

    def bound(
        self, shared: Mapping[str, str], buffers: Mapping[str, Array]
    ) -> Callable[[Mapping[str, Array]], dict[str, Array]]:
        """`infer` from the inputs that are not shared to the outputs that are not.

        shared: input -> the output that every call writes into the same buffer.
        buffers: by input, contiguous, of its dtype and shape: what they hold at first. An engine
            on the host reads and writes these very arrays; one on a GPU keeps its own. The caller
            starts anew by binding others.
        """
        ...


@runtime_checkable
class GrowingBinding(Binding, Protocol):
    """A Binding whose shared buffers may be longer after every call (a growing cache)."""

    def grows(self) -> bool:
        """Whether that is so."""
        ...


def open_engine(
    kind: str, path: Path, *, threads: int | None = None, options: Mapping[str, str] = {}
) -> Runner:
    """The engine file at `path`, opened by the runner that `kind` names.

    threads: how many the engine may use within an operator; None leaves it to the engine.
    options: the kind's own settings, as strings; an unknown one is a BuildError.
    Raises BundleError for an unknown kind or a missing file, BuildError where the engine is
    refused, MissingDependencyError where its library is not installed.
    """
    opened: Runner = _runner_class(kind, path).open(path, threads=threads, options=options)
    return opened


def refusal(kind: str, path: Path, *, built_with: Mapping[str, str]) -> Refusal | None:
    """Why the engine is not to be opened on this machine, by what it was built with and for.

    None where nothing is against it. Raises BundleError for an unknown kind.
    """
    refuses = getattr(_runner_class(kind, path), "refusal", None)
    found: Refusal | None = None if refuses is None else refuses(built_with, path=path)
    return found


def _runner_class(kind: str, path: Path) -> Any:
    if kind not in ENGINES:
        raise BundleError(
            f"there is no engine kind {kind!r} in this mmedge",
            where=path,
            hint=nearest(kind, list(ENGINES)),
        )
    module, _, name = ENGINES[kind].partition(":")
    return getattr(importlib.import_module(module), name)
