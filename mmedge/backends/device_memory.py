"""Whether a target has the memory that its engines will take there."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np

from mmedge.artifact import EngineFile
from mmedge.backends.tensorrt.size_expressions import size_of
from mmedge.engine_plan import EnginePlan, Range
from mmedge.errors import BuildError
from mmedge.readable_bytes import readable_bytes
from mmedge.targets import Fact, Target
from mmedge.tensors import TensorSpec
from mmedge.wiring import ComponentSpec, Wiring

SMALLER = "give smaller ones, --shape AXIS=MIN:OPT:MAX"


@dataclass(frozen=True)
class Buffers:
    """What a component's inputs and outputs take at the largest sizes of its engine, in bytes.

    all: of every input, and of every output whose sizes follow from theirs.
    input: of the largest input.
    """

    all: int
    input: int


def buffers_of(component: ComponentSpec, profiles: Iterable[Mapping[str, Range]]) -> Buffers:
    """The most that any of the optimization profiles asks for."""
    most = Buffers(0, 0)
    for profile in profiles:
        largest = {axis: sizes.max for axis, sizes in profile.items()}
        inputs = [_bytes_of(spec, largest) for spec in component.inputs]
        outputs = [_bytes_of(spec, largest) for spec in component.outputs]
        total = sum(inputs) + sum(outputs)
        most = Buffers(max(most.all, total), max(most.input, *inputs, 0))
    return most


def check_buffers(wiring: Wiring, plans: Mapping[str, EnginePlan], target: Target) -> None:
    """BuildError where the inputs and outputs alone take more memory than the device has.

    Known before anything is built, and also of sizes for which a builder tells nonsense.
    """
    memory = _memory(target)
    if memory is None:
        return
    needs = {c.name: buffers_of(c, plans[c.name].profiles).all for c in wiring.components}
    if sum(needs.values()) <= memory.value:
        return
    largest = max(needs, key=lambda name: needs[name])
    sizes = {
        axis: max(profile[axis].max for profile in plans[largest].profiles if axis in profile)
        for axis in dict.fromkeys(a for profile in plans[largest].profiles for a in profile)
    }
    raise BuildError(
        f"the inputs and outputs of the engines alone take more memory than {target.title} has",
        found=", ".join(f"{name} {readable_bytes(need)}" for name, need in needs.items()),
        expected=f"{readable_bytes(memory.value)} together ({memory.source})",
        hint=f"{largest!r} is to take up to {', '.join(f'{a}={n}' for a, n in sizes.items())}: "
        f"{SMALLER}",
    )


def check_fits(
    engines: Mapping[str, EngineFile],
    target: Target,
    *,
    buffers: Mapping[str, Buffers],
) -> None:
    """BuildError where the engines, open together, take more memory than the device has.

    buffers: by component, what its inputs and outputs take besides. Nothing is checked where the
    target's memory is not known.
    """
    memory = _memory(target)
    if memory is None:
        return
    needs = {name: _need(file, buffers[name]) for name, file in engines.items()}
    if sum(needs.values()) <= memory.value:
        return
    largest = max(needs, key=lambda name: needs[name])
    activations = readable_bytes(_activations(engines[largest], buffers[largest]))
    moved = readable_bytes(buffers[largest].all)
    raise BuildError(
        f"the engines take more memory than {target.title} has",
        found=", ".join(f"{name} {readable_bytes(need)}" for name, need in needs.items()),
        expected=f"{readable_bytes(memory.value)} together ({memory.source})",
        hint=f"{activations} of {largest!r} are activations at the largest sizes, {moved} its "
        f"inputs and outputs: {SMALLER}",
    )


def _need(engine: EngineFile, buffers: Buffers) -> int:
    """What an engine holds as long as it is open; scratch is part of activations."""
    return engine.memory.get("weights_bytes", 0) + _activations(engine, buffers) + buffers.all


def _activations(engine: EngineFile, buffers: Buffers) -> int:
    """As the builder told; not less than an input, where it told anything.

    TensorRT for RTX 1.7 counts in 32 bits: of 135 GB it tells what is left after 31 times 4 GiB.
    """
    told = engine.memory.get("activations_bytes", 0)
    return max(told, buffers.input) if told else 0


def _bytes_of(spec: TensorSpec, sizes: Mapping[str, int]) -> int:
    """0 where the sizes of an output depend on more than those of the inputs."""
    dims = [dim if isinstance(dim, int) else size_of(dim, sizes) for dim in spec.shape]
    known = [dim for dim in dims if dim is not None]
    if len(known) < len(dims):
        return 0
    return math.prod(max(0, dim) for dim in known) * np.dtype(spec.dtype).itemsize


@dataclass(frozen=True)
class _Memory:
    value: float
    source: str


def _memory(target: Target) -> _Memory | None:
    """None where it is not known how much the target has."""
    fact: Fact | None = target.facts.get("memory_bytes")
    if fact is None or isinstance(fact.value, str):
        return None
    return _Memory(fact.value, fact.source)
