import ml_dtypes
import numpy as np
import onnx_ir as ir

from mmedge.graph.passes import DedupeWeights, FoldConstants, run_passes

IDS = {"i": np.array([0, 3], np.int64)}
TIED = """(int64[m] i, float[n, 16] x) => (float[m, 16] e, float[n, 32] y) {
    e = Gather(table, i) y = MatMul(x, head) }"""


def parse(text, **weights):
    """The graph with `weights` as initializers, in the order given."""
    model = ir.from_onnx_text(f'<ir_version: 10, opset_import: ["" : 23]> g {text}')
    values = {v.name: v for node in model.graph for v in node.inputs if v is not None}
    for name, array in weights.items():
        value = values[name]
        value.const_value = ir.tensor(array, name=name)
        value.shape, value.dtype = ir.Shape(array.shape), ir.DataType.from_numpy(array.dtype)
        model.graph.register_initializer(value)
    return model


def linear(*weights, size=8):
    """One output MatMul(x, w) for each weight."""
    named = {f"w{i}": weight for i, weight in enumerate(weights)}
    nodes = " ".join(f"y_{name} = MatMul(x, {name})" for name in named)
    outputs = ", ".join(f"float[n, {size}] y_{name}" for name in named)
    return parse(f"(float[n, {size}] x) => ({outputs}) {{ {nodes} }}", **named)


def matrix(rows, columns, seed=0):
    return np.random.default_rng(seed).normal(size=(rows, columns)).astype(np.float32)


def run(model, **feeds):
    model, (record,) = run_passes(model, [DedupeWeights()], feeds=feeds)
    return model, record


def test_identical_weights_are_stored_once():
    w = matrix(8, 8)
    model, record = run(linear(w, w.copy(), w + 1), x=matrix(2, 8))
    assert list(model.graph.initializers) == ["w0", "w2"]
    assert [n.inputs[1].name for n in model.graph] == ["w0", "w0", "w2"]
    assert record.what == ["shared 1 identical weights: 256 bytes saved"]
    assert record.initializer_bytes_before - record.initializer_bytes_after == 256


def test_equal_bytes_of_another_dtype_or_shape_are_another_weight():
    zeros = np.zeros((2, 1), np.float32)
    text = """(float[n, 2] x) => (float[n, 1] y, float[n, 2] z) {
        y = MatMul(x, a) k = Cast<to = 1>(c) s = Add(b, k) z = Add(x, s) }"""
    model = parse(text, a=zeros, b=zeros.T, c=zeros.T.astype(np.int32))
    model, record = run(model, x=matrix(3, 2))
    assert not record.changed
    assert len(model.graph.initializers) == 3


def test_weights_that_are_views_are_compared_by_value():
    w = matrix(16, 8)
    model, _ = run(linear(w[::2], w[::2].copy()), x=matrix(2, 8))
    assert list(model.graph.initializers) == ["w0"]


def test_bfloat16_weights_are_shared():
    w = matrix(4, 4).astype(ml_dtypes.bfloat16)
    text = """(float[n, 4] x) => (float[n, 4] y) {
        a = Cast<to = 1>(w0) b = Cast<to = 1>(w1) m = MatMul(x, a) y = MatMul(m, b) }"""
    model, record = run(parse(text, w0=w, w1=w.copy()), x=matrix(2, 4))
    assert list(model.graph.initializers) == ["w0"]
    assert record.changed


def test_a_tied_head_stored_transposed_reads_the_table(ops):
    table = matrix(32, 16)
    model = parse(TIED, table=table, head=np.ascontiguousarray(table.T))
    model, record = run(model, x=matrix(2, 16), **IDS)
    assert list(model.graph.initializers) == ["table"]
    assert ops(model) == ["Transpose", "Gather", "MatMul"]
    assert record.what == ["head is table transposed: 2,048 bytes saved"]


def test_the_table_is_kept_even_if_the_head_comes_first():
    table = matrix(32, 16)
    model = parse(TIED, head=np.ascontiguousarray(table.T), table=table)
    assert next(iter(model.graph.initializers)) == "head"
    model, _ = run(model, x=matrix(2, 16), **IDS)
    assert list(model.graph.initializers) == ["table"]


def test_folding_does_not_undo_the_tie(ops):
    table = matrix(32, 16)
    model = parse(TIED, table=table, head=np.ascontiguousarray(table.T))
    model, records = run_passes(model, [DedupeWeights(), FoldConstants()])
    assert not records[1].changed
    assert "Transpose" in ops(model)


def test_nearly_tied_weights_stay_apart(ops):
    table = matrix(32, 16)
    head = np.ascontiguousarray(table.T)
    head[3, 5] = np.nextafter(head[3, 5], np.inf)
    model, record = run(parse(TIED, table=table, head=head), x=matrix(2, 16), **IDS)
    assert ops(model) == ["Gather", "MatMul"]
    assert not record.changed


def test_a_small_transposed_pair_is_not_worth_a_node():
    w = matrix(8, 8)
    _, record = run(linear(w, np.ascontiguousarray(w.T)), x=matrix(2, 8))
    assert not record.changed


def test_a_symmetric_matrix_is_not_paired_with_itself():
    w = matrix(32, 32)
    _, record = run(linear(w + w.T, size=32), x=matrix(2, 32))
    assert not record.changed


def test_square_transposed_pairs_are_shared():
    w = matrix(32, 32)
    model, record = run(linear(w, np.ascontiguousarray(w.T), size=32), x=matrix(2, 32))
    assert list(model.graph.initializers) == ["w0"]
    assert record.what == ["w1 is w0 transposed: 4,096 bytes saved"]


def test_an_overridable_weight_stays():
    text = """(float[2] x, float[2] a = {1, 2}) => (float[2] y) <float[2] b = {1, 2}> {
        s = Add(x, a) y = Add(s, b) }"""
    model, record = run(parse(text), x=np.ones(2, np.float32))
    assert not record.changed
    assert set(model.graph.initializers) == {"a", "b"}
