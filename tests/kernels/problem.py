"""One attention problem: its shapes, its numbers, its call, and what float64 makes of it."""

from __future__ import annotations

import ctypes
import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
from emulator import Emulator
from reference import attend
from shapes import NUMBERS, Shapes

from mmedge.kernels.attention_library import Arguments

Array = npt.NDArray[Any]
ALIGNMENT = 16


@dataclass
class Problem:
    """Buffers that live as long as the call. `made` fills them from the seed."""

    shapes: Shapes
    query: Array
    key: Array
    value: Array
    bias: Array | None
    output: Array
    lengths: list[Array] = field(default_factory=list)
    workspace: Array | None = None

    @classmethod
    def made(cls, shapes: Shapes) -> Problem:
        rng = np.random.default_rng(shapes.seed)
        queries, keys = _rows(shapes)
        s = shapes
        query = _tensor(rng, s, queries, s.heads)
        query[:] = (np.asarray(query, np.float32) * s.loud).astype(_type(s))
        key, value = (_tensor(rng, s, keys, s.kv_heads, extra_gap=n) for n in range(2))
        bias = None
        if s.bias is not None:
            axes = (s.batch if s.bias[0] else 1, s.heads if s.bias[1] else 1)
            bias = rng.normal(size=(*axes, s.queries, s.keys)).astype(_type(s))
        output = _tensor(rng, s, queries, s.heads)
        output[:] = np.nan
        problem = cls(s, query, key, value, bias, output)
        problem._hide_padding()
        return problem

    def _hide_padding(self) -> None:
        """What lies past a row's keys is never read: whoever reads it gets NaN."""
        s = self.shapes
        if s.lengths is not None:
            self.lengths = [np.array(s.lengths, np.int32)]
            for row, length in enumerate(s.lengths):
                self.key[row, max(length, 0) :] = np.nan
                self.value[row, max(length, 0) :] = np.nan
        if s.packed is not None:
            ends = [np.cumsum([0, *column]) for column in zip(*s.packed, strict=True)]
            self.lengths = [np.array(end, np.int32) for end in ends]

    def call(self, *, tactic: int = -1) -> Arguments:
        s = self.shapes
        call = Arguments(
            query=_address(self.query),
            key=_address(self.key),
            value=_address(self.value),
            output=_address(self.output),
            query_strides=_strides(self.query),
            key_strides=_strides(self.key),
            value_strides=_strides(self.value),
            output_strides=_strides(self.output),
            batch=s.batch,
            num_heads=s.heads,
            kv_num_heads=s.kv_heads,
            max_query_length=s.queries,
            max_key_length=s.keys,
            head_size=s.head_size,
            dtype=NUMBERS[s.number][0],
            causal=s.causal,
            scale=1 / math.sqrt(s.head_size),
            tactic=tactic,
        )
        if self.bias is not None:
            call.bias, call.bias_strides = _address(self.bias), _bias_strides(self.bias)
        if s.lengths is not None:
            call.key_lengths = _address(self.lengths[0])
        if s.packed is not None:
            call.cumulative_query_lengths, call.cumulative_key_lengths = map(_address, self.lengths)
        return call

    def run(self, library: Emulator, *, tactic: int = -1) -> Array:
        """The kernels' output, [batch, queries, heads, head_size] or packed, in float64."""
        call = self.call(tactic=tactic)
        size = library.workspace_bytes(call)
        self.workspace = _aligned((size,), np.uint8)
        call.workspace = _address(self.workspace) if size else None
        self.output[:] = np.nan
        library.launch(call)
        return np.asarray(self.output, np.float64)

    def check(self, library: Emulator, *, tactic: int = -1) -> None:
        """Compare with float64: NaN where it is NaN, and near it by what the dtype can hold."""
        found = self.run(library, tactic=tactic)
        expected, allowed = self.reference()
        np.testing.assert_array_equal(np.isnan(found), np.isnan(expected))
        np.testing.assert_array_equal(np.isinf(found), np.isinf(expected))
        finite = np.isfinite(expected)
        over = np.abs(found - expected)[finite] - allowed[finite]
        assert over.size == 0 or over.max() <= 0, f"{over.max():.2e} beyond what rounding explains"

    def reference(self) -> tuple[Array, Array]:
        """The result in float64, and the greatest error that rounding explains."""
        expected, allowed = np.zeros(self.output.shape), np.zeros(self.output.shape)
        s = self.shapes
        for row in range(s.batch):
            queries, keys = self._of_row(row)
            for head in range(s.heads):
                kv_head = head // (s.heads // s.kv_heads)
                exact = attend(
                    *(
                        np.asarray(t, np.float64)
                        for t in (
                            self.query[queries][:, head],
                            self.key[keys][:, kv_head],
                            self.value[keys][:, kv_head],
                        )
                    ),
                    bias=self._bias_of(row, head),
                    shapes=s,
                )
                expected[queries][:, head], allowed[queries][:, head] = exact
        return expected, allowed

    def _of_row(self, row: int) -> tuple[Any, Any]:
        """Where a row of the batch lies in queries and in keys."""
        s = self.shapes
        if s.packed is not None:
            (q0, q1), (k0, k1) = (ends[row : row + 2] for ends in self.lengths)
            return slice(q0, q1), slice(k0, k1)
        length = s.keys if s.lengths is None else min(max(s.lengths[row], 0), s.keys)
        return row, (row, slice(0, length))

    def _bias_of(self, row: int, head: int) -> Array | None:
        if self.bias is None:
            return None
        batch, heads = self.bias.shape[:2]
        return np.asarray(self.bias[row % batch, head % heads], np.float64)


def _type(shapes: Shapes) -> Any:
    return NUMBERS[shapes.number][1]


def _rows(shapes: Shapes) -> tuple[tuple[int, ...], tuple[int, ...]]:
    if shapes.packed is None:
        return (shapes.batch, shapes.queries), (shapes.batch, shapes.keys)
    queries, keys = (sum(column) for column in zip(*shapes.packed, strict=True))
    return (queries,), (keys,)


def _tensor(
    rng: np.random.Generator, s: Shapes, rows: tuple[int, ...], heads: int, *, extra_gap: int = 0
) -> Array:
    """[..., heads, head_size] with a gap behind every row, in which there is NaN."""
    width = heads * s.head_size
    memory = _aligned((*rows, width + (s.gap + extra_gap) * 8), _type(s))
    memory[:] = np.nan
    tensor = memory[..., :width].reshape(*rows, heads, s.head_size)
    if tensor.size:
        tensor = np.lib.stride_tricks.as_strided(
            memory,
            (*rows, heads, s.head_size),
            (*memory.strides[:-1], s.head_size * memory.itemsize, memory.itemsize),
        )
    tensor[:] = rng.normal(size=tensor.shape).astype(_type(s))
    return tensor


def _aligned(shape: tuple[int, ...], dtype: Any) -> Array:
    size = math.prod(shape) * np.dtype(dtype).itemsize
    memory = np.empty(size + ALIGNMENT, np.uint8)
    start = -memory.ctypes.data % ALIGNMENT
    return memory[start : start + size].view(dtype).reshape(shape)


def _address(array: Array) -> int:
    return int(array.ctypes.data)


def _strides(tensor: Array) -> Any:
    strides = [step // tensor.itemsize for step in tensor.strides[:-1]]
    return (ctypes.c_int64 * 3)(*([0] * (3 - len(strides)) + strides))


def _bias_strides(bias: Array) -> Any:
    steps = [
        0 if length == 1 and axis < 2 else step // bias.itemsize
        for axis, (length, step) in enumerate(zip(bias.shape, bias.strides, strict=True))
    ]
    return (ctypes.c_int64 * 3)(*steps[:3])
