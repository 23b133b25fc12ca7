"""The inputs and outputs of a deserialised engine, as specs and profiles."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from mmedge.errors import BuildError
from mmedge.runtime.tensorrt.profiles import Profile, Shape, Sizes
from mmedge.tensors import TensorSpec

# TensorRT's name of a type -> numpy's. BF16, FP8, INT4 and FP4 are types that numpy does not have.
DTYPES = {
    "FLOAT": "float32",
    "HALF": "float16",
    "INT8": "int8",
    "INT32": "int32",
    "INT64": "int64",
    "UINT8": "uint8",
    "BOOL": "bool",
}


@dataclass(frozen=True)
class Interface:
    """What goes into an engine and comes out of it.

    on_host: tensors that the engine wants in the host's memory (shapes are computed from them).
    """

    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    profiles: tuple[Profile, ...]
    on_host: frozenset[str]


def read_interface(engine: Any, *, component: str) -> Interface:
    """The interface of `engine`, an ICudaEngine.

    An axis whose size is not fixed is called "<tensor>.<position>": engines keep no names of axes.
    """
    names = [engine.get_tensor_name(index) for index in range(engine.num_io_tensors)]
    specs: dict[str, list[TensorSpec]] = {"INPUT": [], "OUTPUT": []}
    for name in names:
        specs[engine.get_tensor_mode(name).name].append(_spec(engine, name, component))
    inputs = tuple(specs["INPUT"])
    profiles = [
        Profile({spec.name: _sizes(engine, spec, index) for spec in inputs})
        for index in range(max(1, engine.num_optimization_profiles))
    ]
    on_host = frozenset(n for n in names if engine.get_tensor_location(n).name == "HOST")
    return Interface(inputs, tuple(specs["OUTPUT"]), tuple(profiles), on_host)


def _spec(engine: Any, name: str, component: str) -> TensorSpec:
    kind = engine.get_tensor_dtype(name).name
    if kind not in DTYPES:
        raise BuildError(
            f"{name!r} of the engine of {component!r} has a type that numpy does not have",
            found=kind,
            expected=f"one of {', '.join(DTYPES)}",
            hint="compile with inputs and outputs of another type",
        )
    shape = tuple(
        f"{name}.{position}" if size < 0 else size
        for position, size in enumerate(_plain(engine.get_tensor_shape(name)))
    )
    return TensorSpec(name, DTYPES[kind], shape)


def _sizes(engine: Any, spec: TensorSpec, profile: int) -> Sizes:
    """Of an input without dynamic axes there is one size, whatever the profile says of it."""
    if not spec.dynamic_axes:
        shape = tuple(int(size) for size in spec.shape)
        return Sizes(shape, shape, shape)
    return Sizes(*(_plain(ends) for ends in engine.get_tensor_profile_shape(spec.name, profile)))


def _plain(dims: Iterable[int]) -> Shape:
    """A Dims of TensorRT's as a tuple."""
    return tuple(int(size) for size in dims)
