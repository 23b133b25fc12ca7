"""Random images and questions."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

WORDS = 50


def evaluation() -> Iterator[tuple[dict[str, Any], int]]:
    """Six examples: image float32 [3, 64, 64], question int64 [8]; the target is an answer."""
    rng = np.random.default_rng(0)
    for answer in range(6):
        image = rng.standard_normal((3, 64, 64)).astype(np.float32)
        yield {"image": image, "question": rng.integers(0, WORDS, 8)}, answer
