"""Random sentences of one length, and images."""

from __future__ import annotations

from typing import Any

import numpy as np


def examples() -> list[dict[str, Any]]:
    """Five examples: text int64 [6], image float32 [3, 20, 20]."""
    rng = np.random.default_rng(0)
    return [
        {
            "text": rng.integers(0, 30, 6),
            "image": rng.standard_normal((3, 20, 20)).astype(np.float32),
        }
        for _ in range(5)
    ]
