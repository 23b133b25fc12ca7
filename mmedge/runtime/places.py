"""Where the tokens of each call stand: what may be looked at, positions, places in the cache."""

from __future__ import annotations

import numpy as np

from mmedge.errors import BundleError
from mmedge.generation import Generation
from mmedge.runtime.prompt import Prompt
from mmedge.tensors import Array, TensorSpec
from mmedge.wiring import ComponentSpec


class Places:
    """First those of the whole prompt, then, after each `advance`, those of one token more."""

    def __init__(self, generation: Generation, decoder: ComponentSpec, prompt: Prompt) -> None:
        self._generation = generation
        self._specs = {spec.name: spec for spec in decoder.inputs}
        self._past, self._new = 0, prompt.length
        self._seen = prompt.seen
        self._types = prompt.token_types
        self._positions = self._first_positions(prompt)
        # The largest along all axes; a padded place has no position to go on from.
        largest = np.where(self._seen != 0, self._positions, -1).max(axis=-1, keepdims=True)
        self._last = largest.reshape(-1, prompt.batch, 1).max(axis=0)

    def feeds(self) -> dict[str, Array]:
        """What the decoder's inputs for them take at the coming call."""
        end, new_type = self._past + self._new, self._generation.new_token_type
        mask_input = self._generation.mask_input
        types_input = self._generation.token_types_input
        values = {
            mask_input: self._filled(mask_input, self._seen, 0),
            self._generation.position_input: self._positions,
            self._generation.cache_position_input: np.arange(self._past, end),
            types_input: self._filled(types_input, self._types, new_type),
        }
        return {
            name: np.ascontiguousarray(value, dtype=self._specs[name].dtype)
            for name, value in values.items()
            if name is not None
        }

    def advance(self) -> None:
        """On to the next token."""
        self._past += self._new
        self._new = 1
        self._seen = np.pad(self._seen, ((0, 0), (0, 1)), constant_values=1)
        new_type = self._generation.new_token_type
        self._types = np.pad(self._types, ((0, 0), (0, 1)), constant_values=new_type)
        self._last = self._last + 1
        shape = (*self._positions.shape[:-1], 1)
        self._positions = np.broadcast_to(self._last, shape)

    def _filled(self, name: str | None, told: Array, value: int) -> Array:
        """As long as the input called `name`: `value` in the room where nothing is written."""
        capacity = self._generation.capacity
        if name is None or capacity is None or self._specs[name].shape[-1] != capacity:
            return told
        room = ((0, 0), (0, capacity - told.shape[1]))
        return np.pad(told, room, constant_values=value)

    def _first_positions(self, prompt: Prompt) -> Array:
        """[batch, length], or [axes, batch, length] where the decoder takes that."""
        spec = self._specs.get(self._generation.position_input or "")
        counted = np.where(self._seen != 0, self._seen.cumsum(axis=1) - 1, 0)
        if spec is None:
            return counted
        positions = counted if prompt.positions is None else prompt.positions
        if prompt.positions is None and len(spec.shape) == 3:
            positions = np.broadcast_to(counted, (_axes(spec), *counted.shape))
        if positions.ndim != len(spec.shape):
            raise BundleError(
                f"the prompt's positions are not what decoder input {spec.name!r} takes",
                found=list(positions.shape),
                expected=spec,
            )
        return positions


def _axes(spec: TensorSpec) -> int:
    axes = spec.shape[0]
    if isinstance(axes, str):
        raise BundleError(
            f"nothing says how many axes the positions {spec.name!r} have",
            found=spec,
            expected="a number as the first dimension",
        )
    return axes
