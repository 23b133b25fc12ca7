"""What is known of a tensor before there is one: name, dtype, shape with named dynamic axes."""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from mmedge.errors import InputError

Array = NDArray[Any]
Dim = int | str

# numpy names; bfloat16 is absent because numpy has no such type.
DTYPES = (
    "float16", "float32", "float64",
    "int8", "int16", "int32", "int64",
    "uint8", "uint16", "uint32", "uint64", "bool",
)  # fmt: skip


class Axis(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The sizes a named dynamic axis may take; `opt` is the size to optimise and measure for.

    step: every size is a multiple of it (patches that are merged two by two: 4).
    """

    min: int = 1
    opt: int = 1
    max: int = 2**16
    step: int = 1


class TensorSpec(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A tensor's name, numpy dtype name and shape; a string in the shape is a dynamic axis."""

    name: str
    dtype: str
    shape: tuple[Dim, ...]

    def __str__(self) -> str:
        return f"{self.name}: {self.dtype}[{', '.join(map(str, self.shape))}]"

    @property
    def dynamic_axes(self) -> dict[int, str]:
        """Position -> axis name, for the dynamic dimensions."""
        return {i: dim for i, dim in enumerate(self.shape) if isinstance(dim, str)}

    def check(self, array: Array, axes: dict[str, Axis], sizes: dict[str, int]) -> None:
        """Raise InputError unless `array` fits; record the sizes of its named axes in `sizes`.

        The same axis must have the same size in every tensor that is checked with one `sizes`.
        """
        if array.dtype != np.dtype(self.dtype):
            raise InputError(
                f"input {self.name!r} has the wrong dtype",
                found=array.dtype,
                expected=self.dtype,
                hint=f"{self.name}.astype('{self.dtype}')",
            )
        if array.ndim != len(self.shape):
            raise self._shape_error(array, "has the wrong number of dimensions")
        for axis, (size, dim) in enumerate(zip(array.shape, self.shape, strict=True)):
            if isinstance(dim, int):
                if size != dim:
                    problem = f"has the wrong shape: {size} along axis {axis}, which is {dim}"
                    raise self._shape_error(array, problem)
                continue
            self._check_axis(array, dim, size, axes)
            if sizes.setdefault(dim, size) != size:
                raise self._shape_error(
                    array, f"disagrees with another input about axis {dim!r} ({sizes[dim]})"
                )

    def _check_axis(self, array: Array, dim: str, size: int, axes: dict[str, Axis]) -> None:
        allowed = axes.get(dim)
        if allowed is not None and not allowed.min <= size <= allowed.max:
            raise self._shape_error(
                array, f"has {size} along {dim!r}, outside {allowed.min}..{allowed.max}"
            )
        if allowed is not None and size % allowed.step:
            raise self._shape_error(
                array, f"has {size} along {dim!r}, which is no multiple of {allowed.step}"
            )

    def _shape_error(self, array: Array, problem: str) -> InputError:
        return InputError(
            f"input {self.name!r} {problem}",
            found=f"{array.dtype}{list(array.shape)}",
            expected=f"{self.dtype}[{', '.join(map(str, self.shape))}]",
            hint="add the batch axis: array[None]" if array.ndim == len(self.shape) - 1 else None,
        )
