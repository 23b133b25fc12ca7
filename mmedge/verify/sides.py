"""The two sides of a comparison: opened engines, and the torch model they were made from."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Protocol

import numpy as np

from mmedge.recipes import Split
from mmedge.runtime.next_token import GenerateOptions
from mmedge.tensors import Array, TensorSpec
from mmedge.wiring import Wiring

if TYPE_CHECKING:
    import torch

Outputs = dict[str, Array]


class Opened(Protocol):
    """Engines that can be run: an `OpenArtifact` or a `Bundle`."""

    @property
    def wiring(self) -> Wiring:
        """How the engines are connected."""
        ...

    def run(self, inputs: Mapping[str, Array], /, *, options: GenerateOptions = ...) -> Outputs:
        """The model's outputs."""
        ...

    def run_component(self, name: str, feeds: dict[str, Array], /) -> Outputs:
        """One component's outputs."""
        ...


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


def as_declared(specs: Iterable[TensorSpec], feeds: Mapping[str, Array]) -> Outputs:
    """The model's own float32 values in the types that a component declares for them."""
    dtypes = {spec.name: np.dtype(spec.dtype) for spec in specs}
    return {
        name: array.astype(dtypes[name], copy=False)
        if name in dtypes and {array.dtype.kind, dtypes[name].kind} == {"f"}
        else array
        for name, array in feeds.items()
    }
