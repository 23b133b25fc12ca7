"""A call that no kernel can run is refused in words, before anything is launched."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from emulator import Emulator
from problem import Problem
from shapes import Shapes

from mmedge.errors import InputError

Library = Callable[[str, int], Emulator]
SHAPES = Shapes(batch=2, queries=20, keys=30, heads=4, kv_heads=2, gap=1)
DECODE = Shapes(queries=1, keys=500, heads=2, kv_heads=1)
PACKED = Shapes(batch=2, queries=9, keys=9, packed=((9, 9), (2, 3)))
BIASED = Shapes(queries=20, keys=30, bias=(False, False))
INT_MAX = 2**31 - 1

# What is set in the call (an index where it is an array), and what the refusal says.
REFUSED: tuple[tuple[Shapes, dict[str, Any], str], ...] = (
    (SHAPES, {"batch": -1}, "batch -1, query length 20 and key length 30 must not be negative"),
    (SHAPES, {"max_query_length": -5}, "query length -5"),
    (SHAPES, {"max_key_length": -5}, "key length -5"),
    (SHAPES, {"num_heads": 0}, "0 heads and 2 key-value heads: both must be at least 1"),
    (SHAPES, {"kv_num_heads": 0}, "4 heads and 0 key-value heads"),
    (SHAPES, {"kv_num_heads": 3}, "4 heads are no multiple of 3 key-value heads"),
    (SHAPES, {"head_size": 0}, "head size 0 is not a multiple of 8 from 8 to 256"),
    (SHAPES, {"head_size": 60}, "head size 60 is not a multiple of 8"),
    (SHAPES, {"head_size": 264}, "head size 264 is not"),
    (SHAPES, {"head_size": 8}, "no kernel for head size 8 and dtype 0"),
    (SHAPES, {"max_key_length": INT_MAX}, "more than 32 bits can count"),
    (SHAPES, {"max_query_length": INT_MAX // 2}, "more than 32 bits can count"),
    (SHAPES, {"dtype": 2}, r"dtype 2 is neither 0 \(fp16\) nor 1 \(bf16\)"),
    (SHAPES, {"dtype": 1}, "no kernel for head size 64 and dtype 1"),
    (SHAPES, {"causal": 3}, "causal 3 is not 0"),
    (SHAPES, {"causal": -1}, "causal -1 is not 0"),
    (SHAPES, {"scale": 0.0}, "scale 0 is not a positive, finite number"),
    (SHAPES, {"scale": -1.0}, "scale -1 is not"),
    (SHAPES, {"scale": float("nan")}, "scale -?nan is not"),
    (SHAPES, {"scale": float("inf")}, "scale inf is not"),
    (SHAPES, {"query": None}, "query is null"),
    (SHAPES, {"key": None}, "key is null"),
    (SHAPES, {"value": None}, "value is null"),
    (SHAPES, {"output": None}, "output is null"),
    (SHAPES, {"query": 1000002}, "query does not begin at a multiple of 16 bytes"),
    (SHAPES, {"output": 1000008}, "output does not begin at a multiple of 16 bytes"),
    (SHAPES, {"query_strides": (1, 260)}, "query: the row stride of 260 elements is not a mul"),
    (SHAPES, {"key_strides": (2, 68)}, "key: the head stride of 68 elements"),
    (SHAPES, {"value_strides": (0, 4)}, "value: the batch stride of 4 elements"),
    (SHAPES, {"output_strides": (1, -264)}, "output: the row stride of -264 elements"),
    (SHAPES, {"key_lengths": 1000002}, "a lengths array does not begin at a multiple of 4 bytes"),
    (BIASED, {"bias": 1000001}, "bias does not begin at a multiple of 2 bytes"),
    (BIASED, {"bias_strides": (2, -30)}, "bias: a stride is negative"),
    (PACKED, {"cumulative_key_lengths": None}, "packed rows need cumulative lengths of queries"),
    (PACKED, {"key_lengths": 1000000}, "key lengths and cumulative lengths exclude each other"),
    (PACKED, {"bias": 1000000}, "a bias needs rows of one length"),
    (SHAPES, {"tactic": 2}, "tactic 2 is not below the 2 tactics of this call"),
    (DECODE, {"workspace": None}, "workspace is null"),
    (DECODE, {"workspace": 1000004}, "workspace does not begin at a multiple of 16 bytes"),
)


@pytest.mark.parametrize(("shapes", "change", "words"), REFUSED, ids=[r[2] for r in REFUSED])
def test_a_bad_call_is_refused(
    library: Library, shapes: Shapes, change: dict[str, Any], words: str
) -> None:
    problem = Problem.made(shapes)
    call = problem.call()
    emulator = library("Fp16", 64)
    for name, value in change.items():
        if isinstance(value, tuple):
            getattr(call, name)[value[0]] = value[1]
        else:
            setattr(call, name, value)
    with pytest.raises(InputError, match=words):
        emulator.launch(call)
    assert np.isnan(problem.output).all(), "something was launched"


def test_too_many_blocks_are_refused(library: Library) -> None:
    call = Problem.made(SHAPES).call()
    call.batch, call.num_heads, call.kv_num_heads = INT_MAX, 2, 1
    # Every batch at the same place, so that the buffers are as large as they were.
    for strides in (call.query_strides, call.key_strides, call.value_strides, call.output_strides):
        strides[0] = 0
    with pytest.raises(InputError, match=r"\d+ blocks are more than a grid holds"):
        library("Fp16", 64).launch(call)


@pytest.mark.parametrize("change", [{"batch": 0}, {"max_query_length": 0}])
def test_an_empty_call_needs_no_tensors(library: Library, change: dict[str, int]) -> None:
    call = Problem.made(SHAPES).call()
    for name, value in change.items():
        setattr(call, name, value)
    call.query = call.key = call.value = call.output = None
    library("Fp16", 64).launch(call)


def test_no_keys_need_no_keys(library: Library) -> None:
    problem = Problem.made(Shapes(queries=20, keys=0))
    call = problem.call()
    call.key = call.value = None
    library("Fp16", 64).launch(call)
    assert not problem.output.any()


@pytest.mark.parametrize("change", [{"head_size": 60}, {"dtype": 9}, {"batch": -1}])
def test_a_bad_call_has_no_tactics_and_no_workspace(
    library: Library, change: dict[str, int]
) -> None:
    call = Problem.made(DECODE).call()
    for name, value in change.items():
        setattr(call, name, value)
    emulator = library("Fp16", 64)
    assert (emulator.tactics(call), emulator.workspace_bytes(call)) == (0, 0)


def test_a_call_that_is_not_there_is_refused(library: Library, shared_directory: Any) -> None:
    library("Fp16", 64)
    raw = ctypes.CDLL(str(shared_directory / "Fp16_64.so")).mmedge_attention
    raw.restype = ctypes.c_char_p
    assert raw(None, None) == b"no call was given"
