"""Every layer of the user's model as one table, and whether it adds up to the checkpoint."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any

WHOLE_MODEL = "(the model itself)"
NO_COMPONENT = "none"


@dataclass(frozen=True)
class LayerRow:
    """One layer in one component; a module whose nodes are in two graphs has two rows."""

    component: str
    module: str
    kind: str
    operators: str
    parameters: int
    treatment: str
    why: str


def layer_rows(report: dict[str, Any]) -> list[LayerRow]:
    """All layers in the order of the components, and at the end those in no component."""
    rows = [_row(c["name"], layer) for c in report["components"] for layer in c["layers"]]
    return rows + [_row(NO_COMPONENT, layer) for layer in report["unused_layers"]]


def treatments(report: dict[str, Any]) -> dict[str, int]:
    """Treatment -> how many rows have it, most frequent first."""
    return dict(Counter(row.treatment for row in layer_rows(report)).most_common())


def listed_parameters(report: dict[str, Any]) -> int:
    """Parameters of all listed layers, each module once."""
    return sum({row.module: row.parameters for row in layer_rows(report)}.values())


def parameters_not_listed(report: dict[str, Any]) -> int:
    """Parameters of the checkpoint that no listed layer has.

    0 where layers share parameters: each lists them, so the sum is larger than the checkpoint.
    """
    total: int = report["checkpoint"]["parameters"]
    return max(0, total - listed_parameters(report))


def _row(component: str, layer: dict[str, Any]) -> LayerRow:
    operators = [
        name if number == 1 else f"{name} ×{number}" for name, number in layer["operators"].items()
    ]
    return LayerRow(
        component=component,
        module=layer["module"] or WHOLE_MODEL,
        kind=layer["kind"],
        operators=", ".join(operators) or "none left",
        parameters=layer["parameters"],
        treatment=layer["treatment"],
        why=layer["why"],
    )
