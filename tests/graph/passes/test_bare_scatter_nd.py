"""ScatterND without the attribute that says what it does anyway."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from mmedge.graph.passes import BareScatterND

TEXT = """(float[4] x, int64[2, 1] i, float[2] u) => (float[4] y)
    {{ y = ScatterND<reduction = "{reduction}">(x, i, u) }}"""


@pytest.mark.parametrize(("reduction", "stays"), [("none", False), ("add", True)])
def test_only_the_default_is_dropped(run: Any, reduction: str, stays: bool) -> None:
    places = {"i": np.array([[3], [0]])}
    model, record = run(TEXT.format(reduction=reduction), BareScatterND(), places)
    assert ("reduction" in model.graph.node(0).attributes) == stays
    assert record.changed != stays
    assert record.max_abs_difference == 0.0
