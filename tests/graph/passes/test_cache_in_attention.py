import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mmedge.graph.passes import CacheInAttention, run_passes

INPUTS = """(float[b, {q}, s, 8] q, float[b, 2, s, 8] k, float[b, 2, s, 8] v,
    float[b, 2, p, 8] pk, float[b, 2, p, 8] pv{more})"""
JOINS = " nk = Concat<axis = -2>(pk, k) nv = Concat<axis = 2>(pv, v)"


def step(attention: str, *, outputs: str = "y, nk, nv", queries: int = 4, more: str = "") -> str:
    return f"{INPUTS.format(q=queries, more=more)} => ({outputs}) {{ {JOINS} {attention} }}"


def test_the_past_goes_into_attention(run, ops):
    text = step("y = Attention<scale = 0.5>(q, nk, nv)")
    model, record = run(text, CacheInAttention(), b=2, s=3, p=5)
    assert record.what == ["moved the past into 1 Attention"]
    assert ops(model) == ["Attention"]
    node = model.graph.node(0)
    assert [v and v.name for v in node.inputs] == ["q", "k", "v", None, "pk", "pv"]
    assert [v.name for v in model.graph.outputs] == ["y", "nk", "nv"]
    assert node.attributes.get_float("scale") == 0.5


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    sizes=st.tuples(st.integers(1, 3), st.integers(1, 5), st.integers(0, 7)),
    queries=st.sampled_from([2, 4, 6]),
    masked=st.booleans(),
)
def test_any_past_keeps_its_values(run, sizes, queries, masked):
    batch, new, past = sizes
    more = f", float[b, 1, {new}, {new + past}] m" if masked else ""
    text = step(f"y = Attention(q, nk, nv{', m' * masked})", queries=queries, more=more)
    _, record = run(text, CacheInAttention(), b=batch, s=new, p=past)
    assert record.changed
    assert record.max_abs_difference < 1e-5


def test_a_joined_tensor_that_is_no_output_needs_none(run, ops):
    model, record = run(step("y = Attention(q, nk, nv)", outputs="y"), CacheInAttention(), s=2, p=4)
    assert record.changed
    assert ops(model) == ["Attention"]


LEFT = {
    "it is causal by itself": "y = Attention<is_causal = 1>(q, nk, nv)",
    "something else reads the joined keys or values": "y = Attention(q, nk, nv) z = Neg(nk)",
}


@pytest.mark.parametrize("reason", LEFT)
def test_what_is_left_says_why(reason, parse):
    outputs = "y, nk, nv, z" if "z =" in LEFT[reason] else "y, nk, nv"
    _, (record,) = run_passes(parse(step(LEFT[reason], outputs=outputs)), [CacheInAttention()])
    assert not record.changed
    assert record.what == [f"left 1 Attention: {reason}"]


@pytest.mark.parametrize("attention", ["y = Attention(q, k, v)", "y = Attention(q, nk, v)"])
def test_attention_without_a_past_is_no_finding(attention, parse):
    _, (record,) = run_passes(parse(step(attention)), [CacheInAttention()])
    assert (record.changed, record.what) == (False, [])


def test_running_it_again_changes_nothing(parse):
    model, _ = run_passes(parse(step("y = Attention(q, nk, nv)")), [CacheInAttention()])
    _, (record,) = run_passes(model, [CacheInAttention()])
    assert not record.changed
