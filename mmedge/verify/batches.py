"""What both sides are fed: all samples in batches, and inputs of other sizes than the exported."""

from __future__ import annotations

from collections.abc import Iterator

from mmedge.recipes import Split
from mmedge.stage import Samples
from mmedge.tensors import Array, Axis
from mmedge.wiring import Wiring, axis_size, other_sizes, with_indicators

BATCH = 32
# What model and engine hold at once grows with their inputs, and is far larger: the attention of
# an audio encoder over 30 s of sound. A batch of two is the least that shows mixed rows.
BATCH_BYTES = 2 * 2**20
LEAST_BATCH = 2
# One, the size that was exported, and one that is neither.
PROBED_BATCHES = (1, 2, 3)


def batches(samples: Samples, wiring: Wiring) -> Iterator[tuple[dict[str, Array], list[int]]]:
    """Batches the model takes, each of examples of one shape, and the examples' numbers.

    The last of a shape may be smaller; too few examples are repeated.
    """
    leading = [item.spec.shape[0] for item in wiring.inputs if item.spec.shape]
    limits = [wiring.axes[d] if isinstance(d, str) else Axis(d, d, d) for d in leading]
    least = max([1, *(axis.min for axis in limits)])
    size = max(least, min([_batch_size(samples), *(axis.max for axis in limits)]))
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


def _batch_size(samples: Samples) -> int:
    """As many as BATCH_BYTES hold of the first example, from LEAST_BATCH to BATCH."""
    example = sum(array.nbytes for array in samples.first(1).values())
    return max(LEAST_BATCH, min(BATCH, BATCH_BYTES // max(example, 1)))


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
        yield with_indicators(wiring.inputs, samples.first(size))
    specs = [item.spec for item in wiring.inputs]
    inputs = with_indicators(wiring.inputs, samples.first(sizes[0]))
    for axis, limits in wiring.axes.items():
        if axis != first:
            for other in other_sizes(axis_size(inputs, specs, axis), limits):
                yield split.resized(inputs, specs, axis=axis, size=other)
