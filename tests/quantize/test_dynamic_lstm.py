"""LSTM layers in 8-bit integers, run in ONNX Runtime."""

import numpy as np
import pytest

from mmedge.quantize.dynamic_lstm import quantize_lstm, refusal

HIDDEN, INPUTS = 24, 12
LSTM = f"""(float[t, n, {INPUTS}] x, float[d, {4 * HIDDEN}, {INPUTS}] W,
    float[d, {4 * HIDDEN}, {HIDDEN}] R, float[d, {8 * HIDDEN}] B) => (y, h, c)
    {{ y, h, c = LSTM<hidden_size = {HIDDEN}, direction = "DIRECTION">(x, W, R, B) }}"""


def weights(directions, seed=0):
    draw = np.random.default_rng(seed)
    shapes = {
        "W": (directions, 4 * HIDDEN, INPUTS),
        "R": (directions, 4 * HIDDEN, HIDDEN),
        "B": (directions, 8 * HIDDEN),
    }
    return {n: (draw.normal(size=s) / 4).astype(np.float32) for n, s in shapes.items()}


@pytest.mark.parametrize(
    ("direction", "count"), [("forward", 1), ("reverse", 1), ("bidirectional", 2)]
)
def test_outputs_and_states_are_close_to_what_they_were(direction, count, graph_with, answers):
    text, given = LSTM.replace("DIRECTION", direction), weights(count)
    x = np.random.default_rng(1).normal(size=(7, 2, INPUTS)).astype(np.float32)
    right = answers(graph_with(text, **given), x=x)
    model = graph_with(text, **given)
    node = model.graph.node(0)
    assert refusal(node) is None
    done = quantize_lstm(model, node, module="rnn")
    assert [n.op_type for n in model.graph] == ["DynamicQuantizeLSTM"]
    found = answers(model, x=x)
    for name, exact in right.items():
        assert 0 < np.linalg.norm(found[name] - exact) / np.linalg.norm(exact) < 0.05, name
    assert done.weight_sqnr_db > 35
    scales = 2 * 4 * (4 * HIDDEN)  # float32, a row of W's gates and one of R's
    assert done.saved_bytes == count * (3 * 4 * HIDDEN * (HIDDEN + INPUTS) - scales)


def test_lengths_and_first_states_are_kept(graph_with, answers):
    text = f"""(float[t, 2, {INPUTS}] x, float[1, {4 * HIDDEN}, {INPUTS}] W,
        float[1, {4 * HIDDEN}, {HIDDEN}] R, float[1, {8 * HIDDEN}] B, int32[2] lengths,
        float[1, 2, {HIDDEN}] h0, float[1, 2, {HIDDEN}] c0) => (y, h)
        {{ y, h = LSTM<hidden_size = {HIDDEN}>(x, W, R, B, lengths, h0, c0) }}"""
    draw = np.random.default_rng(2)
    feeds = {
        "x": draw.normal(size=(5, 2, INPUTS)).astype(np.float32),
        "lengths": np.array([2, 5], np.int32),
        "h0": draw.normal(size=(1, 2, HIDDEN)).astype(np.float32),
        "c0": draw.normal(size=(1, 2, HIDDEN)).astype(np.float32),
    }
    right = answers(graph_with(text, **weights(1)), **feeds)
    model = graph_with(text, **weights(1))
    quantize_lstm(model, model.graph.node(0), module="")
    found = answers(model, **feeds)
    assert not found["y"][2:, 0, 0].any()
    np.testing.assert_allclose(found["h"], right["h"], atol=0.05)


def test_what_cannot_be_quantized_says_why(graph_with):
    text = LSTM.replace("DIRECTION", "forward").replace("float[d", "float[1")
    computed = graph_with(text)
    assert refusal(computed.graph.node(0)) == "its input weights are computed"
    given = weights(1)
    recurrent = graph_with(text, W=given["W"])
    assert refusal(recurrent.graph.node(0)) == "its recurrent weights are computed"
    layout = text.replace(f"hidden_size = {HIDDEN}", f"hidden_size = {HIDDEN}, layout = 1")
    assert "batch first" in refusal(graph_with(layout, **given).graph.node(0))
