"""The key-value cache of one generation: what it starts as, and how a call hands it to the next.

A growing cache is passed on as arrays, unless the engine keeps it on a GPU: keeping ONNX Runtime's
own values between calls was measured to be no faster (1.31, one CPU thread, caches of 6 and of
50 MB). A cache of fixed capacity is one set of buffers for past and present.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Protocol

import numpy as np

from mmedge.errors import BundleError
from mmedge.generation import Generation
from mmedge.tensors import Array, Axis, TensorSpec
from mmedge.wiring import ComponentSpec

RunDecoder = Callable[[dict[str, Array]], dict[str, Array]]
Step = Callable[[dict[str, Array]], Array]


class Bind(Protocol):
    """How an engine is told to read and write the same buffers at every call."""

    def __call__(
        self, component: str, cache: Mapping[str, str], buffers: Mapping[str, Array]
    ) -> RunDecoder | None:
        """A run of `component` that takes and gives all but the cache; None if it can't be."""
        ...


def cached_step(
    generation: Generation,
    decoder: ComponentSpec,
    run: RunDecoder,
    batch: int,
    *,
    bind: Bind | None = None,
) -> Step:
    """A function from the decoder's inputs, less the cache, to its logits; it keeps the cache.

    Raises BundleError where the decoder's cache is not one, or it does not return what it should.
    """
    specs = {spec.name: spec for spec in decoder.inputs}
    past = {name: _empty(specs[name], generation, specs, batch) for name in generation.cache}
    if bind is not None:
        bound = bind(decoder.name, generation.cache, past)
        if bound is not None:
            return lambda feeds: _logits(bound(feeds), generation)

    def step(feeds: dict[str, Array]) -> Array:
        outputs = run({**feeds, **past})
        for name, present in generation.cache.items():
            past[name] = _output(outputs, present, generation)
        return _logits(outputs, generation)

    return step


def room(
    generation: Generation, decoder: ComponentSpec, axes: Mapping[str, Axis], length: int
) -> int | None:
    """How many tokens may follow a prompt of `length`; None if nothing limits them.

    The last token is never fed, so that it needs no place.
    """
    if generation.capacity is not None:
        return generation.capacity - length + 1
    specs = {spec.name: spec for spec in decoder.inputs}
    names = {_growing_axis(specs[name], generation, specs) for name in generation.cache}
    longest = [axes[name].max for name in names if name in axes]
    # At the last call the past is without the two newest tokens: the one fed, the one made.
    return min(longest) - length + 2 if longest else None


def _empty(
    spec: TensorSpec, generation: Generation, specs: Mapping[str, TensorSpec], batch: int
) -> Array:
    """The cache before the first token: `batch` sequences, no past, or nothing written yet."""
    size: dict[str | int, int] = {specs[generation.token_input].shape[0]: batch}
    if generation.capacity is None:
        size[_growing_axis(spec, generation, specs)] = 0
    unknown = [dim for dim in spec.dynamic_axes.values() if dim not in size]
    if unknown:
        raise BundleError(
            f"decoder input {spec.name!r} is not a cache of fixed capacity",
            found=spec,
            expected="no dynamic axis but the batch",
        )
    shape = tuple(size[dim] if isinstance(dim, str) else dim for dim in spec.shape)
    return np.zeros(shape, dtype=spec.dtype)


def _growing_axis(spec: TensorSpec, generation: Generation, specs: Mapping[str, TensorSpec]) -> str:
    batch_axis = specs[generation.token_input].shape[0]
    past_axes = [dim for dim in spec.dynamic_axes.values() if dim != batch_axis]
    if len(past_axes) != 1:
        raise BundleError(
            f"decoder input {spec.name!r} is not a growing cache",
            found=spec,
            expected=f"one dynamic axis besides {batch_axis!r}: the past length",
        )
    return past_axes[0]


def _logits(outputs: Mapping[str, Array], generation: Generation) -> Array:
    logits = _output(outputs, generation.logits_output, generation)
    if logits.ndim != 3 or not logits.shape[1]:
        raise BundleError(
            f"the logits of decoder {generation.decoder!r} have the wrong shape",
            found=list(logits.shape),
            expected="[batch, positions, vocabulary]",
        )
    return logits


def _output(outputs: Mapping[str, Array], name: str, generation: Generation) -> Array:
    if name not in outputs:
        raise BundleError(
            f"decoder {generation.decoder!r} did not return {name!r}",
            found=", ".join(sorted(outputs)),
        )
    return outputs[name]
