"""Tensors of other libraries and Python numbers as arrays, and what to do about unfit arrays."""

from __future__ import annotations

import os
from typing import Any

import numpy as np

from mmedge.errors import InputError
from mmedge.tensors import Array, TensorSpec


def as_array(value: Any, spec: TensorSpec) -> Any:
    """A CPU tensor, a number or a nested list of numbers as an array; all else as it is.

    Python numbers take the declared dtype where that keeps their value (floats are rounded);
    arrays and tensors keep their own dtype. Raises InputError for a tensor on another device.
    """
    if isinstance(value, np.ndarray | str | bytes | os.PathLike):
        return value
    if _is_numbers(value):
        return _numbers(value, spec)
    if not hasattr(value, "__array__"):
        return value
    try:
        return np.asarray(value.detach() if hasattr(value, "detach") else value)
    except Exception as error:  # each library raises its own for a tensor it cannot hand over
        raise InputError(
            f"the tensor for input {spec.name!r} cannot be read as an array",
            found=f"{type(error).__name__}: {error}",
            expected=spec,
            hint="pass a tensor on the CPU, of a dtype that numpy has: x.detach().cpu().numpy()",
        ) from error


def fit_hint(value: object, spec: TensorSpec) -> str | None:
    """What makes an array of another dtype or without the batch axis fit, or None."""
    if not isinstance(value, np.ndarray):
        return None
    hints = []
    if value.ndim == len(spec.shape) - 1:
        hints.append("add the batch axis: array[None]")
    if value.dtype != np.dtype(spec.dtype) and value.dtype.kind in "biuf":
        hints.append(f'convert it: array.astype("{spec.dtype}")')
    return ", and ".join(hints) or None


def _is_numbers(value: object) -> bool:
    if isinstance(value, list | tuple):
        return bool(value) and all(_is_numbers(item) for item in value)
    return isinstance(value, int | float) and not isinstance(value, np.generic)


def _numbers(value: object, spec: TensorSpec) -> Any:
    """As the declared dtype where every number keeps its value, else as numpy reads them."""
    try:
        array: Array = np.asarray(value)
    except ValueError:  # rows of unequal length
        return value
    if array.dtype.kind not in "biuf":
        return value
    if np.dtype(spec.dtype).kind == "f":
        return array.astype(spec.dtype)
    cast = array.astype(spec.dtype) if array.dtype.kind != "f" else array
    return cast if bool((cast == array).all()) else array
