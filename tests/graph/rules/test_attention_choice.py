"""What the kernel takes, and what the table that ships says of it."""

from __future__ import annotations

import msgspec
import pytest

from mmedge.graph.rules.attention_choice import Features, Row, choices, choose, refusal
from mmedge.targets import TensorRTSettings

RTX = TensorRTSettings("tensorrt_rtx", "1.7", "8.6")
JETPACK_6 = TensorRTSettings("tensorrt", "10.3", "8.7")
PLAIN = Features("FLOAT16", 64, lengths=False, causal=False, bias=False)


def alike(**changes: object) -> Features:
    return msgspec.structs.replace(PLAIN, **changes)


@pytest.mark.parametrize("dtype", ["FLOAT16", "BFLOAT16"])
@pytest.mark.parametrize("size", [24, 64, 72, 80, 256])
def test_the_kernel_takes_16_bits_and_multiples_of_8(dtype: str, size: int) -> None:
    assert refusal(alike(dtype=dtype, head_size=size), RTX) is None


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"dtype": "FLOAT"}, "this attention in float"),
        ({"dtype": "unknown"}, "this attention in unknown"),
        ({"head_size": 12}, "head size 12"),
        ({"head_size": 16}, "head size 16 has no kernel"),
        ({"head_size": 264}, "head size 264 has no kernel"),
    ],
)
def test_what_the_kernel_refuses(changes: dict[str, object], why: str) -> None:
    assert why in (refusal(alike(**changes), RTX) or "")


def test_gpus_that_are_too_old_are_refused() -> None:
    turing = TensorRTSettings("tensorrt_rtx", "1.7", "7.5")
    assert "7.5" in (refusal(PLAIN, turing) or "")


@pytest.mark.parametrize(
    ("changes", "settings", "use"),
    [
        ({}, RTX, "builtin"),
        ({"bias": True}, RTX, "builtin"),
        ({"causal": True}, RTX, "builtin"),
        ({"causal": True, "bias": True}, RTX, "plugin"),
        ({"lengths": True}, RTX, "plugin"),
        ({"keys": 65536}, RTX, "plugin"),
        ({"keys": 4096}, RTX, "builtin"),
        ({"bias": True}, JETPACK_6, "plugin"),
        ({}, JETPACK_6, "builtin"),
    ],
)
def test_the_table(changes: dict[str, object], settings: TensorRTSettings, use: str) -> None:
    assert choose(alike(**changes), settings).use == use


def test_there_is_always_an_answer() -> None:
    conditions = msgspec.structs.asdict(choices().rows[-1])
    assert {name for name, value in conditions.items() if value is not None} == {
        "use",
        "why",
        "measured",
    }


@pytest.mark.parametrize(
    ("condition", "holds"),
    [
        ({"library": "tensorrt"}, False),
        ({"since": "1.7"}, True),
        ({"since": "1.8"}, False),
        ({"before": "1.7"}, False),
        ({"capability": "8.6"}, True),
        ({"capability": "8.9"}, False),
        ({"dtypes": ("BFLOAT16",)}, False),
        ({"head_sizes": (64,)}, True),
        ({"head_sizes": (72, 80)}, False),
        ({"keys_from": 1}, False),
    ],
)
def test_each_condition(condition: dict[str, object], holds: bool) -> None:
    row = Row(use="plugin", why="", measured="", **condition)  # type: ignore[arg-type]
    assert row.holds(PLAIN, RTX) is holds
