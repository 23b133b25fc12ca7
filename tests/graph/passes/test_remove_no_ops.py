import numpy as np
import pytest

from mmedge.graph.passes import RemoveNoOps

IN = "(float[n, 4] x) => (float[n, 4] y)"

NO_OPS = {
    "identity": "b = Identity(a)",
    "dropout": "b = Dropout(a)",
    "dropout with training off": "r = Constant<value = float {0.5}>()"
    " f = Constant<value = bool {0}>() b = Dropout(a, r, f)",
    "cast": "b = Cast<to = 1>(a)",
    "cast like": "b = CastLike(a, x)",
    "transpose": "b = Transpose<perm = [0, 1]>(a)",
    "concat": "b = Concat<axis = 0>(a)",
    "reshape copies": "s = Constant<value_ints = [0, 4]>() b = Reshape(a, s)",
    "expand to ones": "s = Constant<value_ints = [1, 1]>() b = Expand(a, s)",
    "expand to last": "s = Constant<value_ints = [4]>() b = Expand(a, s)",
    "pad": "s = Constant<value_ints = [0, 0, 0, 0]>() b = Pad(a, s)",
    "mul scalar": "c = Constant<value = float {1}>() b = Mul(a, c)",
    "mul from the left": "c = Constant<value = float[1] {1}>() b = Mul(c, a)",
    "mul row": "c = Constant<value = float[4] {1, 1, 1, 1}>() b = Mul(a, c)",
    "add": "c = Constant<value = float[1, 1] {0}>() b = Add(a, c)",
    "sub": "c = Constant<value = float {0}>() b = Sub(a, c)",
    "div": "c = Constant<value = float {1}>() b = Div(a, c)",
    "slice to the end": "z = Constant<value_ints = [0]>()"
    " e = Constant<value_ints = [9223372036854775807]>() b = Slice(a, z, e)",
    "slice past a known end": "z = Constant<value_ints = [0]>() e = Constant<value_ints = [7]>()"
    " i = Constant<value_ints = [-1]>() b = Slice(a, z, e, i)",
    "transposes": "t = Transpose<perm = [1, 0]>(a) b = Transpose<perm = [1, 0]>(t)",
    "transposes by default": "t = Transpose(a) b = Transpose(t)",
}

NOT_NO_OPS = {
    "concat twice": ("b = Concat<axis = 0>(a, a)", "Concat"),
    "mul 2": ("c = Constant<value = float {2}>() b = Mul(a, c)", "Mul"),
    "mul that broadcasts": (
        "c = Constant<value = float[3, 1, 1] {1, 1, 1}>() b = Mul(a, c)",
        "Mul",
    ),
    "mul by a longer rank": ("c = Constant<value = float[1, 1, 1] {1}>() b = Mul(a, c)", "Mul"),
    "one minus": ("c = Constant<value = float {0}>() b = Sub(c, a)", "Sub"),
    "one over": ("c = Constant<value = float {1}>() b = Div(c, a)", "Div"),
    "pad": ("s = Constant<value_ints = [0, 0, 0, 1]>() b = Pad(a, s)", "Pad"),
    "slice of an unknown axis": (
        "z = Constant<value_ints = [0]>() e = Constant<value_ints = [100]>() b = Slice(a, z, e)",
        "Slice",
    ),
    "slice backwards": (
        "z = Constant<value_ints = [0]>() e = Constant<value_ints = [9]>()"
        " i = Constant<value_ints = [1]>() s = Constant<value_ints = [2]>()"
        " b = Slice(a, z, e, i, s)",
        "Slice",
    ),
    "reshape to an unknown size": (
        "s = Constant<value_ints = [3, 4]>() b = Reshape(a, s)",
        "Reshape",
    ),
    "expand of an unknown size": ("s = Constant<value_ints = [3, 4]>() b = Expand(a, s)", "Expand"),
    "transpose": ("b = Transpose<perm = [1, 0]>(a)", "Transpose"),
    "training dropout with seed": (
        "r = Constant<value = float {0.0}>() t = Constant<value = bool {1}>() b = Dropout(a, r, t)",
        "Dropout",
    ),
}


@pytest.mark.parametrize("name", NO_OPS)
def test_no_op_is_removed(name, run, ops):
    text = "(float[n, 4] x) => (float[n, 4] y) { a = Relu(x) " + NO_OPS[name] + " y = Neg(b) }"
    model, record = run(text, RemoveNoOps())
    assert record.changed
    assert [op for op in ops(model) if op not in ("Constant", "Transpose")] == ["Relu", "Neg"]
    assert model.graph[-1].inputs[0].producer().op_type == "Relu"


@pytest.mark.parametrize("name", NOT_NO_OPS)
def test_what_does_something_stays(name, run):
    body, op = NOT_NO_OPS[name]
    model, record = run(
        "(float[n, 4] x) => (y) { a = Relu(x) " + body + " y = Neg(b) }", RemoveNoOps()
    )
    assert not record.changed
    assert record.what == []
    assert model.graph[-1].inputs[0].producer().op_type == op


def test_cast_that_rounds_stays(run, ops):
    model, _ = run(f"{IN} {{ a = Cast<to = 10>(x) y = Cast<to = 1>(a) }}", RemoveNoOps())
    assert ops(model) == ["Cast", "Cast"]


def test_dropout_whose_mask_is_used_stays(run, ops):
    text = "(float[4] x) => (float[4] y, bool[4] m) { a, m = Dropout(x) y = Relu(a) }"
    assert ops(run(text, RemoveNoOps())[0]) == ["Dropout", "Relu"]


def test_declared_axis_names_prove_a_dynamic_reshape(run, ops):
    body = "{ s = Shape(x) a = Relu(x) y0 = Reshape(a, s) y = Neg(y0) }"
    known = f"{IN} <float[n, 4] a, float[n, 4] y0> {body}"
    unknown = f"{IN} <float[n, 4] a, float[m, 4] y0> {body}"
    assert "Reshape" not in ops(run(known, RemoveNoOps())[0])
    assert "Reshape" in ops(run(unknown, RemoveNoOps())[0])


def test_a_graph_output_keeps_its_name(run, ops):
    model, record = run(f"{IN} {{ a = Relu(x) y = Identity(a) }}", RemoveNoOps())
    assert ops(model) == ["Relu"]
    assert model.graph.outputs[0].name == "y"
    assert record.what == ["removed 1 Identity"]


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("(float[n] x) => (float[n] y) { y = Identity(x) }", ["Identity"]),
        ("() => (float[2] y) <float[2] w = {1, 2}> { y = Identity(w) }", ["Identity"]),
        (
            "(float[n] x) => (float[n] y, float[n] z) { y = Relu(x) z = Identity(y) }",
            ["Relu", "Identity"],
        ),
    ],
    ids=["an input", "a weight", "another output"],
)
def test_an_output_that_would_be_something_else_keeps_its_node(text, left, run, ops):
    model, record = run(text, RemoveNoOps())
    assert ops(model) == left
    assert not record.changed


def test_a_subgraph_does_not_return_an_outer_value(run):
    text = """(float[n] x, bool c) => (float[n] y) {
        a = Relu(x)
        y = If(c) <then_branch = t () => (float[n] p) { p = Identity(a) },
                   else_branch = e () => (float[n] q) { o = Identity(a) q = Neg(o) }> }"""
    model, record = run(text, RemoveNoOps(), feeds={"c": np.array(True)})
    then, other = (model.graph[-1].attributes[k].as_graph() for k in ("then_branch", "else_branch"))
    assert [node.op_type for node in then] == ["Identity"]
    assert [node.op_type for node in other] == ["Neg"]
    assert record.what == ["removed 1 Identity"]


def test_transposes_that_cancel_go_even_if_the_first_is_used_elsewhere(run, ops):
    text = """(float[a, b, c] x) => (float[a, b, c] y, float[b, c, a] z) {
        x1 = Relu(x) t = Transpose<perm = [1, 2, 0]>(x1)
        b = Transpose<perm = [2, 0, 1]>(t) y = Neg(b) z = Neg(t) }"""
    assert ops(run(text, RemoveNoOps(), a=2, b=4)[0]) == ["Relu", "Transpose", "Neg", "Neg"]


def test_transposes_merge(run, ops):
    text = """(float[2, 3, 4, 5] x) => (y) {
        t = Transpose<perm = [1, 2, 3, 0]>(x) y = Transpose<perm = [0, 2, 1, 3]>(t) }"""
    model, record = run(text, RemoveNoOps())
    assert ops(model) == ["Transpose"]
    assert record.what == ["merged 1 Transpose into the one before"]


def test_reshapes_merge_unless_the_second_copies_a_size(run, ops):
    text = """(float[n, 4] x) => (y) <int64[1] s = {-1}, int64[2] t = {SIZES}> {
        a = Reshape(x, s) y = Reshape<allowzero = 0>(a, t) }"""
    assert ops(run(text.replace("SIZES", "-1, 2"), RemoveNoOps())[0]) == ["Reshape"]
    assert ops(run(text.replace("SIZES", "0, 1"), RemoveNoOps())[0]) == ["Reshape", "Reshape"]


def test_a_chain_goes_in_one_walk(run, ops):
    model, _ = run(
        f"{IN} {{ a = Relu(x) b = Identity(a) c = Dropout(b) y = Identity(c) }}", RemoveNoOps()
    )
    assert ops(model) == ["Relu"]
