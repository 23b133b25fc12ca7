import pytest

from mmedge.graph.passes import DropUnusedInputs, RebindAxisSources, run_passes

# v is used only for the size of `batch`, which x has too.
INPUTS = "(float[batch, 5, 8] v, float[7, batch] x)"
READS = {
    "shape of one axis": "k = Shape<start = 0, end = 1>(v)",
    "negative axis": "k = Shape<start = -3, end = -2>(v)",
    "gather": "s = Shape(v) i = Constant<value_ints = [0]>() k = Gather(s, i)",
    "gather a scalar": "s = Shape(v) i = Constant<value_int = 0>() g = Gather(s, i)"
    " m = Constant<value_ints = [-1]>() k = Reshape(g, m)",
    "gather the last": "s = Shape<end = 1>(v) i = Constant<value_ints = [-1]>() k = Gather(s, i)",
    "slice": "s = Shape(v) a = Constant<value_ints = [0]>() b = Constant<value_ints = [1]>()"
    " k = Slice(s, a, b)",
    "squeeze": "s = Shape<start = 0, end = 1>(v) q = Squeeze(s)"
    " m = Constant<value_ints = [1]>() k = Reshape(q, m)",
}


@pytest.mark.parametrize("name", READS)
def test_the_size_is_read_from_the_data_input(name, run):
    text = f"{INPUTS} => (y) {{ {READS[name]} f = Cast<to = 1>(k) y = Mul(x, f) }}"
    model, record = run(text, RebindAxisSources(), batch=4)
    v, x = model.graph.inputs
    assert not v.uses()
    assert "Shape" in {node.op_type for node, _ in x.uses()}
    assert record.what == ["input v is no longer read: axis batch is axis 1 of x"]
    model, _ = run_passes(model, [DropUnusedInputs()])
    assert [value.name for value in model.graph.inputs] == ["x"]


def test_a_whole_shape_is_rebuilt_from_names_and_numbers(run):
    text = f"""{INPUTS} => (y, z) {{
        s = Shape(v) f = Cast<to = 1>(s) z = ReduceSum(f) y = Neg(x) }}"""
    model, record = run(text, RebindAxisSources(), batch=4)
    assert record.changed
    assert not model.graph.inputs[0].uses()


def test_a_read_in_a_subgraph_is_rebound(run):
    text = """(bool c, float[batch, 5, 8] v, float[7, batch] x) => (y) {
        k = If(c) <then_branch = t () => (p) { p = Shape<start = 0, end = 1>(v) },
                   else_branch = e () => (q) { q = Shape<start = 1, end = 2>(x) }>
        f = Cast<to = 1>(k) y = Mul(x, f) }"""
    model, record = run(text, RebindAxisSources(), batch=4)
    assert not model.graph.inputs[1].uses()
    assert record.changed


def test_a_size_that_is_an_output_keeps_its_name(run):
    text = f"{INPUTS} => (y, k) {{ k = Shape<start = 0, end = 1>(v) y = Neg(x) }}"
    model, record = run(text, RebindAxisSources(), batch=4)
    assert record.changed
    assert [value.name for value in model.graph.outputs] == ["y", "k"]


LEFT = {
    "used for data": "(float[batch] v, float[batch] x) => (y, z)"
    " { k = Shape(v) z = Neg(v) f = Cast<to = 1>(k) y = Mul(x, f) }",
    "no other input has the axis": "(float[time] v, float[batch] x) => (y)"
    " { k = Shape(v) f = Cast<to = 1>(k) y = Mul(x, f) }",
    "the other input is read only for its shape too": "(float[batch] v, float[batch] u, float[2] x)"
    " => (y) { k = Shape(v) l = Shape(u) s = Add(k, l) f = Cast<to = 1>(s) y = Mul(x, f) }",
    "unnamed axes": "(float[?] v, float[?] x) => (y)"
    " { k = Shape(v) f = Cast<to = 1>(k) y = Mul(x, f) }",
    "one of two reads has no source": "(float[batch, time] v, float[batch, 2] x) => (y)"
    " { k = Shape(v) f = Cast<to = 1>(k) y = Mul(x, f) }",
    "position known only at run time": "(float[batch, time] v, float[batch] x, int64[1] i) => (y)"
    " { s = Shape(v) k = Gather(s, i) f = Cast<to = 1>(k) y = Mul(x, f) }",
}


@pytest.mark.parametrize("name", LEFT)
def test_otherwise_it_stays(name, parse):
    model, (record,) = run_passes(parse(LEFT[name]), [RebindAxisSources()])
    assert not record.changed
    assert "Shape" in {node.op_type for node, _ in model.graph.inputs[0].uses()}
