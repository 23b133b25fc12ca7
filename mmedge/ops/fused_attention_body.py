"""`mmedge::FusedAttention` as a function of ONNX operators, for whoever has no kernel of it.

ONNX Runtime runs the function, and it is what a compile is verified with; TensorRT takes the
plugin where it is registered, else it inlines the function. It computes in float32 whatever the
inputs are, as the kernel accumulates: scores do not overflow and the sums are as exact.

There is one function, an overload, for each list of inputs: a call with fewer inputs than its
function is refused. Everything else is an attribute that the body reads, because TensorRT's parser
does not tell overloads apart and takes the last one: where a graph has several lists of inputs it
refuses the call, and the plugin is needed; it never computes something else.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from mmedge.ops.fused_attention import (
    CAUSAL_LOWER_RIGHT,
    CAUSAL_NONE,
    DOMAIN,
    LENGTHS_NONE,
    LENGTHS_OF_KEYS,
    LENGTHS_PACKED,
    NAME,
    FusedAttention,
)

if TYPE_CHECKING:
    import onnx_ir as ir

# The first one whose reductions take their axes as an input; nothing newer is used.
OLDEST_OPSET = 18
# The first version of ONNX's file format in which functions have overloads.
IR_VERSION = 10

# Constants and the heads: [batch, rows, heads * size] -> [batch, key heads, group, rows, size].
_HEADS = f"""
  zero = Constant <value_ints = [0]> ()
  one = Constant <value_ints = [1]> ()
  rest = Constant <value_ints = [-1]> ()
  two_axes = Constant <value_ints = [1, 2]> ()
  factor = Constant <value_float: float = @scale> ()
  lowest = Constant <value = float {{-3.4028234663852886e38}}> ()
  minus_infinity = Constant <value = float {{-inf}}> ()
  nothing = Constant <value = float {{0.0}}> ()
  heads_scalar = Constant <value_int: int = @num_heads> ()
  shared_scalar = Constant <value_int: int = @kv_num_heads> ()
  heads = Reshape (heads_scalar, one)
  shared = Reshape (shared_scalar, one)
  group = Div (heads, shared)
  causal = Constant <value_int: int = @causal> ()
  causal_none = Constant <value_int = {CAUSAL_NONE}> ()
  causal_right = Constant <value_int = {CAUSAL_LOWER_RIGHT}> ()
  is_free = Equal (causal, causal_none)
  is_right = Equal (causal, causal_right)
  query_axes = Concat <axis = 0> (rows_of_query, shared, group, rest)
  key_axes = Concat <axis = 0> (rows_of_key, shared, one, rest)
  query_wide = Cast <to = 1> (Q)
  key_wide = Cast <to = 1> (K)
  value_wide = Cast <to = 1> (V)
  query_split = Reshape (query_wide, query_axes)
  key_split = Reshape (key_wide, key_axes)
  value_split = Reshape (value_wide, key_axes)
  query = Transpose <perm = [0, 2, 3, 1, 4]> (query_split)
  key = Transpose <perm = [0, 2, 3, 4, 1]> (key_split)
  value_all = Transpose <perm = [0, 2, 3, 1, 4]> (value_split)
  products = MatMul (query, key)
  scaled = Mul (products, factor)
"""
_ROWS = """
  rows_of_query = Shape <start = 0, end = 2> (Q)
  rows_of_key = Shape <start = 0, end = 2> (K)
"""
# A packed tensor is a batch of one, with or without an axis that says so.
_PACKED_ROWS = """
  alone = Constant <value_ints = [1]> ()
  query_rows = Shape <start = -2, end = -1> (Q)
  key_rows = Shape <start = -2, end = -1> (K)
  rows_of_query = Concat <axis = 0> (alone, query_rows)
  rows_of_key = Concat <axis = 0> (alone, key_rows)
"""
# Of each query and key, its number: i [queries, 1] and j [1, keys].
_NUMBERS = """
  start = Constant <value_int = 0> ()
  step = Constant <value_int = 1> ()
  queries = Gather <axis = 0> (rows_of_query, step)
  keys = Gather <axis = 0> (rows_of_key, step)
  query_numbers = Range (start, queries, step)
  key_numbers = Range (start, keys, step)
  i = Unsqueeze (query_numbers, one)
  j = Unsqueeze (key_numbers, zero)
"""
# The scores are [batch, key heads, group, queries, keys]; the bias has one axis of heads.
_BIAS = """
  batch = Gather <axis = 0> (rows_of_query, zero)
  queries_one = Reshape (queries, one)
  keys_one = Reshape (keys, one)
  bias_wide = Cast <to = 1> (bias)
  score_axes = Shape (scaled)
  by_head_axes = Concat <axis = 0> (batch, heads, queries_one, keys_one)
  by_head = Reshape (scaled, by_head_axes)
  biased = Add (by_head, bias_wide)
  scores = Reshape (biased, score_axes)
"""
_NO_BIAS = """
  scores = Identity (scaled)
"""
_VISIBLE = """
  no_shift = Sub (last_key, last_key)
  right_shift = Sub (last_key, last_query)
  shift = Where (is_right, right_shift, no_shift)
  reach = Add (i, shift)
  before = LessOrEqual (j, reach)
  causally = Or (before, is_free)
  visible = And (causally, within)
"""
_DENSE = """
  last_query = Identity (queries)
  last_key = Identity (keys)
  value = Identity (value_all)
  within = LessOrEqual (start, start)
"""
_KEY_LENGTHS = """
  lengths = Cast <to = 7> (kv_len)
  length_axes = Constant <value_ints = [-1, 1, 1, 1, 1]> ()
  last_key = Reshape (lengths, length_axes)
  last_query = Identity (queries)
  within = Less (j, last_key)
  within_axes = Constant <value_ints = [0, 1, 1, -1, 1]> ()
  within_rows = Reshape (within, within_axes)
  value = Where (within_rows, value_all, nothing)
"""
# Of each row, the sequence that it is in: how many sequences end before it. Other sequences' keys
# are not visible. Within a sequence, numbers count from its origin: j - key_origin <= i -
# query_origin + shift, where upper-left shifts by nothing, lower-right by keys less queries.
_SEQUENCES = """
  from_second = Constant <value_ints = [1]> ()
  far = Constant <value_ints = [9223372036854775807]> ()
  to_last = Constant <value_ints = [-1]> ()
  query_bounds = Cast <to = 7> (cu_q)
  key_bounds = Cast <to = 7> (cu_k)
  query_ends = Slice (query_bounds, from_second, far)
  key_ends = Slice (key_bounds, from_second, far)
  query_starts = Slice (query_bounds, zero, to_last)
  key_starts = Slice (key_bounds, zero, to_last)
  query_after = LessOrEqual (query_ends, i)
  key_column = Unsqueeze (key_numbers, one)
  key_after = LessOrEqual (key_ends, key_column)
  query_counts = Cast <to = 7> (query_after)
  key_counts = Cast <to = 7> (key_after)
  query_sequence = ReduceSum <keepdims = 0> (query_counts, one)
  key_sequence = ReduceSum <keepdims = 0> (key_counts, one)
  query_origin_row = Gather <axis = 0> (query_starts, query_sequence)
  key_origin_row = Gather <axis = 0> (key_starts, query_sequence)
  query_end_row = Gather <axis = 0> (query_ends, query_sequence)
  key_end_row = Gather <axis = 0> (key_ends, query_sequence)
  query_origin = Unsqueeze (query_origin_row, one)
  key_origin = Unsqueeze (key_origin_row, one)
  query_end = Unsqueeze (query_end_row, one)
  key_end = Unsqueeze (key_end_row, one)
  right_shift = Sub (key_end, query_end)
  left_shift = Sub (key_origin, query_origin)
  shift = Where (is_right, right_shift, left_shift)
  reach = Add (i, shift)
  before = LessOrEqual (j, reach)
  causally = Or (before, is_free)
  query_mine = Unsqueeze (query_sequence, one)
  key_mine = Unsqueeze (key_sequence, zero)
  within = Equal (query_mine, key_mine)
  visible = And (causally, within)
  value = Identity (value_all)
"""
_SOFTMAX = """
  masked = Where (visible, scores, minus_infinity)
  largest = ReduceMax <keepdims = 1> (masked, rest)
  blind = Less (largest, lowest)
  shares = Softmax <axis = -1> (masked)
  weights = Where (blind, nothing, shares)
  products_of_values = MatMul (weights, value)
  mixed = Where (blind, nothing, products_of_values)
  rows_first = Transpose <perm = [0, 3, 1, 2, 4]> (mixed)
  shape = Shape (Q)
  joined = Reshape (rows_first, shape)
  O = CastLike (joined, Q)
"""


def overload(attention: FusedAttention) -> str:
    """Which of the functions takes the inputs of `attention`."""
    return "_".join(name.lower() for name in attention.inputs)


def function(attention: FusedAttention, *, opset: int) -> ir.Function:
    """The function for nodes that have the inputs of `attention`, in the graph's own opset."""
    import onnx
    import onnx_ir as ir

    parsed = onnx.parser.parse_function(_text(attention, opset))
    parsed.overload = overload(attention)
    made: ir.Function = ir.serde.deserialize_function(parsed)
    return made


def _text(attention: FusedAttention, opset: int) -> str:
    signature = ", ".join(attention.inputs)
    names = ", ".join(attention.attributes)
    return f"""<domain: "{DOMAIN}", opset_import: ["" : {max(opset, OLDEST_OPSET)}]>
{NAME} <{names}> ({signature}) => (O)
{{{"".join(_lines(attention))}}}"""


def _lines(attention: FusedAttention) -> list[str]:
    packed = attention.len_mode == LENGTHS_PACKED
    return [
        _PACKED_ROWS if packed else _ROWS,
        _HEADS,
        _NUMBERS,
        _BIAS if attention.has_bias else _NO_BIAS,
        {
            LENGTHS_NONE: _DENSE + _VISIBLE,
            LENGTHS_OF_KEYS: _KEY_LENGTHS + _VISIBLE,
            LENGTHS_PACKED: _SEQUENCES,
        }[attention.len_mode],
        _SOFTMAX,
    ]
