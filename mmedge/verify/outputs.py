"""Outputs of an engine beside those of the model: the same names, shapes, and how far apart."""

from __future__ import annotations

import numpy as np

from mmedge.errors import VerificationError
from mmedge.tensors import Array
from mmedge.verify.metrics import Difference, DifferencesByOutput
from mmedge.verify.sides import Outputs


def differences(wanted: Outputs, found: Outputs) -> dict[str, Difference]:
    """Each output of `found` against the one of `wanted` with its name."""
    made = DifferencesByOutput()
    for name, reference in wanted.items():
        made.add(name, *same_length(reference, found[name]))
    return made.result()


def same_length(first: Array, second: Array) -> tuple[Array, Array]:
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
            check_shape(name, reference, found[name])


def check_shape(name: str, reference: Array, found: Array) -> None:
    """VerificationError unless both have one shape."""
    if reference.shape != found.shape:
        raise VerificationError(
            f"output {name!r} has another shape than the model's",
            found=list(found.shape),
            expected=list(reference.shape),
        )
