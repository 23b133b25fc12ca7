"""Random images, sounds and sentences."""

from __future__ import annotations

from typing import Any

import numpy as np


def examples() -> list[dict[str, Any]]:
    """Eight examples: image float32 [3, 16, 16], audio float32 [160], text int64 [5]."""
    rng = np.random.default_rng(0)
    return [
        {
            "image": rng.standard_normal((3, 16, 16)).astype(np.float32),
            "audio": rng.standard_normal(160).astype(np.float32),
            "text": rng.integers(0, 20, 5),
        }
        for _ in range(8)
    ]
