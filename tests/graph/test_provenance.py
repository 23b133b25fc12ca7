from __future__ import annotations

import onnx_ir as ir
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmedge.errors import GraphError
from mmedge.graph.provenance import (
    MODULE_PATH,
    all_nodes,
    common_ancestor,
    ensure_stamped,
    module_path,
    modules_of,
    stamp_module_paths,
)

SCOPES = "pkg.torch.onnx.name_scopes"
SYNTHETIC = ["_empty_nn_module_stack_from_metadata_hook", "sym_size_int"]


def graph(text: str, scopes: dict[str, list[str]] | None = None) -> ir.Model:
    """The graph in text; `scopes` are the exporter's, by the name of a node's first output."""
    model = ir.from_onnx_text(f'<ir_version: 10, opset_import: ["" : 23]> {text}')
    for node in all_nodes(model):
        if (found := (scopes or {}).get(str(node.outputs[0].name))) is not None:
            node.metadata_props[SCOPES] = repr(found)
    return model


def paths(model: ir.Model) -> dict[str, str]:
    return {str(node.outputs[0].name): module_path(node) for node in all_nodes(model)}


@pytest.mark.parametrize(
    ("scopes", "prefix", "path"),
    [
        (["", "model", "model.i", "model.i.c", "model.i.c.1", "relu"], "model.", "i.c.1"),
        (["", "model", "model.i", "model.i.c", "model.i.c.1", "relu"], "", "model.i.c.1"),
        (["", "model", "add"], "model.", ""),
        (["", "add"], "model.", ""),
        (["", "normalise", "add"], "model.", ""),
        (["", "model", "model.layer@1", "model.layer@1.fc", "linear"], "model.", "layer.fc"),
    ],
)
def test_the_path_is_the_innermost_scope_without_the_wrapper(scopes, prefix, path):
    model = graph("g (float[n] x) => (float[n] y) { y = Relu(x) }", {"y": scopes})
    stamp_module_paths(model, prefix=prefix)
    assert paths(model) == {"y": path}


def test_a_synthetic_node_takes_the_common_ancestor_of_its_consumers():
    model = graph(
        """g (float[n] x) => (float[n] y, float[n] z) {
            s = Shape(x) y = Expand(x, s) z = Reshape(x, s) }""",
        {"s": SYNTHETIC, "y": ["", "a", "a.b", "e"], "z": ["", "a", "a.c", "r"]},
    )
    stamp_module_paths(model)
    assert paths(model) == {"s": "a", "y": "a.b", "z": "a.c"}


def test_a_chain_of_synthetic_nodes_inherits_from_the_end():
    model = graph(
        "g (float[n] x) => (float[n] y) { s = Shape(x) q = Identity(s) y = Expand(x, q) }",
        {"y": ["", "a", "expand"]},
    )
    stamp_module_paths(model)
    assert paths(model) == {"s": "a", "q": "a", "y": "a"}


def test_without_consumers_the_producer_counts_and_else_the_root():
    model = graph(
        "g (float[n] x) => (float[n] y, float[n] z) { a = Relu(x) y = Neg(a) z = Abs(x) }",
        {"a": ["", "enc", "relu"]},
    )
    stamp_module_paths(model)
    assert paths(model) == {"a": "enc", "y": "enc", "z": ""}


def test_bodies_take_the_path_of_the_node_they_belong_to():
    model = graph(
        """g (bool c, float[n] x) => (float[n] y) {
            y = If(c) <then_branch = t () => (float[n] p) { p = Neg(x) },
                       else_branch = e () => (float[n] q) { q = Abs(x) }> }""",
        {"y": ["", "gate", "cond"], "q": ["", "gate", "gate.other", "abs"]},
    )
    stamp_module_paths(model)
    assert paths(model) == {"y": "gate", "p": "gate", "q": "gate.other"}


def test_functions_take_the_path_of_their_call():
    text = """<ir_version: 10, opset_import: ["" : 23, "f" : 1]>
        g (float[n] x) => (float[n] y) { y = f.twice(x) }
        <domain: "f", opset_import: ["" : 23]> twice (u) => (w) { w = Add(u, u) }"""
    model = ir.from_onnx_text(text)
    model.graph[0].metadata_props[SCOPES] = repr(["", "head", "twice"])
    stamp_module_paths(model)
    assert paths(model) == {"y": "head", "w": "head"}


def test_modules_of_groups_the_nodes():
    model = graph(
        "g (float[n] x) => (float[n] y) { a = Relu(x) b = Neg(a) y = Abs(b) }",
        {"a": ["", "e", "relu"], "b": ["", "e", "neg"], "y": ["", "h", "abs"]},
    )
    stamp_module_paths(model)
    found = {path: [node.op_type for node in nodes] for path, nodes in modules_of(model).items()}
    assert found == {"e": ["Relu", "Neg"], "h": ["Abs"]}


def test_a_missing_stamp_is_an_error_that_lists_the_nodes():
    model = graph("g (float[n] x) => (float[n] y) { a = Relu(x) y = Neg(a) }")
    model.graph[0].metadata_props[MODULE_PATH] = "e"
    with pytest.raises(GraphError, match="1 graph nodes") as caught:
        ensure_stamped(model)
    assert "Neg" in str(caught.value)
    assert "Relu" not in str(caught.value)
    with pytest.raises(GraphError, match="does not say which module"):
        module_path(model.graph[1])


PATHS = st.lists(st.lists(st.sampled_from("abc"), max_size=4).map(".".join), min_size=1)


@given(PATHS)
def test_the_common_ancestor_contains_all(found):
    ancestor = common_ancestor(found)
    assert all(
        path == ancestor or path.startswith(f"{ancestor}.") or not ancestor for path in found
    )
    children = {path[len(ancestor) :].lstrip(".").split(".")[0] for path in found}
    assert len(children) > 1 or children == {""}
