"""The few problems that a wrong kernel cannot get through: run on every planted bug.

Small tiles make small problems cover their edges: 32 rows (two warps) or 16 (decode), 32 keys.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable

import numpy as np
import pytest
from emulator import Emulator, Instance
from problem import Problem
from shapes import Shapes

from mmedge.errors import InputError

INSTANCE = Instance("Fp16", 48, forward=((32, 32),), decode=((16, 32),))
MANY_PROCESSORS = 64  # so many that the keys of a decode are cut into as many parts as there are
SEEDS = (0, 3)

FORWARD = (
    Shapes(head_size=40, queries=70, keys=100, heads=2, kv_heads=1, gap=1, loud=8.0),
    Shapes(head_size=48, queries=40, keys=90, batch=3, heads=2, kv_heads=2, lengths=(33, 0, 200)),
    Shapes(head_size=40, queries=66, keys=97, batch=2, heads=4, kv_heads=2, causal=2,
           lengths=(80, 50), bias=(True, True)),
    Shapes(head_size=40, queries=65, keys=99, causal=1),
    Shapes(head_size=48, queries=35, keys=67, causal=2, heads=2, kv_heads=2, bias=(False, True)),
    Shapes(head_size=48, batch=4, queries=40, keys=70, causal=2, heads=2, kv_heads=1,
           packed=((10, 20), (0, 5), (40, 0), (33, 70))),
)  # fmt: skip
DECODE = (
    Shapes(head_size=40, batch=2, queries=1, keys=130, heads=6, kv_heads=2, gap=1, loud=80.0),
    Shapes(head_size=48, batch=3, queries=3, keys=99, heads=4, kv_heads=2, causal=2,
           lengths=(99, 0, 40), bias=(True, True)),
    Shapes(head_size=48, queries=9, keys=200, heads=8, kv_heads=2, causal=2),
)  # fmt: skip


def run_battery(library: Emulator) -> None:
    """Raises what a wrong kernel shows first: a failed launch, a number, a missing refusal."""
    for spoil, words in REFUSALS:
        _is_refused(library, spoil, words)
    for shapes in (*FORWARD, *DECODE):
        for seed in SEEDS:
            library.schedule(seed, multiprocessors=MANY_PROCESSORS)
            Problem.made(shapes).check(library)
    _nan_is_not_lost(library)


def _nan_is_not_lost(library: Emulator) -> None:
    for shapes in (FORWARD[0], DECODE[0]):
        problem = Problem.made(shapes)
        problem.query[0, 0, 0, 0] = np.nan
        problem.check(library)


def _misaligned(problem: Problem) -> ctypes.Structure:
    call = problem.call()
    call.key += 2
    return call


def _odd_stride(problem: Problem) -> ctypes.Structure:
    call = problem.call()
    call.value_strides[1] += 4
    return call


def _heads_that_do_not_divide(problem: Problem) -> ctypes.Structure:
    call = problem.call()
    call.kv_num_heads = 4
    return call


REFUSALS: tuple[tuple[Callable[[Problem], ctypes.Structure], str], ...] = (
    (_misaligned, "key does not begin at a multiple of 16 bytes"),
    (_odd_stride, "value: the row stride"),
    (_heads_that_do_not_divide, "6 heads are no multiple of 4"),
)


def _is_refused(
    library: Emulator, spoil: Callable[[Problem], ctypes.Structure], words: str
) -> None:
    problem = Problem.made(DECODE[0])
    with pytest.raises(InputError, match=words):
        library.launch(spoil(problem))
