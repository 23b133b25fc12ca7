"""Recurrent layers over a dynamic number of steps.

torch.export evaluates LSTM, GRU and RNN on fake tensors by unrolling them step by step, which
fixes the number of steps to the example's; and torch's ONNX exporter has no rule for RNN, which
it therefore unrolls into the graph. While `recurrent_shapes` is active, the three layers are
evaluated by their shapes alone, so that the number of steps stays symbolic; `translations` turns
an RNN into the ONNX operator of that name. Values never come from here: ONNX Runtime's LSTM, GRU
and RNN compute them, and the result is verified like everything else.

Written against torch 2.11 to 2.13 (`torch/_decomp/decompositions.py`, the `*.input` overloads).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

# Operators whose hidden state is one tensor, and the one with two.
SINGLE_STATE = ("gru", "rnn_tanh", "rnn_relu")
PAIR_STATE = ("lstm",)


@contextmanager
def recurrent_shapes() -> Iterator[None]:
    """While active, recurrent layers on fake tensors give their shapes without being unrolled."""
    from torch._decomp import decomposition_table

    rules = {_operator(name): _single_state_shapes for name in SINGLE_STATE}
    rules |= {_operator(name): _pair_state_shapes for name in PAIR_STATE}
    tables: list[tuple[Any, Any, Any]] = []
    for operator, rule in rules.items():
        places = [(operator.py_kernels, key) for key in operator.py_kernels]
        places += [(decomposition_table, operator)] if operator in decomposition_table else []
        for table, key in places:
            tables.append((table, key, table[key]))
            table[key] = rule
        operator._dispatch_cache.clear()
    try:
        yield
    finally:
        for table, key, original in tables:
            table[key] = original
        for operator in rules:
            operator._dispatch_cache.clear()


def translations() -> dict[Callable[..., Any], Callable[..., Any]]:
    """torch operator -> how the ONNX exporter writes it, for what torch has no rule for."""
    return {
        _operator("rnn_tanh"): _rnn_translation("Tanh"),
        _operator("rnn_relu"): _rnn_translation("Relu"),
    }


def _operator(name: str) -> Any:
    import torch

    return getattr(torch.ops.aten, name).input


def _single_state_shapes(
    input: torch.Tensor,
    hx: torch.Tensor,
    params: Sequence[torch.Tensor],
    has_biases: bool,
    num_layers: int,
    dropout: float,
    train: bool,
    bidirectional: bool,
    batch_first: bool,
) -> tuple[torch.Tensor, torch.Tensor]:
    """input [steps, batch, features] (or batch first) -> output and state, of the right shapes."""
    directions = 2 if bidirectional else 1
    output = input.new_empty(input.shape[0], input.shape[1], hx.shape[-1] * directions)
    return output, hx.new_empty(hx.shape)


def _pair_state_shapes(
    input: torch.Tensor,
    hx: Sequence[torch.Tensor],
    params: Sequence[torch.Tensor],
    has_biases: bool,
    num_layers: int,
    dropout: float,
    train: bool,
    bidirectional: bool,
    batch_first: bool,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """As the single state; `proj_size` makes the hidden state narrower than the cell's."""
    directions = 2 if bidirectional else 1
    hidden, cell = hx
    output = input.new_empty(input.shape[0], input.shape[1], hidden.shape[-1] * directions)
    return output, hidden.new_empty(hidden.shape), cell.new_empty(cell.shape)


def _rnn_translation(activation: str) -> Callable[..., Any]:
    """The exporter's rule for a stack of RNN layers: one ONNX RNN (opset 14) for each layer."""

    def translate(
        input: Any,
        hx: Any,
        params: Sequence[Any],
        has_biases: bool,
        num_layers: int,
        dropout: float,
        train: bool,
        bidirectional: bool,
        batch_first: bool,
    ) -> tuple[Any, Any]:
        from onnxscript import opset18 as op

        current = op.Transpose(input, perm=[1, 0, 2]) if batch_first else input
        directions = 2 if bidirectional else 1
        states = []
        for layer in range(num_layers):
            first = layer * directions
            weights = _layer_weights(op, params, first, directions, has_biases)
            output, state = op.RNN(
                current,
                *weights,
                None,
                op.Slice(hx, [first], [first + directions], [0]),
                activations=[activation] * directions,
                direction="bidirectional" if bidirectional else "forward",
                hidden_size=hx.shape[2],
            )
            # [steps, directions, batch, hidden] -> [steps, batch, directions * hidden]
            merged = op.Transpose(output, perm=[0, 2, 1, 3])
            current = op.Reshape(merged, [0, 0, -1])
            states.append(state)
        result = op.Transpose(current, perm=[1, 0, 2]) if batch_first else current
        return result, states[0] if num_layers == 1 else op.Concat(*states, axis=0)

    return translate


def _layer_weights(
    op: Any, params: Sequence[Any], first: int, directions: int, has_biases: bool
) -> list[Any]:
    """W, R and B of one layer as ONNX stacks them: [directions, ...]; B is both biases joined."""
    per_direction = 4 if has_biases else 2
    groups = [
        params[(first + d) * per_direction : (first + d + 1) * per_direction]
        for d in range(directions)
    ]
    parts = [[op.Unsqueeze(group[0], [0]) for group in groups]]
    parts += [[op.Unsqueeze(group[1], [0]) for group in groups]]
    if has_biases:
        parts += [[op.Unsqueeze(op.Concat(g[2], g[3], axis=0), [0]) for g in groups]]
    stacked = [part[0] if directions == 1 else op.Concat(*part, axis=0) for part in parts]
    return stacked if has_biases else [*stacked, None]
