"""Every form of attention becomes one operator that reads the projections, and computes the same.

The fixture `fuse` compares outputs in ONNX Runtime before and after.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import numpy as np
import onnx_ir as ir
import pytest

from mmedge.graph.provenance import module_path
from mmedge.graph.rules.fuse_attention import FusedBlock

Fuse = Callable[..., tuple[ir.Model, list[FusedBlock]]]

INPUTS = "float16[b, s, 32] q, float16[b, t, 32] k, float16[b, t, 32] v"


def half(name: str, number: float) -> str:
    """A scalar of float16, which ONNX text has by its bits."""
    return f"float16 {name} = {{{int(np.float16(number).view(np.uint16))}}}"


HALVES = {"two": 2.0, "half": 0.5, "low": -65504.0, "zero": 0.0, "minus": -2.0}
INTEGERS = """int64[4] axes = {0, 0, 4, 8}, int64[3] joined = {0, 0, 32}, int64 start = {0},
  int64 step = {1}, int64[1] first = {0}, int64[1] last = {-1}, int64[1] far = {9},
  int64[2] middle = {1, 2}, int64[1] before_last = {-2}, int64[3] three = {0, 1, 2},
  int64[3] others = {0, 1, 3}"""
WEIGHTS = f"<{INTEGERS}, {', '.join(half(*item) for item in HALVES.items())}>"
HEADS = """
  q4 = Reshape (q, axes)
  k4 = Reshape (k, axes)
  v4 = Reshape (v, axes)
  query = Transpose <perm = [0, 2, 1, 3]> (q4)
  value = Transpose <perm = [0, 2, 1, 3]> (v4)
"""
KEY = "key = Transpose <perm = [0, 2, 1, 3]> (k4)\n"
SWAPPED = "key = Transpose <perm = [0, 2, 3, 1]> (k4)\n"
MERGE = """
  rows = Transpose <perm = [0, 2, 1, 3]> (mixed)
  o = Reshape (rows, joined)
"""
SOFTMAX = """
  weights = Softmax <axis = -1> (scores)
  mixed = MatMul (weights, value)
"""
# Numbers of keys and of queries, as exported models count them.
COUNTED = """
  queries_one = Shape <start = 1, end = 2> (q)
  keys_one = Shape <start = 1, end = 2> (k)
  queries = Squeeze (queries_one)
  keys = Squeeze (keys_one)
  i1 = Range (start, queries, step)
  j1 = Range (start, keys, step)
  i = Unsqueeze (i1, others)
  j = Unsqueeze (j1, three)
"""


def graph(*lines: str, inputs: str = "") -> str:
    more = f", {inputs}" if inputs else ""
    return f"({INPUTS}{more}) => (float16[b, s, 32] o) {WEIGHTS} {{{''.join(lines)}}}"


def operators(model: ir.Model) -> Counter[str]:
    return Counter(node.op_type for node in model.graph)


def the_one(model: ir.Model) -> ir.Node:
    (node,) = (node for node in model.graph if node.op_type == "FusedAttention")
    return node


def attributes(model: ir.Model) -> dict[str, Any]:
    return {name: attribute.value for name, attribute in the_one(model).attributes.items()}


SCALES = {
    "after": "p = MatMul (query, key)\n scores = Mul (p, half)\n",
    "divided": "p = MatMul (query, key)\n scores = Div (p, two)\n",
    "query": "x = Mul (query, half)\n scores = MatMul (x, key)\n",
    "key": "x = Div (key, two)\n scores = MatMul (query, x)\n",
    "both sides": "x = Mul (half, query)\n y = Mul (key, two)\n p = MatMul (x, y)\n"
    " scores = Mul (p, half)\n",
}


@pytest.mark.parametrize("opset", [18, 23, 24])
@pytest.mark.parametrize("scale", SCALES)
def test_products_scaled_anywhere(fuse: Fuse, scale: str, opset: int) -> None:
    model, blocks = fuse(graph(HEADS, SWAPPED, SCALES[scale], SOFTMAX, MERGE), opset=opset)
    assert operators(model) == {"FusedAttention": 1}
    assert [v.name for v in the_one(model).inputs if v is not None] == ["q", "k", "v"]
    found = attributes(model)
    assert found["scale"] == pytest.approx(0.5)
    assert (found["num_heads"], found["kv_num_heads"], found["causal"]) == (4, 4, 0)
    assert (found["plugin_namespace"], found["plugin_version"]) == ("mmedge", "1")
    assert blocks == [
        FusedBlock("encoder.attention", "product, softmax, product", "plugin", "asked for")
    ]
    assert module_path(the_one(model)) == "encoder.attention"


def test_softmax_between_casts(fuse: Fuse) -> None:
    wide = """
  scores = MatMul (query, key)
  wide = Cast <to = 1> (scores)
  shares = Softmax <axis = -1> (wide)
  weights = Cast <to = 10> (shares)
  mixed = MatMul (weights, value)
"""
    model, _ = fuse(graph(HEADS, SWAPPED, wide, MERGE))
    assert operators(model) == {"FusedAttention": 1}


def test_keys_swapped_between_reshapes_as_old_opsets_have_it(fuse: Fuse) -> None:
    swap = """
  key0 = Transpose <perm = [0, 2, 1, 3]> (k4)
  sizes = Shape (key0)
  length = Slice (sizes, before_last, last)
  size = Slice (sizes, last, far)
  leading = Slice (sizes, first, before_last)
  flat_axes = Concat <axis = 0> (last, length, size)
  flat = Reshape (key0, flat_axes)
  turned = Transpose <perm = [0, 2, 1]> (flat)
  back = Concat <axis = 0> (leading, size, length)
  key = Reshape (turned, back)
  scores = MatMul (query, key)
"""
    model, _ = fuse(graph(HEADS, swap, SOFTMAX, MERGE), opset=18)
    assert operators(model) == {"FusedAttention": 1}


MASKS = {
    "added": ("float16[b, 1, s, t] m", "scores = Add (p, m)\n"),
    "of every head": ("float16[1, 4, s, t] m", "scores = Add (m, p)\n"),
    "of fewer axes": ("float16[s, t] m", "scores = Add (p, m)\n"),
    "the same for all queries": ("float16[b, 1, 1, t] m", "scores = Add (p, m)\n"),
    "two of them": (
        "float16[b, 1, 1, t] m, float16[1, 4, s, t] n",
        "x = Add (p, m)\n scores = Add (n, x)\n",
    ),
    "chosen where true": ("bool[b, 1, s, t] m", "scores = Where (m, p, low)\n"),
    "chosen where false": ("bool[b, 1, s, t] hidden", "scores = Where (hidden, low, p)\n"),
    "chosen after a bias": (
        "bool[b, 1, s, t] m, float16[1, 4, s, t] n",
        "x = Add (p, n)\n scores = Where (m, x, low)\n",
    ),
    "of another type": (
        "float[b, 1, s, t] m",
        "c = Cast <to = 10> (m)\n scores = Add (p, c)\n",
    ),
}


@pytest.mark.parametrize("mask", MASKS)
def test_masks_become_the_bias(fuse: Fuse, mask: str) -> None:
    inputs, lines = MASKS[mask]
    text = graph(HEADS, SWAPPED, "p = MatMul (query, key)\n", lines, SOFTMAX, MERGE, inputs=inputs)
    model, _ = fuse(text)
    assert attributes(model)["has_bias"] == 1
    assert not {"Softmax", "MatMul", "Transpose"} & set(operators(model))


@pytest.mark.parametrize("compared", ["LessOrEqual (j, i)", "GreaterOrEqual (i, j)"])
def test_a_causal_mask_becomes_the_attribute(fuse: Fuse, compared: str) -> None:
    lines = f"""
  seen = {compared}
  mask = Where (seen, zero, low)
  p = MatMul (query, key)
  scores = Add (p, mask)
"""
    model, _ = fuse(graph(HEADS, SWAPPED, COUNTED, lines, SOFTMAX, MERGE))
    assert operators(model) == {"FusedAttention": 1}
    assert (attributes(model)["causal"], attributes(model)["has_bias"]) == (1, 0)


def test_causality_and_a_bias_together(fuse: Fuse) -> None:
    lines = """
  seen = LessOrEqual (j, i)
  mask = Where (seen, zero, low)
  p = MatMul (query, key)
  biased = Add (p, n)
  scores = Where (seen, biased, low)
"""
    text = graph(HEADS, SWAPPED, COUNTED, lines, SOFTMAX, MERGE, inputs="float16[1, 4, s, t] n")
    model, _ = fuse(text)
    assert (attributes(model)["causal"], attributes(model)["has_bias"]) == (1, 1)


def test_a_strict_comparison_is_not_causality(fuse: Fuse) -> None:
    lines = """
  seen = LessOrEqual (i, j)
  mask = Where (seen, zero, low)
  p = MatMul (query, key)
  scores = Add (p, mask)
"""
    model, _ = fuse(graph(HEADS, SWAPPED, COUNTED, lines, SOFTMAX, MERGE))
    assert (attributes(model)["causal"], attributes(model)["has_bias"]) == (0, 1)


def test_numbers_below_a_length_become_lengths(fuse: Fuse) -> None:
    lines = """
  seen = Less (j, n)
  mask = Where (seen, zero, low)
  p = MatMul (query, key)
  scores = Add (p, mask)
"""
    text = graph(HEADS, SWAPPED, COUNTED, lines, SOFTMAX, MERGE, inputs="int64[b, 1, 1, 1] n")
    model, _ = fuse(text)
    assert (attributes(model)["len_mode"], attributes(model)["has_bias"]) == (1, 0)


def test_lengths_that_all_rows_share_stay_a_bias(fuse: Fuse) -> None:
    lines = """
  seen = Less (j, n)
  mask = Where (seen, zero, low)
  p = MatMul (query, key)
  scores = Add (p, mask)
"""
    text = graph(HEADS, SWAPPED, COUNTED, lines, SOFTMAX, MERGE, inputs="int64[1, 1, 1, 1] n")
    model, _ = fuse(text)
    assert (attributes(model)["len_mode"], attributes(model)["has_bias"]) == (0, 1)


def test_a_padding_mask_is_not_taken_for_lengths(fuse: Fuse) -> None:
    """Its ones come first for one tokenizer, and last for another."""
    lines = """
  given = Cast <to = 9> (attention_mask)
  seen = Unsqueeze (given, middle)
  mask = Where (seen, zero, low)
  p = MatMul (query, key)
  scores = Add (p, mask)
"""
    text = graph(HEADS, SWAPPED, lines, SOFTMAX, MERGE, inputs="int64[b, t] attention_mask")
    model, _ = fuse(text)
    assert (attributes(model)["len_mode"], attributes(model)["has_bias"]) == (0, 1)


@pytest.mark.parametrize("opset", [23, 24])
def test_the_standard_operator(fuse: Fuse, opset: int) -> None:
    lines = "mixed = Attention <scale = 0.3> (query, key, value)\n"
    model, blocks = fuse(graph(HEADS, KEY, lines, MERGE), opset=opset)
    assert operators(model) == {"FusedAttention": 1}
    assert blocks[0].form == "Attention operator"
    assert attributes(model)["scale"] == pytest.approx(0.3)


def test_the_standard_operator_over_three_axes(fuse: Fuse) -> None:
    lines = "o = Attention <q_num_heads = 4, kv_num_heads = 4, is_causal = 1> (q, k, v)\n"
    model, _ = fuse(graph(lines))
    assert operators(model) == {"FusedAttention": 1}
    assert attributes(model)["causal"] == 1
    assert attributes(model)["scale"] == pytest.approx(8**-0.5)


def test_heads_that_are_shared(fuse: Fuse) -> None:
    text = """(float16[b, s, 32] q, float16[b, t, 16] k, float16[b, t, 16] v) =>
      (float16[b, s, 32] o)
    { o = Attention <q_num_heads = 4, kv_num_heads = 2> (q, k, v) }"""
    model, _ = fuse(text)
    assert (attributes(model)["num_heads"], attributes(model)["kv_num_heads"]) == (4, 2)


def test_rows_that_see_nothing_keep_their_guard_without_transposes(fuse: Fuse) -> None:
    lines = """
  made = Attention <scale = 0.3> (query, key, value)
  mixed = Where (rows_blind, zero, made)
"""
    text = graph(HEADS, KEY, lines, MERGE, inputs="bool[b, 1, s, 1] rows_blind")
    model, _ = fuse(text)
    assert set(operators(model)) == {"FusedAttention", "Where", "Squeeze", "Constant"}


def test_queries_that_were_rotated_are_transposed_back(fuse: Fuse) -> None:
    lines = """
  turned = Neg (query)
  made = Attention <scale = 0.3> (turned, key, value)
  mixed = Abs (made)
"""
    model, _ = fuse(graph(HEADS, KEY, lines, MERGE))
    assert attributes(model)["num_heads"] == 4
    assert operators(model)["Transpose"] == 4


LEFT = {
    "softcap": ("made = Attention <softcap = 5.0> (query, key, value)\n", "softcap"),
    "a past": ("made, pk, pv = Attention (query, key, value, , key, value)\n", "past"),
    "a computed scale": (
        "kt = Transpose <perm = [0, 1, 3, 2]> (key)\n p = MatMul (query, kt)\n"
        " x = Sigmoid (p)\n w = Softmax <axis = -1> (x)\n made = MatMul (w, value)\n",
        "more than scaled products",
    ),
    "a negative scale": (
        "kt = Transpose <perm = [0, 1, 3, 2]> (key)\n p = MatMul (query, kt)\n"
        " x = Mul (p, minus)\n w = Softmax <axis = -1> (x)\n made = MatMul (w, value)\n",
        "scaled by -2",
    ),
}


@pytest.mark.parametrize("name", LEFT)
def test_what_the_kernel_does_not_compute_is_left_with_the_reason(fuse: Fuse, name: str) -> None:
    lines, why = LEFT[name]
    text = graph(HEADS, KEY, lines, MERGE.replace("mixed", "made"))
    model, blocks = fuse(text)
    assert "FusedAttention" not in operators(model)
    assert [(block.module, block.became) for block in blocks] == [("encoder.attention", "left")]
    assert why in blocks[0].why


def test_a_softmax_that_weighs_nothing_computed_is_no_attention(fuse: Fuse) -> None:
    text = "(float16[b, 4] x) => (float16[b, 4] o) { o = Softmax <axis = -1> (x) }"
    _, blocks = fuse(text)
    assert blocks == []


def test_what_is_chosen_for_the_library_stays(fuse: Fuse) -> None:
    lines = "mixed = Attention <scale = 0.3> (query, key, value)\n"
    model, blocks = fuse(graph(HEADS, KEY, lines, MERGE), use="builtin")
    assert operators(model)["Attention"] == 1
    assert not model.functions
    assert blocks[0].became == "builtin"
