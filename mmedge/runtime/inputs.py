"""The model's inputs at run time: what was given is checked, what may be absent is filled in."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from mmedge.errors import BundleError, InputError
from mmedge.strict import nearest
from mmedge.tensors import Array, Axis, TensorSpec
from mmedge.wiring import ModelInput, Source, Substitute, Wiring


def check_inputs(wiring: Wiring, inputs: Mapping[str, Array]) -> dict[str, int]:
    """Sizes of the named axes of `inputs`, after checking every one of them.

    Raises InputError for an unknown name, something other than a numpy array, a dtype or shape
    that does not fit, axes that disagree or leave their range, and NaN or infinite values.
    """
    specs = {item.spec.name: item.spec for item in wiring.inputs}
    sizes: dict[str, int] = {}
    for name, value in inputs.items():
        if name not in specs:
            raise InputError(f"there is no input {name!r}", hint=nearest(name, list(specs)))
        if not isinstance(value, np.ndarray):
            raise InputError(
                f"input {name!r} is not a numpy array",
                found=type(value).__name__,
                expected=specs[name],
            )
        specs[name].check(value, wiring.axes, sizes)
        _check_finite(name, value)
    return sizes


def check_present(wiring: Wiring, inputs: Mapping[str, Array], needed: set[Source]) -> None:
    """Raise InputError for a needed input that was not given and may not be absent."""
    for item in wiring.inputs:
        name = item.spec.name
        if name in inputs or item.optional or item.indicates is not None or name not in needed:
            continue
        raise InputError(
            f"input {name!r} is missing",
            found=", ".join(sorted(inputs)) or "no inputs",
            expected=item.spec,
        )


def indicator_value(
    item: ModelInput,
    given: Array | None,
    present: bool,
    axes: Mapping[str, Axis],
    sizes: Mapping[str, int],
) -> Array:
    """What was given, else ones (True) if the indicated input is present, zeros (False) if not.

    Raises InputError where the given value says that an absent input is present.
    """
    spec = item.spec
    if given is None:
        return np.full(concrete_shape(spec, axes, sizes), present, dtype=spec.dtype)
    if given.any() and not present:
        raise InputError(
            f"{spec.name!r} says that {item.indicates!r} is present, and it was not given",
            found=given.tolist(),
            hint=f"pass {item.indicates!r}, or leave {spec.name!r} out",
        )
    return given


def substitute_value(
    source: Source,
    substitute: Substitute,
    learned: Mapping[Source, Array],
    axes: Mapping[str, Axis],
    sizes: Mapping[str, int],
) -> Array:
    """What stands in for `source`: its learned value for every example of the batch, or zeros.

    The learned array has the spec's shape without the leading axis, or with 1 there; it is
    repeated along the named axes whose size is known. Raises BundleError where it does not fit.
    """
    spec = substitute.spec
    if substitute.file is None:
        return np.zeros(concrete_shape(spec, axes, sizes), dtype=spec.dtype)
    if source not in learned:
        raise BundleError(f"the learned value of {source!r} is not loaded", where=substitute.file)
    value = learned[source]
    shape = concrete_shape(spec, axes, {**_own_sizes(spec, value), **sizes})
    try:
        if value.dtype != np.dtype(spec.dtype):
            raise ValueError(f"dtype {value.dtype}")
        return np.ascontiguousarray(np.broadcast_to(value, shape))
    except ValueError as error:
        raise BundleError(
            f"the learned value of {source!r} does not fit",
            found=f"{value.dtype}{list(value.shape)}",
            expected=f"{spec}, here {list(shape)}",
            where=substitute.file,
        ) from error


def concrete_shape(
    spec: TensorSpec, axes: Mapping[str, Axis], sizes: Mapping[str, int]
) -> tuple[int, ...]:
    """The spec's shape with every named axis at its known size, else at its minimum (1 or more)."""
    return tuple(
        dim if isinstance(dim, int) else sizes.get(dim, max(1, axes.get(dim, Axis()).min))
        for dim in spec.shape
    )


def _own_sizes(spec: TensorSpec, value: Array) -> dict[str, int]:
    """Named axes along which the learned value itself has a size, aligned from the last axis."""
    pairs = zip(reversed(spec.shape), reversed(value.shape), strict=False)
    return {dim: size for dim, size in pairs if isinstance(dim, str) and size != 1}


def _check_finite(name: str, value: Array) -> None:
    if not np.issubdtype(value.dtype, np.floating) or np.isfinite(value).all():
        return
    nan, infinite = int(np.isnan(value).sum()), int(np.isinf(value).sum())
    raise InputError(
        f"input {name!r} is not finite",
        found=f"{nan} NaN and {infinite} infinite of {value.size} values",
        expected="finite numbers",
    )
