"""Sizes as torch.export writes them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmedge.backends.tensorrt.size_expressions import size_of


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("batch", 3),
        ("4*images", 20),
        ("(patches//4)", 25),
        ("(((patches - 28)//3)) - 1", 23),
        ("-images + patches", 95),
        ("Max(1, images - 7)", 1),
        ("images**2", 25),
        ("patches % 7", 2),
    ],
)
def test_what_torch_writes(expression: str, expected: int) -> None:
    assert size_of(expression, {"batch": 3, "images": 5, "patches": 100}) == expected


@pytest.mark.parametrize(
    "expression",
    [
        "s18",
        "",
        "batch +",
        "batch if 1 else 2",
        "batch // 0",
        "__import__('os')",
        "batch.real",
        "'a'",
    ],
)
def test_what_is_not_known_has_no_size(expression: str) -> None:
    assert size_of(expression, {"batch": 3}) is None


def test_an_expression_cannot_keep_the_machine_busy() -> None:
    assert size_of("9**9**9", {}) is not None


@given(samples=st.integers(0, 10**7), hop=st.integers(1, 1000), offset=st.integers(-500, 500))
def test_it_is_python_arithmetic(samples: int, hop: int, offset: int) -> None:
    found = size_of(f"((samples + {offset})//{hop}) - 1", {"samples": samples})
    assert found == (samples + offset) // hop - 1
