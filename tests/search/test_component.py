"""A component in integers: as much as stays right, kept only where it is faster."""

import numpy as np
import onnx_ir as ir
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmedge.errors import DataError
from mmedge.graph.files import save_graph
from mmedge.quantize.account import KEPT
from mmedge.search import component
from mmedge.search.component import ComponentSearch, least_cosine
from mmedge.search.subset import largest_prefix
from mmedge.targets import load_target
from mmedge.verify.metrics import Difference

DRAW = np.random.default_rng(0)
CPU = load_target("cpu").quantization
SIZE = 512
MLP = f"""(float[n, {SIZE}] x, float[{SIZE}, {SIZE}] w, float[{SIZE}, {SIZE}] v)
    => (float[n, {SIZE}] y)
    {{ h = MatMul(x, w) r = Relu(h) y = MatMul(r, v) }}"""


def file_of(tmp_path, text, **constants):
    model = ir.from_onnx_text(f'<ir_version: 10, opset_import: ["" : 23]> g {text}')
    graph = model.graph
    for value in [v for v in graph.inputs if v.name in constants]:
        graph.inputs.remove(value)
        value.const_value = ir.tensor(constants[value.name], name=value.name)
        graph.register_initializer(value)
    save_graph(model, tmp_path / "float" / "part.onnx")
    return tmp_path / "float" / "part.onnx"


def searched(tmp_path, path, feeds, *, measured=False, settings=CPU):
    directory = tmp_path / "integers"
    directory.mkdir(exist_ok=True)
    lines = []
    search = ComponentSearch("part", path, feeds, settings, directory, 1, measured, lines.append)
    return search.run()


def matrices(spread=1.0):
    w, v = (DRAW.normal(size=(SIZE, SIZE)).astype(np.float32) / 20 for _ in range(2))
    v[:, 0] *= spread
    return {"w": w, "v": v}


@pytest.fixture
def feeds():
    return [{"x": DRAW.normal(size=(16, SIZE)).astype(np.float32)} for _ in range(2)]


def test_everything_is_quantized_where_it_stays_right(tmp_path, feeds):
    done = searched(tmp_path, file_of(tmp_path, MLP, **matrices()), feeds)
    assert done.refused is None
    assert [t.treatment for t in done.treated] == ["dynamic-int8", "dynamic-int8"]
    assert least_cosine(done.moved) >= component.LEAST_COSINE
    assert done.bytes_after < 0.3 * done.bytes_before


def test_what_moves_the_outputs_stays_in_float(tmp_path):
    # One input a thousand times the others takes the whole scale of its tensor with it.
    feeds = [{"x": DRAW.normal(size=(8, SIZE)).astype(np.float32)}]
    feeds[0]["x"][:, 3] *= 3000
    weights = matrices()
    weights["w"][3] = 0
    done = searched(tmp_path, file_of(tmp_path, MLP, **weights), feeds)
    assert done.refused is None
    assert [t.treatment for t in done.treated] == [KEPT, "dynamic-int8"]
    assert "outputs moved too far" in done.treated[0].why
    assert [a.operators for a in done.tried] == [2, 2, 1]


def test_a_component_that_is_no_faster_is_left_as_it_was(tmp_path):
    text = "(float[n, 4] x, float[4, 4] w) => (float[n, 4] y) { y = MatMul(x, w) }"
    path = file_of(tmp_path, text, w=DRAW.normal(size=(4, 4)).astype(np.float32))
    feeds = [{"x": DRAW.normal(size=(1, 4)).astype(np.float32)}]
    done = searched(tmp_path, path, feeds, measured=True)
    assert done.graph == path
    assert done.refused.startswith(component.SLOWER)
    assert done.ratio.value > 0.9
    assert [t.treatment for t in done.treated] == [KEPT]


def test_a_graph_without_weights_says_so(tmp_path, feeds):
    text = f"(float[n, {SIZE}] x) => (float[n, {SIZE}] y) {{ y = Relu(x) }}"
    done = searched(tmp_path, file_of(tmp_path, text), feeds)
    assert (done.refused, done.treated) == (component.NOTHING, [])


def test_static_schemes_need_calibration_inputs(tmp_path):
    target = load_target("rtx-3060-12g").quantization
    with pytest.raises(DataError, match="no calibration inputs"):
        searched(tmp_path, file_of(tmp_path, MLP, **matrices()), [], settings=target)


def test_integers_for_tensorrt_are_symmetric(tmp_path, feeds):
    target = load_target("rtx-3060-12g").quantization
    done = searched(tmp_path, file_of(tmp_path, MLP, **matrices()), feeds, settings=target)
    model = ir.load(done.graph)
    zeros = {
        n.inputs[2].const_value.numpy().item() for n in model.graph if n.op_type == "QuantizeLinear"
    }
    assert zeros == {0}
    assert {t.treatment for t in done.treated} == {"static-int8"}


@given(st.integers(0, 40), st.integers(0, 40))
def test_the_longest_run_is_found(length, good):
    tried = []

    def close(some):
        tried.append(len(some))
        return len(some) <= good

    names = [str(i) for i in range(length)]
    assert len(largest_prefix(names, close)) == min(length, good)
    assert len(tried) <= 2 + max(1, length).bit_length()


def test_outputs_that_are_not_finite_or_differ_are_no_agreement():
    def difference(**changes):
        plain = {"count": 10, "max_abs": 0.0, "relative": 0.0, "cosine": 1.0, "sqnr_db": None}
        return Difference(**{**plain, "mismatched": 0, "not_finite": 0, **changes})

    assert least_cosine({"a": difference(), "b": difference(not_finite=1)}) == -1
    assert least_cosine({"a": difference(mismatched=2, cosine=None)}) == pytest.approx(0.8)
    assert least_cosine({"a": difference(cosine=None)}) == 1
    assert least_cosine({"a": difference(cosine=None, max_abs=0.5)}) == 0
