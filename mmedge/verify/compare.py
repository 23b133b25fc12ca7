"""Comparing the opened engines with the torch model on batches of samples."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np

from mmedge.errors import VerificationError
from mmedge.recipes import ComponentModule, Split
from mmedge.stage import Samples
from mmedge.tensors import Array, Axis
from mmedge.verify.decoder_steps import decoder_steps
from mmedge.verify.metrics import Difference, DifferenceAccumulator
from mmedge.wiring import Wiring, axis_size, other_sizes

if TYPE_CHECKING:
    import torch

BATCH = 32
# One, the size that was exported, and one that is neither.
PROBED_BATCHES = (1, 2, 5)
Outputs = dict[str, Array]


class Opened(Protocol):
    """Engines that can be run: an `OpenArtifact` or a `Bundle`."""

    @property
    def wiring(self) -> Wiring:
        """How the engines are connected."""
        ...

    def run(self, inputs: Mapping[str, Array], /) -> Outputs:
        """The model's outputs."""
        ...

    def run_component(self, name: str, feeds: dict[str, Array], /) -> Outputs:
        """One component's outputs."""
        ...


def batches(samples: Samples, wiring: Wiring) -> Iterator[tuple[dict[str, Array], list[int]]]:
    """Batches the model takes, each of examples of one shape, and the examples' numbers.

    The last of a shape may be smaller; too few examples are repeated.
    """
    leading = [item.spec.shape[0] for item in wiring.inputs if item.spec.shape]
    limits = [wiring.axes[d] if isinstance(d, str) else Axis(d, d, d) for d in leading]
    least = max([1, *(axis.min for axis in limits)])
    size = max(least, min([BATCH, *(axis.max for axis in limits)]))
    before = 0
    for group, count in enumerate(samples.sizes):
        if count < least:
            yield samples.first(least, group=group), [before + i % count for i in range(least)]
        for start in range(0, count, size):
            if count - start >= least:
                stop = min(start + size, count)
                numbers = list(range(before + start, before + stop))
                yield samples.rows(start, stop, group=group), numbers
        before += count


def to_torch(arrays: Mapping[str, Array]) -> dict[str, torch.Tensor]:
    """The arrays as tensors that share no memory with read-only ones."""
    import torch

    return {name: torch.from_numpy(np.array(array)) for name, array in arrays.items()}


def to_numpy(tensors: Mapping[str, torch.Tensor]) -> Outputs:
    """The tensors as arrays."""
    return {name: tensor.detach().numpy() for name, tensor in tensors.items()}


def run_reference(split: Split, inputs: Mapping[str, Array]) -> Outputs:
    """The user's model on one batch."""
    return to_numpy(split.reference(to_torch(inputs)))


@dataclass(frozen=True)
class EndToEnd:
    """What model and engine made of all samples.

    differences: by output, over all batches.
    wanted, found: outputs of the model and of the engine, one entry for each batch.
    examples: numbers of the samples, in the order of the outputs' rows.
    """

    differences: dict[str, Difference]
    wanted: list[Outputs]
    found: list[Outputs]
    examples: list[int]


def compare_end_to_end(
    split: Split, opened: Opened, samples: Samples, *, without: frozenset[str] = frozenset()
) -> EndToEnd:
    """The engines against the model on every sample. Raises VerificationError for other outputs.

    without: optional inputs to leave away.
    """
    wanted: list[Outputs] = []
    found: list[Outputs] = []
    examples: list[int] = []
    accumulators: dict[str, DifferenceAccumulator] = {}
    for batch, numbers in batches(samples, opened.wiring):
        present = _without(opened.wiring, batch, without)
        wanted.append(run_reference(split, present))
        found.append(opened.run(present))
        examples += numbers
        check_same_outputs(wanted[-1], found[-1])
        for name, reference in wanted[-1].items():
            pair = _same_length(reference, found[-1][name])
            accumulators.setdefault(name, DifferenceAccumulator()).add(*pair)
    results = {name: accumulator.result() for name, accumulator in accumulators.items()}
    return EndToEnd(results, wanted, found, examples)


def _without(wiring: Wiring, batch: dict[str, Array], absent: frozenset[str]) -> dict[str, Array]:
    """The batch without some inputs, and without what indicates them."""
    indicators = {item.spec.name for item in wiring.inputs if item.indicates in absent}
    return {name: array for name, array in batch.items() if name not in absent | indicators}


def compare_components(
    split: Split, opened: Opened, samples: Samples
) -> dict[str, dict[str, Difference]]:
    """Each engine against its torch module on the same inputs, at several sizes of every axis."""
    found: dict[str, dict[str, DifferenceAccumulator]] = {}
    for inputs in probes(split, opened.wiring, samples):
        values = split.run(to_torch(inputs))
        for component in opened.wiring.components:
            module = next(c for c in split.components if c.name == component.name)
            if split.generation is not None and module.name == split.generation.decoder:
                continue
            feeds = {name: values[source].numpy() for name, source in component.bindings.items()}
            produced = opened.run_component(component.name, feeds)
            accumulators = found.setdefault(component.name, {})
            for name, array in produced.items():
                reference = values[f"{component.name}.{name}"].numpy()
                _check_shape(f"{component.name}.{name}", reference, array)
                accumulators.setdefault(name, DifferenceAccumulator()).add(reference, array)
    return {
        name: {output: acc.result() for output, acc in accumulators.items()}
        for name, accumulators in found.items()
    }


def probes(split: Split, wiring: Wiring, samples: Samples) -> Iterator[dict[str, Array]]:
    """Inputs at several batch sizes, and with every other dynamic axis at other sizes.

    An engine may have the size it was exported with built in; then one of these finds it out.
    """
    first = wiring.inputs[0].spec.shape[0]
    sizes: tuple[int, ...] = (first,) if isinstance(first, int) else PROBED_BATCHES
    if isinstance(first, str):
        limits = wiring.axes[first]
        sizes = tuple(s for s in sizes if limits.min <= s <= limits.max) or (limits.opt,)
    for size in sizes:
        yield with_indicators(wiring, samples.first(size))
    specs = [item.spec for item in wiring.inputs]
    inputs = with_indicators(wiring, samples.first(sizes[0]))
    for axis, limits in wiring.axes.items():
        if axis != first:
            for other in other_sizes(axis_size(inputs, specs, axis), limits):
                yield split.resized(inputs, specs, axis=axis, size=other)


def compare_decoder(
    split: Split, opened: Opened, inputs: Mapping[str, Array]
) -> dict[str, Difference]:
    """A generating decoder against its torch module: a prompt, one token, several after a past."""
    import torch

    assert split.generation is not None
    module = module_of(split, split.generation.decoder)
    values = split.run(to_torch(inputs))
    bound = {name: values[source] for name, source in module.bindings.items()}
    needed = {tensor.name for tensor in opened.wiring.component(module.name).inputs}
    accumulators: dict[str, DifferenceAccumulator] = {}
    for step in decoder_steps(split):
        feeds = bound | step
        with torch.no_grad():
            wanted = module.module(*feeds.values())
        produced = opened.run_component(
            module.name, {name: t.numpy() for name, t in feeds.items() if name in needed}
        )
        for name, tensor in zip(module.outputs, wanted, strict=True):
            _check_shape(f"{module.name}.{name}", tensor.numpy(), produced[name])
            accumulators.setdefault(name, DifferenceAccumulator()).add(
                tensor.numpy(), produced[name]
            )
    return {name: accumulator.result() for name, accumulator in accumulators.items()}


def split_difference(split: Split, inputs: Mapping[str, Array]) -> dict[str, Difference]:
    """The components run one after the other in torch, against the user's own forward."""
    values = split.run(to_torch(inputs))
    ours = {name: values[source].numpy() for name, source in split.outputs.items()}
    return differences(run_reference(split, inputs), ours)


def module_of(split: Split, name: str) -> ComponentModule:
    """The torch module of a component."""
    return next(component for component in split.components if component.name == name)


def with_indicators(wiring: Wiring, inputs: dict[str, Array]) -> dict[str, Array]:
    """The inputs, with every indicator that is not among them saying present."""
    inputs = dict(inputs)
    size = len(next(iter(inputs.values())))
    for item in wiring.inputs:
        if item.spec.name not in inputs:
            dims = [d if isinstance(d, int) else size for d in item.spec.shape]
            inputs[item.spec.name] = np.ones(dims, dtype=item.spec.dtype)
    return inputs


def differences(wanted: Outputs, found: Outputs) -> dict[str, Difference]:
    """Each output of `found` against the one of `wanted` with its name."""
    result = {}
    for name, reference in wanted.items():
        accumulator = DifferenceAccumulator()
        accumulator.add(*_same_length(reference, found[name]))
        result[name] = accumulator.result()
    return result


def _same_length(first: Array, second: Array) -> tuple[Array, Array]:
    """Token rows of unequal length, filled with -1 so that the missing ones count as different."""
    if first.dtype.kind == "f" or first.ndim != 2 or first.shape[1] == second.shape[1]:
        return first, second
    width = max(first.shape[1], second.shape[1])
    return _filled(first, width), _filled(second, width)


def _filled(rows: Array, width: int) -> Array:
    """The token rows enlarged to `width` by -1, which is no token."""
    return np.pad(rows, [(0, 0), (0, width - rows.shape[1])], constant_values=-1)


def joined(batches: list[Outputs]) -> dict[str, Array | list[Array]]:
    """Outputs over all batches, [examples, ...]; where shapes differ, a list of each example's."""
    result: dict[str, Array | list[Array]] = {}
    for name in batches[0]:
        parts = [np.atleast_1d(batch[name]) for batch in batches]
        alike = len({part.shape[1:] for part in parts}) == 1
        result[name] = np.concatenate(parts) if alike else [row for part in parts for row in part]
    return result


def check_same_outputs(wanted: Outputs, found: Outputs) -> None:
    """VerificationError unless names and, of floating-point outputs, shapes are equal."""
    if set(wanted) != set(found):
        raise VerificationError(
            "the engine has other outputs than the model",
            found=", ".join(found),
            expected=", ".join(wanted),
        )
    for name, reference in wanted.items():
        if reference.dtype.kind == "f":
            _check_shape(name, reference, found[name])


def _check_shape(name: str, reference: Array, found: Array) -> None:
    if reference.shape != found.shape:
        raise VerificationError(
            f"output {name!r} has another shape than the model's",
            found=list(found.shape),
            expected=list(reference.shape),
        )
