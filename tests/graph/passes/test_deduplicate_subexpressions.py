import pytest

from mmedge.graph.passes import DeduplicateSubexpressions, run_passes


def test_equal_nodes_are_computed_once(run, ops):
    text = "(float[n] x) => (float[n] y) { a = Exp(x) b = Exp(x) y = Add(a, b) }"
    model, record = run(text, DeduplicateSubexpressions())
    assert ops(model) == ["Exp", "Add"]
    assert record.what == ["merged 1 Exp"]


@pytest.mark.parametrize(
    "nodes",
    [
        "a = Exp(x) b = Neg(x)",
        "a = Softmax<axis = 0>(x) b = Softmax<axis = 1>(x)",
        "a = Sub(x, u) b = Sub(u, x)",
        "a, m = Dropout(x) b = Dropout(x)",
    ],
)
def test_different_nodes_stay(nodes, run):
    text = f"(float[2, 2] x, float[2, 2] u) => (y) {{ {nodes} y = Add(a, b) }}"
    _, record = run(text, DeduplicateSubexpressions())
    assert not record.changed


def test_two_equal_outputs_keep_both_names(run):
    text = "(float[n] x) => (float[n] y, float[n] z) { y = Exp(x) z = Exp(x) }"
    model, _ = run(text, DeduplicateSubexpressions())
    assert [value.name for value in model.graph.outputs] == ["y", "z"]


@pytest.mark.parametrize(
    "nodes",
    [
        "a = Bernoulli(x) b = Bernoulli(x)",
        "a = Dropout(x, r, t) b = Dropout(x, r, t)",
        "a = RandomNormalLike(x) b = RandomNormalLike(x)",
    ],
)
def test_two_random_draws_stay_two(nodes, parse):
    text = f"""(float[n] x) => (float[n] y) <float r = {{0.5}}, bool t = {{1}}> {{
        {nodes} y = Sub(a, b) }}"""
    _, (record,) = run_passes(parse(text), [DeduplicateSubexpressions()])
    assert not record.changed
