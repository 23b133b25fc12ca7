"""Sizes that depend on other sizes: `(samples - 127)//384 - 1`, as torch.export writes them."""

from __future__ import annotations

import ast
import operator
from collections.abc import Callable, Mapping
from typing import Any

# A size is a square or a cube at most; an expression from a file must not keep a machine busy.
MOST_POWER = 4

OPERATORS: dict[type[ast.AST], Callable[..., Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
    ast.Pow: lambda base, exponent: base ** min(exponent, MOST_POWER),
    ast.USub: operator.neg,
}
FUNCTIONS: dict[str, Callable[..., Any]] = {
    "Max": max,
    "Min": min,
    "max": max,
    "min": min,
    "floor": lambda value: value // 1,
    "ceiling": lambda value: -(-value // 1),
}


def size_of(expression: str, sizes: Mapping[str, int]) -> int | None:
    """The value of `expression` for these sizes; None where it has a name or a form not known."""
    try:
        value = _value(ast.parse(expression, mode="eval").body, sizes)
    except (SyntaxError, KeyError, ZeroDivisionError, OverflowError):
        return None
    return int(value)


def _value(node: ast.AST, sizes: Mapping[str, int]) -> Any:
    """KeyError for what is not known: a name, an operator, a function."""
    if isinstance(node, ast.Constant) and isinstance(node.value, int | float):
        return node.value
    if isinstance(node, ast.Name):
        return sizes[node.id]
    if isinstance(node, ast.BinOp):
        return OPERATORS[type(node.op)](_value(node.left, sizes), _value(node.right, sizes))
    if isinstance(node, ast.UnaryOp):
        return OPERATORS[type(node.op)](_value(node.operand, sizes))
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
        return FUNCTIONS[node.func.id](*(_value(argument, sizes) for argument in node.args))
    raise KeyError(type(node).__name__)
