from __future__ import annotations

from typing import Any

import msgspec
import numpy as np
import pytest

from mmedge.stage import Samples
from mmedge.verify.batches import batches


@pytest.mark.parametrize(
    ("dim", "count", "sizes"),
    [
        ("batch", 70, [32, 32, 6]),
        (4, 10, [4, 4]),
        (64, 130, [64, 64]),
        (64, 8, [64]),
        (1, 3, [1, 1, 1]),
    ],
)
def test_batches_are_what_the_model_takes(
    tiny_system: Any, dim: int | str, count: int, sizes: list[int]
) -> None:
    wiring = tiny_system.compiled.manifest.wiring
    question = wiring.input("question")
    spec = msgspec.structs.replace(question.spec, shape=(dim, 5))
    wiring = msgspec.structs.replace(wiring, inputs=(msgspec.structs.replace(question, spec=spec),))
    rows = np.arange(count * 5).reshape(count, 5)
    samples = Samples(({"question": rows},), None, count, "test", real=True)
    made = list(batches(samples, wiring))
    found = [batch["question"] for batch, _ in made]
    for batch, (_, numbers) in zip(found, made, strict=True):
        np.testing.assert_array_equal(batch, rows[numbers])
    assert [len(batch) for batch in found] == sizes
    np.testing.assert_array_equal(found[0][: min(count, sizes[0])], rows[: sizes[0]])


@pytest.mark.parametrize(("width", "size"), [(5, 32), (2**17, 2), (2**20, 2), (2**15, 8)])
def test_large_examples_come_a_few_at_a_time(tiny_system: Any, width: int, size: int) -> None:
    wiring = tiny_system.compiled.manifest.wiring
    wiring = msgspec.structs.replace(wiring, inputs=(wiring.input("question"),))
    rows = np.zeros((40, width), dtype=np.int64)  # 8 bytes each
    samples = Samples(({"question": rows},), None, 40, "test", real=True)
    made = list(batches(samples, wiring))
    assert len(made[0][1]) == size
    assert sum(len(numbers) for _, numbers in made) == 40
