"""run_passes catches passes that break their promise."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest

from mmedge.errors import GraphError
from mmedge.graph.passes import GraphPass, Outcome, run_passes
from mmedge.graph.provenance import MODULE_PATH, ensure_stamped, module_path

TEXT = "(float[n] x, float[n] unused) => (float[n] y, float[n] z) { y = Exp(x) z = Neg(x) }"
FEEDS = {"x": np.ones(3, np.float32), "unused": np.ones(3, np.float32)}


class Broken(GraphPass):
    """Applies a change that no honest pass makes."""

    def __init__(self, change):
        self.change = change

    def call(self, model: ir.Model) -> Outcome:
        self.change(model)
        return Outcome(model, True, ["changed something"])


def negate_to_abs(model):
    old = model.graph[1]
    new = ir.node("Abs", old.inputs)
    new.outputs[0].name = "z"
    ir.convenience.replace_nodes_and_values(
        model.graph, old, [old], [new], old.outputs, new.outputs
    )


def scale_slightly(model):
    graph, value = model.graph, model.graph.outputs[0]
    value.name = "before"
    factor = ir.node("Constant", [], {"value": ir.tensor(np.float32(1 + 1e-3))})
    product = ir.node("Mul", [value, factor.outputs[0]])
    product.outputs[0].name, product.outputs[0].type = "y", value.type
    graph.extend([factor, product])
    graph.outputs[0] = product.outputs[0]


def test_wrong_values_name_the_pass_and_the_output(parse):
    with pytest.raises(GraphError, match=r"Broken changed the values of output 'z'") as caught:
        run_passes(parse(TEXT), [Broken(negate_to_abs)], feeds=FEEDS)
    assert caught.value.details["found"] == "a largest difference of 2"


def test_a_difference_of_a_thousandth_is_caught(parse):
    with pytest.raises(GraphError, match=r"values of output 'y'"):
        run_passes(parse(TEXT), [Broken(scale_slightly)], feeds=FEEDS)


def test_without_feeds_values_are_not_compared(parse):
    _, (record,) = run_passes(parse(TEXT), [Broken(negate_to_abs)])
    assert record.max_abs_difference is None


CHANGES = {
    "inputs": [
        lambda m: m.graph.inputs.reverse(),
        lambda m: m.graph.inputs.pop(),
        lambda m: setattr(m.graph.inputs[0], "name", "renamed"),
        lambda m: setattr(m.graph.inputs[0], "dtype", ir.DataType.DOUBLE),
        lambda m: setattr(m.graph.inputs[0], "shape", ir.Shape([3])),
    ],
    "outputs": [
        lambda m: m.graph.outputs.reverse(),
        lambda m: m.graph.outputs.pop(),
        lambda m: setattr(m.graph.outputs[0], "name", "renamed"),
        lambda m: setattr(m.graph.outputs[0], "dtype", ir.DataType.DOUBLE),
    ],
}


@pytest.mark.parametrize(
    ("kind", "change"), [(kind, change) for kind, changes in CHANGES.items() for change in changes]
)
def test_the_signature_is_invariant(kind, change, parse):
    with pytest.raises(GraphError, match=f"Broken changed the graph's {kind}"):
        run_passes(parse(TEXT), [Broken(change)])


def test_only_a_pass_that_declares_it_may_drop_inputs(parse):
    class Dropping(Broken):
        drops_inputs = True

    model, _ = run_passes(parse(TEXT), [Dropping(lambda m: m.graph.inputs.pop())], feeds=FEEDS)
    assert len(model.graph.inputs) == 1
    with pytest.raises(GraphError, match="changed the graph's inputs"):
        run_passes(parse(TEXT), [Dropping(lambda m: m.graph.inputs.reverse())])
    with pytest.raises(GraphError, match="changed the graph's outputs"):
        run_passes(parse(TEXT), [Dropping(lambda m: m.graph.outputs.pop())])


def test_an_invalid_graph_is_caught_without_feeds(parse):
    def misspell(model):
        model.graph[1].op_type = "Negg"

    with pytest.raises(GraphError, match="invalid ONNX graph") as caught:
        run_passes(parse(TEXT), [Broken(misspell)])
    assert caught.value.details["where"] == "Broken"


def test_a_pass_that_crashes_is_named(parse):
    with pytest.raises(GraphError, match="Broken failed") as caught:
        run_passes(parse(TEXT), [Broken(lambda m: 1 / 0)])
    assert "ZeroDivisionError" in str(caught.value)


def test_feeds_that_do_not_fit_say_what_is_expected(parse):
    with pytest.raises(GraphError, match="does not run before any pass") as caught:
        run_passes(parse(TEXT), [], feeds={"x": FEEDS["x"]})
    assert caught.value.details["expected"] == "feeds for x, unused"


def test_declared_output_shapes_survive(parse):
    def forget(model):
        model.graph.outputs[0].shape = None

    model, _ = run_passes(parse(TEXT), [Broken(forget)])
    assert str(model.graph.outputs[0].shape) == "[n]"


def test_passes_of_the_library_run_too_and_say_what_they_removed(parse):
    from onnx_ir.passes.common import RemoveUnusedNodesPass

    text = "(float[n] x) => (float[n] y) { dead = Exp(x) y = Neg(x) }"
    _, (record,) = run_passes(parse(text), [RemoveUnusedNodesPass()])
    assert (record.name, record.what) == ("RemoveUnusedNodesPass", ["removed 1 Exp"])
    assert (record.nodes_before, record.nodes_after) == (2, 1)


def test_nan_and_infinity_must_stay_where_they_are(parse):
    text = "(float[n] x) => (float[n] y) { y = Sqrt(x) }"

    def to_zero(model):
        model.graph[0].op_type = "Relu"

    feeds = {"x": np.array([-1, 1, np.inf], np.float32)}
    _, (record,) = run_passes(parse(text), [Broken(lambda m: None)], feeds=feeds)
    assert record.max_abs_difference == 0
    with pytest.raises(GraphError, match="values of output 'y'"):
        run_passes(parse(text), [Broken(to_zero)], feeds=feeds)


def test_integers_must_be_equal(parse):
    text = "(int64[n] x) => (int64[n] y) <int64 c = {1000000}> { y = Add(x, c) }"

    def off_by_one(model):
        model.graph[0].op_type = "Sub"

    _, (record,) = run_passes(
        parse(text), [Broken(lambda m: None)], feeds={"x": np.array([5], np.int64)}
    )
    assert record.max_abs_difference == 0
    with pytest.raises(GraphError, match="values of output 'y'"):
        run_passes(parse(text), [Broken(off_by_one)], feeds={"x": np.array([5], np.int64)})


def test_a_new_node_takes_the_path_of_what_it_replaces(parse):
    model = parse(TEXT)
    for node, path in zip(model.graph, ["encoder.exp", "encoder.neg"], strict=True):
        node.metadata_props[MODULE_PATH] = path
    model, _ = run_passes(model, [Broken(negate_to_abs), Broken(scale_slightly)])
    ensure_stamped(model)
    paths = {node.op_type: module_path(node) for node in model.graph}
    assert paths["Abs"] == "encoder.neg"
    assert paths["Mul"] == "encoder.exp"


def test_a_model_too_large_for_one_proto_runs_from_a_file(parse, monkeypatch):
    text = "(float[n, 64] x) => (float[n, 64] y) <float[64] w = {SIXTY_FOUR}> { y = Add(x, w) }"
    model = parse(text.replace("SIXTY_FOUR", ", ".join("1" * 64)))
    monkeypatch.setattr("mmedge.graph.passes.check._MAX_PROTO_BYTES", 100)
    feeds = {"x": np.zeros((2, 64), np.float32)}
    for _ in range(2):
        model, (record,) = run_passes(model, [Broken(lambda m: None)], feeds=feeds)
        assert record.max_abs_difference == 0
    np.testing.assert_array_equal(model.graph.initializers["w"].const_value.numpy(), np.ones(64))
