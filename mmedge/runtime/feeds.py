"""Whether the arrays given to an engine are the ones that it takes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from mmedge.errors import InputError
from mmedge.tensors import Array, TensorSpec


def check_given(feeds: Mapping[str, Array], specs: Sequence[TensorSpec], component: str) -> None:
    """Raise InputError unless `feeds` are numpy arrays that fit `specs`, all of them."""
    names = [spec.name for spec in specs]
    if set(feeds) != set(names):
        raise InputError(
            f"component {component!r} was fed other inputs than it has",
            found=", ".join(sorted(feeds)) or "nothing",
            expected=", ".join(names),
        )
    sizes: dict[str, int] = {}
    for spec in specs:
        if not isinstance(feeds[spec.name], np.ndarray):
            raise InputError(
                f"input {spec.name!r} of component {component!r} is not a numpy array",
                found=type(feeds[spec.name]).__name__,
                expected=spec,
            )
        try:
            spec.check(feeds[spec.name], {}, sizes)
        except InputError as error:
            error.details["where"] = f"component {component!r}"
            raise
