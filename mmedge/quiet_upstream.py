"""transformers while mmedge calls it: without its advice to whoever calls it by hand."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

from mmedge.optional import require


@contextmanager
def quiet_transformers() -> Iterator[None]:
    """While active, transformers neither logs nor warns; its errors are raised as ever.

    Raises MissingDependencyError without transformers.
    """
    require("transformers.utils.logging")  # sets the level itself, when it is first imported
    logger = logging.getLogger("transformers")
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)
