"""transformers' checks on the values of tensors, switched off for a while."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

VARIABLE = "TRANSFORMERS_DISABLE_TORCH_CHECK"


@contextmanager
def without_checks() -> Iterator[None]:
    """While active, transformers does not look at the values of tensors to complain of them.

    Such checks cannot be traced. Everything else runs with them.
    """
    before = os.environ.get(VARIABLE)
    os.environ[VARIABLE] = "1"
    try:
        yield
    finally:
        if before is None:
            del os.environ[VARIABLE]
        else:
            os.environ[VARIABLE] = before
