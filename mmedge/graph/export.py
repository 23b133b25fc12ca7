"""One component to one ONNX graph: torch.export, then torch's ONNX exporter (dynamo)."""

from __future__ import annotations

import contextlib
import inspect
import io
import itertools
import logging
import warnings
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mmedge.errors import ExportError
from mmedge.graph.decompositions import only_where_needed
from mmedge.graph.embedding_bags import as_lookups
from mmedge.graph.export_failures import explained
from mmedge.graph.exporter_registry import registry_made_once
from mmedge.graph.exporter_rules import linear_rules
from mmedge.graph.provenance import MODULE_PATH, all_nodes, stamp_module_paths
from mmedge.graph.recurrent import recurrent_shapes, translations
from mmedge.recipes import ComponentModule, ExportAid
from mmedge.tensors import Axis, TensorSpec

if TYPE_CHECKING:
    import onnx_ir as ir
    import torch

NO_AID = ExportAid()


def export_component(
    component: ComponentModule,
    specs: Sequence[TensorSpec],
    examples: Sequence[torch.Tensor],
    *,
    axes: dict[str, Axis],
    opset: int,
    project_directory: Path,
    aid: ExportAid = NO_AID,
) -> ir.Model:
    """The component as an ONNX model with named inputs, outputs and dynamic axes.

    specs, examples: one for each argument of the component's module, in order.
    Raises ExportError, with the line of the user's code where torch stopped.
    """
    shapes = _dynamic_shapes(component.module, specs, axes)
    try:
        exported = _onnx_program(component, specs, examples, shapes, opset=opset, aid=aid)
    except Exception as error:
        raise explained(error, component, project_directory) from error
    if exported is None:
        raise ExportError(f"component {component.name!r} gave no ONNX program")
    model: ir.Model = exported.model
    aid.finish(model)
    _restore_names(model, specs, component.outputs)
    model.graph.name = component.name
    stamp_module_paths(model, prefix=component.prefix)
    _forget_sources(model)
    return model


def _onnx_program(
    component: ComponentModule,
    specs: Sequence[TensorSpec],
    examples: Sequence[torch.Tensor],
    shapes: tuple[Any, ...],
    *,
    opset: int,
    aid: ExportAid,
) -> torch.onnx.ONNXProgram | None:
    """What torch makes of the component, with the recipe's aid."""
    import torch

    with torch.no_grad(), _quiet(), _translating(), as_lookups(), aid.substituted():
        program = torch.export.export(
            component.module,
            tuple(_contiguous(example) for example in examples),
            dynamic_shapes=shapes,
            strict=False,
            prefer_deferred_runtime_asserts_over_guards=True,
        )
        aid.repair(program)
        return torch.onnx.export(
            program,
            dynamo=True,
            opset_version=opset,
            input_names=[spec.name for spec in specs],
            output_names=list(component.outputs),
            dynamic_shapes=shapes,
            custom_translation_table={**translations(), **aid.translations},
            verbose=False,
        )


def _dynamic_shapes(
    module: torch.nn.Module, specs: Sequence[TensorSpec], axes: dict[str, Axis]
) -> tuple[Any, ...]:
    """For each argument of the module its open axes, as torch.export takes them."""
    import torch

    names = [name for spec in specs for name in spec.dynamic_axes.values()]
    # An axis without a declared range has the one that the module admits (a past, by its table
    # of positions), and may follow from the others (past + new): torch finds out which and how.
    free = [name for name in names if name not in axes]
    dims: dict[str, Any] = dict.fromkeys(free, torch.export.Dim.DYNAMIC)
    shapes = tuple(_dynamic_shape(spec, axes, dims) for spec in specs)
    return (shapes,) if _is_variadic(module) else shapes


def _forget_sources(model: ir.Model) -> None:
    """Drop what the exporter noted of the user's files: paths and lines of code do not ship."""
    holders: list[Any] = [*model.graphs(), *all_nodes(model), *_values(model)]
    for holder in holders:
        for key in [key for key in holder.metadata_props if key != MODULE_PATH]:
            del holder.metadata_props[key]
        holder.doc_string = None
    model.metadata_props.clear()


def _dynamic_shape(spec: TensorSpec, axes: dict[str, Axis], dims: dict[str, Any]) -> dict[int, Any]:
    import torch

    shape: dict[int, Any] = {}
    for position, name in spec.dynamic_axes.items():
        if name not in dims:
            limits = axes.get(name)
            bounds = {"min": limits.min, "max": limits.max} if limits else {}
            dims[name] = torch.export.Dim(name, **bounds)
        shape[position] = dims[name]
    return shape


def _contiguous(example: torch.Tensor) -> torch.Tensor:
    """With the strides of its shape: others become symbols and checks that ONNX has no form of."""
    import torch

    return example.clone(memory_format=torch.contiguous_format)


def _is_variadic(module: torch.nn.Module) -> bool:
    parameters = inspect.signature(module.forward).parameters.values()
    return any(parameter.kind is parameter.VAR_POSITIONAL for parameter in parameters)


def _restore_names(model: ir.Model, specs: Sequence[TensorSpec], outputs: Sequence[str]) -> None:
    """Names and axes as declared; an output that is an input as it stands gets an Identity."""
    import onnx_ir as ir

    _free_names(model, {*(spec.name for spec in specs), *outputs})
    for value, spec in zip(model.graph.inputs, specs, strict=True):
        value.name = spec.name
        value.shape = ir.Shape(list(spec.shape))
    inputs = set(model.graph.inputs)
    seen: set[ir.Value] = set()
    for index, name in enumerate(outputs):
        value = model.graph.outputs[index]
        if value in inputs or value in seen or value.is_initializer():
            copy = ir.node("Identity", [value])
            model.graph.append(copy)
            copy.outputs[0].type, copy.outputs[0].shape = value.type, value.shape
            model.graph.outputs[index] = value = copy.outputs[0]
        value.name = name
        seen.add(value)


def _free_names(model: ir.Model, wanted: set[str]) -> None:
    """Rename whatever the exporter gave a name that an input or output is to have."""
    values = _values(model)
    known = {value.name for value in values}
    for value in values:
        if value.name in wanted:
            names = (f"{value.name}_{i}" for i in itertools.count())
            value.name = next(name for name in names if name not in known | wanted)
            known.add(value.name)


def _values(model: ir.Model) -> list[ir.Value]:
    """Every value, of subgraphs too."""
    found = [value for graph in model.graphs() for value in graph.inputs]
    found += [value for graph in model.graphs() for value in graph.initializers.values()]
    return found + [value for node in all_nodes(model) for value in node.outputs]


@contextlib.contextmanager
def _translating() -> Iterator[None]:
    """torch's exporter, with shapes of recurrent layers, and without work that changes nothing."""
    with recurrent_shapes(), linear_rules(), only_where_needed(), registry_made_once():
        yield


QUIETED = ("torch.onnx", "torch.fx.experimental.symbolic_shapes", "onnxscript", "onnx_ir")


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """The exporter's own progress and advice are not the user's business; its errors are."""
    loggers = [logging.getLogger(name) for name in QUIETED]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.CRITICAL)
    try:
        with warnings.catch_warnings(), ExitStack() as stack:
            warnings.simplefilter("ignore")
            stack.enter_context(contextlib.redirect_stdout(io.StringIO()))
            # What torch has to say of a failure is also in the exception.
            stack.enter_context(contextlib.redirect_stderr(io.StringIO()))
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
