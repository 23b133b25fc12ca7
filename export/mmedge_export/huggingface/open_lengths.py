"""`len` of a tensor that leaves its first axis open.

Python's own wants a plain number and so fixes the axis in a trace (CLIPSeg compares the number of
texts with that of images). Here it is the tensor's size, in the files of the model's own classes.
"""

from __future__ import annotations

import builtins
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch import Tensor, nn

ARCHITECTURES = "transformers.models."


def open_len(value: Any) -> Any:
    """`len`, which may be symbolic where the value is a tensor."""
    # A tensor without axes has no length: Python says so.
    is_rows = isinstance(value, Tensor) and value.ndim > 0
    return value.shape[0] if is_rows else builtins.len(value)


@contextmanager
def open_lengths(model: nn.Module) -> Iterator[None]:
    """While active, upstream's architecture files take the length of tensors so."""
    names = {kind.__module__ for module in model.modules() for kind in type(module).__mro__}
    files = [sys.modules[name] for name in names if name.startswith(ARCHITECTURES)]
    # A file with a name of its own for it, or in which it is replaced already, keeps that.
    changed = [file for file in files if "len" not in vars(file)]
    for file in changed:
        vars(file)["len"] = open_len
    try:
        yield
    finally:
        for file in changed:
            del vars(file)["len"]
