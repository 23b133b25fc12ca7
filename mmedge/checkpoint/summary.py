"""What a checkpoint holds, in numbers and names."""

from __future__ import annotations

from dataclasses import dataclass, field
from math import prod

from mmedge.checkpoint.formats import Format
from mmedge.checkpoint.header import TensorEntry


@dataclass(frozen=True)
class InputGuess:
    """One argument of forward and what can be told of it; `sure` where the file states it."""

    name: str
    modality: str
    dtype: str
    shape: tuple[int | str, ...]
    optional: bool = False
    sure: bool = False
    preprocess: dict[str, object] = field(default_factory=dict)


@dataclass(frozen=True)
class CheckpointSummary:
    """Format and tensors of a checkpoint, read without building a model.

    objects: what its pickle would import; where this is not empty, the tensors are not listed
        because reading them would execute it.
    inputs, axes: arguments of forward and (min, max) of dynamic axes, where the file states them.
    """

    format: Format
    size_bytes: int
    tensors: tuple[TensorEntry, ...] = ()
    objects: tuple[str, ...] = ()
    inputs: tuple[InputGuess, ...] = ()
    axes: dict[str, tuple[int, int | None]] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    @property
    def parameters(self) -> int:
        """Number of values in all tensors."""
        return sum(prod(tensor.shape) for tensor in self.tensors)

    def prefixes(self) -> dict[str, int]:
        """Submodule path -> number of values below it, at the first level with more than one."""
        depth = 1
        while True:
            groups = self._grouped(depth)
            deeper = any(len(t.name.split(".")) > depth + 1 for t in self.tensors)
            if len(groups) != 1 or not deeper:
                return groups
            depth += 1

    def _grouped(self, depth: int) -> dict[str, int]:
        groups: dict[str, int] = {}
        for tensor in self.tensors:
            parts = tensor.name.split(".")
            if len(parts) > depth:
                path = ".".join(parts[:depth])
                groups[path] = groups.get(path, 0) + prod(tensor.shape)
        return groups

    def to_dict(self) -> dict[str, object]:
        """As `--json` prints it."""
        return {
            "format": self.format.value,
            "size_bytes": self.size_bytes,
            "parameters": self.parameters,
            "tensors": {t.name: {"dtype": t.dtype, "shape": list(t.shape)} for t in self.tensors},
            "objects": list(self.objects),
            "notes": list(self.notes),
        }
