"""Of the samples those whose sizes are within what engines are built for: `--shape`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from itertools import accumulate
from typing import Any

from mmedge.axis_shapes import read_shapes
from mmedge.engine_plan import Range
from mmedge.errors import DataError
from mmedge.stage import Samples
from mmedge.tensors import Array
from mmedge.wiring import ModelInput


def fitting(samples: Samples, inputs: Iterable[ModelInput], shapes: Mapping[str, str]) -> Samples:
    """The groups of samples within `shapes` along every axis but the first, which counts examples.

    shapes: axis -> ranges, as `mmedge.axis_shapes` reads them. Raises DataError where none is left.
    """
    ranges, specs = read_shapes(shapes), [item.spec for item in inputs]
    places = [
        (spec.name, position, axis, ranges[axis])
        for spec in specs
        for position, axis in spec.dynamic_axes.items()
        if position and axis in ranges
    ]
    outside = [_outside(group, places) for group in samples.groups]
    kept = [index for index, found in enumerate(outside) if found is None]
    if len(kept) == len(outside):
        return samples
    if not kept:
        raise DataError(
            "no sample has the sizes that engines are to be built for",
            found="; ".join(dict.fromkeys(found for found in outside if found)),
            expected=", ".join(f"{axis} {text}" for axis, text in shapes.items()),
            where=samples.origin,
            hint="widen --shape, or bring samples of such sizes",
        )
    sizes = [samples.sizes[index] for index in kept]
    return replace(
        samples,
        groups=tuple(samples.groups[index] for index in kept),
        targets=None if samples.targets is None else _targets(samples, samples.targets, kept),
        count=sum(sizes),
        origin=f"{samples.origin}, {sum(sizes)} of {samples.count} within --shape",
    )


def _outside(
    group: Mapping[str, Array], places: list[tuple[str, int, str, tuple[Range, ...]]]
) -> str | None:
    """The first axis of a group with a size in none of its ranges."""
    for name, position, axis, ranges in places:
        if name in group:
            size = group[name].shape[position]
            if not any(sizes.min <= size <= sizes.max for sizes in ranges):
                return f"{axis} {size}"
    return None


def _targets(samples: Samples, targets: list[Any], kept: list[int]) -> list[Any]:
    """Of the kept groups' examples; targets are in the order of all groups' examples."""
    ends = list(accumulate(samples.sizes))
    return [
        target
        for index in kept
        for target in targets[ends[index] - samples.sizes[index] : ends[index]]
    ]
