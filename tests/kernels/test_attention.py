"""The kernels' sources, emulated, against float64."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import hypothesis.strategies as st
import numpy as np
import pytest
from emulator import Emulator, kernel_table
from hypothesis import given, settings
from problem import Problem
from shapes import Shapes

Library = Callable[[str, int], Emulator]

# Compiling takes most of the time, so a few sizes stand for the others: 72 is padded, 128 is the
# largest whose queries stay in registers, 256 reads them from shared memory.
HEAD_SIZES = {"Fp16": (64, 72, 128, 256), "Bf16": (64,)}
CASES = [(number, size) for number, sizes in HEAD_SIZES.items() for size in sizes]


def find(library: Library, shapes: Shapes) -> Emulator:
    return library(shapes.number, -(-shapes.head_size // 16) * 16)


def every_tactic(library: Emulator, problem: Problem) -> range:
    """And -1, the table's choice."""
    return range(-1, library.tactics(problem.call()))


@st.composite
def problems(draw: st.DrawFn, *, longest_query: int = 150) -> Shapes:
    """Any variant with odd lengths; small, as a tile's edges are what matters."""
    number, head_size = draw(st.sampled_from(CASES))
    kv_heads, group = draw(st.integers(1, 2)), draw(st.integers(1, 4))
    shapes = Shapes(
        number=number,
        head_size=head_size,
        batch=draw(st.integers(1, 3)),
        queries=draw(st.integers(1, longest_query)),
        keys=draw(st.integers(0, 260)),
        heads=kv_heads * group,
        kv_heads=kv_heads,
        causal=draw(st.integers(0, 2)),
        gap=draw(st.integers(0, 2)),
        loud=draw(st.sampled_from((1.0, 30.0))),
        seed=draw(st.integers(0, 2**31)),
    )
    rows = st.just(shapes.batch)
    return draw(st.sampled_from((draw(_dense(shapes)), draw(_packed(shapes, rows)))))


@st.composite
def _dense(draw: st.DrawFn, shapes: Shapes) -> Shapes:
    one_length = st.integers(-3, shapes.keys + 5)
    lengths = st.tuples(*[one_length] * shapes.batch)
    return replace(
        shapes,
        bias=draw(st.none() | st.tuples(st.booleans(), st.booleans())),
        lengths=draw(st.none() | lengths),
    )


@st.composite
def _packed(draw: st.DrawFn, shapes: Shapes, rows: st.SearchStrategy[int]) -> Shapes:
    row = st.tuples(st.integers(0, shapes.queries), st.integers(0, shapes.keys))
    return replace(shapes, packed=tuple(draw(row) for _ in range(draw(rows))))


@settings(max_examples=60)
@given(shapes=problems(), schedule=st.integers(0, 2**31), processors=st.sampled_from((1, 16, 132)))
def test_any_problem_is_solved(
    library: Library, shapes: Shapes, schedule: int, processors: int
) -> None:
    emulator = find(library, shapes)
    emulator.schedule(schedule, multiprocessors=processors)
    Problem.made(shapes).check(emulator)


@settings(max_examples=40)
@given(shapes=problems(longest_query=16), processors=st.sampled_from((1, 16, 132)))
def test_any_decode_is_solved(library: Library, shapes: Shapes, processors: int) -> None:
    emulator = find(library, shapes)
    emulator.schedule(shapes.seed, multiprocessors=processors)
    problem = Problem.made(shapes)
    for tactic in every_tactic(emulator, problem):
        problem.check(emulator, tactic=tactic)


VARIANTS = {
    "dense": Shapes(queries=70, keys=70, heads=2, kv_heads=2),
    "lengths": Shapes(batch=2, queries=50, keys=130, lengths=(129, 64)),
    "cross": Shapes(queries=33, keys=197, heads=2, kv_heads=1),
    "bias": Shapes(batch=2, queries=65, keys=99, heads=2, kv_heads=2, bias=(True, False)),
    "upper-left": Shapes(queries=90, keys=140, causal=1),
    "lower-right with bias and lengths": Shapes(
        batch=2, queries=70, keys=131, causal=2, bias=(False, True), lengths=(131, 77)
    ),
    "more queries than keys": Shapes(queries=140, keys=70, causal=2),
    "packed": Shapes(
        batch=4, queries=70, keys=70, heads=2, packed=((64, 64), (1, 70), (0, 0), (70, 3))
    ),
    "decode": Shapes(batch=2, queries=1, keys=300, heads=8, kv_heads=2, lengths=(300, 12)),
    "speculative decode": Shapes(queries=5, keys=260, heads=8, kv_heads=2, causal=2),
}


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize(("number", "head_size"), CASES)
def test_every_tile_shape_solves_every_variant(
    library: Library, number: str, head_size: int, variant: str
) -> None:
    shapes = replace(VARIANTS[variant], number=number, head_size=head_size)
    problem, emulator = Problem.made(shapes), find(library, shapes)
    emulator.schedule(1)
    for tactic in every_tactic(emulator, problem):
        problem.check(emulator, tactic=tactic)


@pytest.mark.parametrize("variant", VARIANTS)
def test_the_order_of_threads_changes_no_bit(library: Library, variant: str) -> None:
    problem = Problem.made(VARIANTS[variant])
    emulator = find(library, problem.shapes)
    results = []
    for seed in range(6):
        emulator.schedule(seed)
        results.append(problem.run(emulator).tobytes())
    assert len(set(results)) == 1


@pytest.mark.parametrize("keys", [0, 1])
@pytest.mark.parametrize("queries", [1, 20])
def test_a_query_that_sees_no_key_gives_zero(library: Library, queries: int, keys: int) -> None:
    shapes = Shapes(batch=2, queries=queries, keys=keys, lengths=(0, -1))
    problem = Problem.made(shapes)
    assert not problem.run(find(library, shapes)).any()


@pytest.mark.parametrize("queries", [4, 40])
def test_minus_infinity_in_the_bias_hides_a_key(library: Library, queries: int) -> None:
    shapes = Shapes(queries=queries, keys=77, bias=(False, False))
    problem = Problem.made(shapes)
    assert problem.bias is not None
    problem.bias[:, :, :, 5:70] = -np.inf
    problem.bias[:, :, 2] = -np.inf
    problem.key[0, 20], problem.value[0, 70:] = 100.0, 3.0
    problem.check(find(library, shapes))
    assert not problem.output[0, 2].any()


@pytest.mark.parametrize("queries", [4, 40])
@pytest.mark.parametrize("odd", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("tensor", ["query", "key", "value", "bias"])
def test_nan_and_infinity_do_what_they_do_in_float64(
    library: Library, tensor: str, odd: float, queries: int
) -> None:
    shapes = Shapes(queries=queries, keys=90, bias=(False, False) if tensor == "bias" else None)
    problem = Problem.made(shapes)
    getattr(problem, tensor)[0, 0, 0, 2] = odd
    with np.errstate(invalid="ignore"):
        problem.check(find(library, shapes))


@pytest.mark.parametrize("queries", [8, 40])
@pytest.mark.parametrize("tensor", ["key", "bias"])
def test_what_the_causal_mask_hides_does_not_reach_the_result(
    library: Library, tensor: str, queries: int
) -> None:
    shapes = Shapes(queries=queries, keys=90, causal=2, bias=(False, False))
    problem = Problem.made(shapes)
    if tensor == "key":
        problem.key[0, 86] = np.nan  # hidden from all but the last queries
    else:
        assert problem.bias is not None
        problem.bias[..., 86:] = np.nan
    problem.check(find(library, shapes))
    assert np.isnan(problem.output).any()
    assert not np.isnan(problem.output[0, : queries - 4]).any()


def test_a_call_has_a_tactic_for_each_forward_tile_of_the_table(library: Library) -> None:
    forward = kernel_table()["tiles"]["forward"]
    shapes = Shapes(queries=17)
    problem = Problem.made(shapes)
    assert find(library, shapes).tactics(problem.call()) == len(forward)


# (batch, queries, keys), each no smaller than the one before.
GROWING = ((1, 1, 64), (1, 1, 129), (1, 4, 129), (1, 16, 129), (1, 99, 900), (3, 99, 900))


def test_the_workspace_grows_with_every_shape(library: Library) -> None:
    """A plugin asks once, for its largest shapes; a smaller call may need no more."""
    emulator = library("Fp16", 64)
    calls = [
        Problem.made(Shapes(batch=b, queries=q, keys=k, heads=4, kv_heads=2)).call()
        for b, q, k in GROWING
    ]
    sizes = [emulator.workspace_bytes(call) for call in calls]
    assert sizes[0] == 0
    assert sizes == sorted(sizes)
    assert sizes[-1] > sizes[1] > 0
