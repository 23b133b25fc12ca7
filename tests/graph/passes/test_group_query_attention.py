import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mmedge.graph.passes import DropUnusedInputs, GroupQueryAttention, run_passes
from mmedge.graph.passes.group_query_attention import REPEATED

HEADER = "(float[b, {q}, s, 8] q, float[b, {k}, t, 8] k, float[b, {v}, t, 8] v) => (y)"
AXES = " two = Constant<value_ints = [2]>()"


def repeated(name: str, heads: int, times: int, axis: str = "two") -> str:
    """`{name}r`: the tensor with every head `times` times in a row."""
    return (
        f" {name}u = Unsqueeze({name}, {axis})"
        f" {name}t = Constant<value_ints = [1, 1, {times}, 1, 1]>()"
        f" {name}e = Expand({name}u, {name}t)"
        f" {name}s = Constant<value_ints = [0, {heads * times}, -1, 8]>()"
        f" {name}r = Reshape({name}e, {name}s)"
    )


def decoder(heads: int, times: int) -> str:
    header = HEADER.format(q=heads * times, k=heads, v=heads)
    copies = repeated("k", heads, times) + repeated("v", heads, times)
    return f"{header} {{ {AXES} {copies} y = Attention(q, kr, vr) }}"


def test_attention_reads_the_heads_there_are(run, ops):
    model, record = run(decoder(heads=3, times=3), GroupQueryAttention(), b=2, s=4, t=5)
    assert record.what == ["shared keys and values in 1 Attention"]
    model, _ = run_passes(model, [DropUnusedInputs()])
    assert ops(model) == ["Attention"]
    assert [value.name for value in model.graph.node(0).inputs] == ["q", "k", "v"]


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    heads=st.integers(1, 4),
    times=st.integers(1, 4),
    sizes=st.tuples(st.integers(1, 3), st.integers(1, 4), st.integers(1, 9)),
)
def test_any_number_of_heads_keeps_its_values(run, heads, times, sizes):
    batch, queries, keys = sizes
    text = decoder(heads, times)
    _, record = run(text, GroupQueryAttention(), b=batch, s=queries, t=keys)
    assert record.changed
    assert record.max_abs_difference < 1e-5


def test_a_mask_of_every_query_head_stays(run):
    text = f"""(float[b, 4, s, 8] q, float[b, 2, t, 8] k, float[b, 2, t, 8] v,
        float[b, 4, s, t] m) => (y) {{ {AXES} {repeated("k", 2, 2)} {repeated("v", 2, 2)}
        y = Attention(q, kr, vr, m) }}"""
    _, record = run(text, GroupQueryAttention(), b=2, s=3, t=5)
    assert record.changed


LEFT = {
    "only the keys are repeated": "y = Attention(q, kr, w)",
    "repeated along another axis": "y = Attention(q, ko, vo)",
}


@pytest.mark.parametrize("name", LEFT)
def test_what_is_not_recognised_is_left_and_counted(name, parse):
    # `ko` writes the whole group of heads twice (0 1 0 1), where grouping means (0 0 1 1).
    text = f"""(float[b, 4, s, 8] q, float[b, 2, t, 8] k, float[b, 2, t, 8] v,
        float[b, 4, t, 8] w) => (y) {{ {AXES} one = Constant<value_ints = [1]>()
        {repeated("k", 2, 2)}
        twice = Constant<value_ints = [1, 2, 1, 1, 1]>()
        merge = Constant<value_ints = [0, 4, -1, 8]>()
        ku1 = Unsqueeze(k, one) ke1 = Expand(ku1, twice) ko = Reshape(ke1, merge)
        vu1 = Unsqueeze(v, one) ve1 = Expand(vu1, twice) vo = Reshape(ve1, merge)
        {LEFT[name]} }}"""
    _, (record,) = run_passes(parse(text), [GroupQueryAttention()])
    assert not record.changed
    assert record.what == [f"left 1 Attention: {REPEATED}"]


def test_keys_that_are_not_repeated_are_no_finding(parse):
    text = HEADER.format(q=2, k=2, v=2) + " { y = Attention(q, k, v) }"
    _, (record,) = run_passes(parse(text), [GroupQueryAttention()])
    assert (record.changed, record.what) == (False, [])
