"""Every layer of the user's model, accounted for: which graph it is in, or why it is in none."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import TYPE_CHECKING

from mmedge.artifact import Layer
from mmedge.graph.provenance import modules_of

if TYPE_CHECKING:
    import onnx_ir as ir
    import torch

UNPLACED = ""


def account_for_layers(
    model: torch.nn.Module, graphs: Mapping[str, ir.Model]
) -> dict[str, tuple[Layer, ...]]:
    """Component name -> its layers, in the model's order.

    Every module with nodes in a graph or parameters of its own is listed. One that has
    parameters and no node is kept where a graph has its weights all the same (another module
    uses them), folded with its nearest neighbour's component, or under the empty name as unused
    where no graph has anything of its parent.
    """
    operators = {name: _operators(graph) for name, graph in graphs.items()}
    weights = {name: _weight_names(graph) for name, graph in graphs.items()}
    found: dict[str, list[Layer]] = {name: [] for name in graphs}
    for path, module in model.named_modules():
        parameters = sum(p.numel() for p in module.parameters(recurse=False))
        homes = [name for name in graphs if path in operators[name]]
        for name in homes:
            found[name].append(_kept(path, module, operators[name][path], parameters))
        lent = [name for name in graphs if not homes and _holds(weights[name], path, module)]
        for name in lent:
            found[name].append(_lent(path, module, parameters))
        if parameters and not homes and not lent:
            home = _nearest_home(path, operators)
            found.setdefault(home, []).append(_gone(path, module, parameters, used=bool(home)))
    return {name: tuple(layers) for name, layers in found.items()}


def _operators(graph: ir.Model) -> dict[str, Counter[str]]:
    return {
        path: Counter(node.op_type for node in nodes) for path, nodes in modules_of(graph).items()
    }


def _weight_names(graph: ir.Model) -> set[str]:
    return {name for part in graph.graphs() for name in part.initializers}


def _holds(weights: set[str], path: str, module: torch.nn.Module) -> bool:
    """Whether a weight of the module itself is in the graph, whatever wrapper it is under."""
    own = [f"{path}.{name}" for name, _ in module.named_parameters(recurse=False)]
    return any(name == tail or name.endswith("." + tail) for tail in own for name in weights)


def _kept(path: str, module: torch.nn.Module, operators: Counter[str], parameters: int) -> Layer:
    return Layer(
        module=path,
        kind=type(module).__name__,
        operators=dict(operators),
        parameters=parameters,
        treatment="kept",
        why="no compression was asked for",
    )


def _lent(path: str, module: torch.nn.Module, parameters: int) -> Layer:
    why = "its weights are in the graph, used by nodes of another module"
    return Layer(path, type(module).__name__, {}, parameters, "kept", why)


def _gone(path: str, module: torch.nn.Module, parameters: int, *, used: bool) -> Layer:
    why = (
        "its arithmetic was folded into a neighbour's weights, exactly"
        if used
        else "no output of the model depends on it"
    )
    treatment = "folded" if used else "unused"
    return Layer(path, type(module).__name__, {}, parameters, treatment, why)


def _nearest_home(path: str, operators: Mapping[str, Mapping[str, Counter[str]]]) -> str:
    """The component that has most of what is around `path`."""
    parent = path
    while parent:
        parent = parent.rpartition(".")[0]
        around = {
            name: sum(1 for other in paths if parent and other.startswith(parent + "."))
            for name, paths in operators.items()
        }
        best = max(around, key=lambda name: around[name], default=UNPLACED)
        if best and around[best]:
            return best
    return UNPLACED
