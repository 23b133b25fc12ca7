"""Where an engine first leaves the model: the graph against torch's intermediates, by module."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import numpy as np

from mmedge.artifact import MODULE_PATH
from mmedge.optional import require
from mmedge.recipes import ComponentModule
from mmedge.tensors import Array
from mmedge.verify.metrics import Difference, DifferenceAccumulator

if TYPE_CHECKING:
    import onnx_ir as ir
    import torch


# Marks the component's own outputs among the module paths, which have no colon.
OUTPUT = "output:"


class Divergence(msgspec.Struct, frozen=True):
    """The first module, in torch's order of calls, whose output differs in the graph."""

    component: str
    module: str
    node: str
    operator: str
    difference: Difference
    last_equal: str | None


def first_divergence(
    component: ComponentModule, graph: Path, inputs: Mapping[str, torch.Tensor], tolerance: float
) -> Divergence | None:
    """The first module whose output in `graph` is not torch's, or None if every one is equal.

    inputs: every argument of the component's module by name, in order.
    A module whose output is not one value of the graph (it was fused away) is passed over.
    """
    exposed, values = _exposed_values(graph)
    produced = _run(exposed, values, inputs)
    last_equal = None
    for path, reference in _torch_outputs(component, inputs):
        found = produced.get(path)
        if found is None or found.shape != reference.shape:
            continue
        accumulator = DifferenceAccumulator()
        accumulator.add(reference, found)
        difference = accumulator.result()
        if difference.not_finite or difference.relative > tolerance:
            producer = values[path].producer()
            node = (producer.name or "", producer.op_type) if producer else ("", "")
            made_by = producer.metadata_props.get(MODULE_PATH, "") if producer else ""
            module = made_by if path.startswith(OUTPUT) else path
            return Divergence(component.name, module, *node, difference, last_equal)
        last_equal = last_equal if path.startswith(OUTPUT) else path
    return None


def _exposed_values(graph: Path) -> tuple[ir.Model, dict[str, ir.Value]]:
    """The model with one extra output for every module that makes exactly one value."""
    import onnx_ir as ir

    model = ir.load(graph)
    paths = {node: node.metadata_props.get(MODULE_PATH, "") for node in model.graph}
    scopes: dict[str, list[ir.Value]] = {}
    for node, path in paths.items():
        parts = path.split(".") if path else []
        for depth in range(1, len(parts) + 1):
            scope = ".".join(parts[:depth])
            leaving = [v for v in node.outputs if _leaves(v, scope, paths)]
            scopes.setdefault(scope, []).extend(leaving)
    single = {scope: values[0] for scope, values in scopes.items() if len(values) == 1}
    known = set(model.graph.outputs)
    for value in dict.fromkeys(single.values()):
        if value not in known:
            model.graph.outputs.append(value)
    return model, {**single, **{f"{OUTPUT}{value.name}": value for value in known}}


def _leaves(value: ir.Value, scope: str, paths: Mapping[ir.Node, str]) -> bool:
    """Whether something outside the module `scope` uses the value."""
    if value.is_graph_output():
        return True
    users = [paths.get(node, "") for node, _ in value.uses()]
    return any(user != scope and not user.startswith(scope + ".") for user in users)


def _run(
    model: ir.Model, values: Mapping[str, ir.Value], inputs: Mapping[str, torch.Tensor]
) -> dict[str, Array]:
    import onnx_ir as ir

    runtime = require("onnxruntime")
    feeds = {
        str(value.name): np.ascontiguousarray(
            inputs[str(value.name)].numpy(), dtype=value.dtype.numpy() if value.dtype else None
        )
        for value in model.graph.inputs
    }
    wanted = list(dict.fromkeys(value.name for value in values.values()))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "exposed.onnx")
        ir.save(model, path, external_data="exposed.data")
        session = runtime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
        produced = dict(zip(wanted, session.run(wanted, feeds), strict=True))
    return {path: produced[value.name] for path, value in values.items()}


def _torch_outputs(
    component: ComponentModule, inputs: Mapping[str, torch.Tensor]
) -> list[tuple[str, Array]]:
    """(module path, output) of every user module that returns one tensor, in order of calls.

    The component's own outputs follow: the module it is cut at does not return, so no hook sees it.
    """
    import torch

    seen: list[tuple[str, Array]] = []

    def record(path: str, result: object) -> None:
        if isinstance(result, torch.Tensor):
            seen.append((path, result.detach().numpy().copy()))

    with ExitStack() as stack, torch.no_grad():
        for path, module in component.module.named_modules():
            name = path.removeprefix(component.prefix)
            hook = module.register_forward_hook(lambda _m, _i, out, name=name: record(name, out))
            stack.callback(hook.remove)
        result = component.module(*inputs.values())
    outputs = (result,) if isinstance(result, torch.Tensor) else result
    for name, tensor in zip(component.outputs, outputs, strict=True):
        record(f"{OUTPUT}{name}", tensor)
    return seen
