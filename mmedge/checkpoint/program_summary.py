"""The inputs and weights that a torch.export archive declares, read from its JSON alone."""

from __future__ import annotations

from math import prod
from pathlib import Path
from typing import Any

from mmedge.checkpoint.exported import damaged_program, read_json
from mmedge.checkpoint.header import TensorEntry
from mmedge.checkpoint.modality import guess_modality
from mmedge.checkpoint.program_safety import MODEL
from mmedge.checkpoint.summary import InputGuess

# torch/_export/serde/schema.py, ScalarType.
SCALAR_TYPES = {
    1: ("uint8", 1), 2: ("int8", 1), 3: ("int16", 2), 4: ("int32", 4), 5: ("int64", 8),
    6: ("float16", 2), 7: ("float32", 4), 8: ("float64", 8), 12: ("bool", 1), 13: ("bfloat16", 2),
}  # fmt: skip
# The usual meaning of an axis: (modality or "", position) -> name.
AXIS_NAMES = {("", 0): "batch", ("text", 1): "length"}


def program_tensors(path: Path) -> tuple[TensorEntry, ...]:
    """Parameters and buffers of the exported program."""
    config = read_json(path, "data/weights/model_weights_config.json")
    try:
        return tuple(_entry(name, e["tensor_meta"]) for name, e in config["config"].items())
    except (KeyError, TypeError, AttributeError) as error:
        raise damaged_program(path, f"weights_config.json: {error!r}") from error


def program_inputs(
    path: Path,
) -> tuple[tuple[InputGuess, ...], dict[str, tuple[int, int | None]]]:
    """The program's tensor inputs in order, and (min, max) of their dynamic axes."""
    program = read_json(path, MODEL)
    try:
        graph = program["graph_module"]
        specs = [s["user_input"]["arg"] for s in _input_specs(graph) if "user_input" in s]
        names = [arg["as_tensor"]["name"] for arg in specs if "as_tensor" in arg]
        symbols: dict[str, str] = {}
        values = graph["graph"]["tensor_values"]
        inputs = tuple(_input(name, values[name], symbols) for name in names)
        return inputs, _ranges(program["range_constraints"], symbols)
    except (KeyError, TypeError, AttributeError) as error:
        raise damaged_program(path, f"{MODEL}: {error!r}") from error


def _input_specs(graph: dict[str, Any]) -> list[dict[str, Any]]:
    specs: list[dict[str, Any]] = graph["signature"]["input_specs"]
    return specs


def _entry(name: str, meta: dict[str, Any]) -> TensorEntry:
    dtype, item_bytes = SCALAR_TYPES.get(meta["dtype"], (f"dtype {meta['dtype']}", 0))
    shape = tuple(int(size["as_int"]) for size in meta["sizes"])
    return TensorEntry(name, dtype, shape, prod(shape) * item_bytes)


def _input(name: str, meta: dict[str, Any], symbols: dict[str, str]) -> InputGuess:
    dtype, _ = SCALAR_TYPES[meta["dtype"]]
    modality = guess_modality(name, dtype=dtype)
    shape = tuple(_dim(name, modality, i, size, symbols) for i, size in enumerate(meta["sizes"]))
    return InputGuess(name, modality, dtype, shape, sure=True)


def _dim(
    name: str, modality: str, position: int, size: dict[str, Any], symbols: dict[str, str]
) -> int | str:
    """A static size, or an axis name that is the same wherever the symbol is."""
    if "as_int" in size:
        return int(size["as_int"])
    symbol = str(size["as_expr"]["expr_str"])
    proposed = AXIS_NAMES.get((modality if position else "", position), f"{name}_{position}")
    if proposed in symbols.values():
        proposed = f"{name}_{position}"
    return symbols.setdefault(symbol, proposed)


def _ranges(
    constraints: dict[str, dict[str, Any]], symbols: dict[str, str]
) -> dict[str, tuple[int, int | None]]:
    named = {
        symbol: axis
        for text, axis in symbols.items()
        for symbol in constraints
        if f"'{symbol}'" in text and text.count("Symbol(") == 1 and text.startswith("Symbol(")
    }
    return {
        axis: (int(constraints[symbol]["min_val"] or 1), constraints[symbol]["max_val"])
        for symbol, axis in named.items()
    }
