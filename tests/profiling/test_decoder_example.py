"""A decoder is measured with as many sequences as everything that it is bound to."""

from __future__ import annotations

import pytest
import torch

from mmedge.profiling.stages import _decoder_example
from mmedge.recipes import Split
from mmedge.tensors import TensorSpec


def split(*, batch: str | int) -> Split:
    shapes = {"ids": (batch, "new"), "positions": (3, batch, "new"), "past": (batch, 4, "past", 8)}
    sizes = {"batch": 2, "new": 3, "past": 5}
    return Split(
        components=(),
        outputs={},
        reference=lambda inputs: {},
        decoder_inputs=tuple(TensorSpec(n, "float32", shape) for n, shape in shapes.items()),
        decoder_examples={
            name: torch.randn([sizes.get(dim, dim) for dim in shape])  # type: ignore[arg-type]
            for name, shape in shapes.items()
        },
    )


@pytest.mark.parametrize("size", [1, 2, 5])
def test_the_batch_is_the_one_measured(size: int) -> None:
    made = _decoder_example(split(batch="batch"), size)
    assert made["ids"].shape == (size, 3)
    assert made["positions"].shape == (3, size, 3)
    assert made["past"].shape == (size, 4, 5, 8)


def test_a_fixed_batch_is_left_alone() -> None:
    assert _decoder_example(split(batch=2), 2)["past"].shape == (2, 4, 5, 8)
