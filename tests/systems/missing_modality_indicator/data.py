"""Examples of which every third has no sound."""

from __future__ import annotations

from typing import Any

import numpy as np


def examples() -> list[dict[str, Any]]:
    """Nine examples: image float32 [3, 16, 16], audio float32 [200], has_audio bool."""
    rng = np.random.default_rng(0)
    found = []
    for index in range(9):
        silent = index % 3 == 2
        audio = np.zeros(200) if silent else rng.standard_normal(200)
        found.append(
            {
                "image": rng.standard_normal((3, 16, 16)).astype(np.float32),
                "audio": audio.astype(np.float32),
                "has_audio": np.array(not silent),
            }
        )
    return found
