"""The task's own metric: what the model is for, before and after."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from mmedge.errors import DataError, MmedgeError, ProjectError
from mmedge.project import Project
from mmedge.strict import nearest
from mmedge.tensors import Array

Metric = Callable[[Mapping[str, Array], list[Any]], float]


def load_metric(project: Project) -> tuple[str, Metric] | None:
    """The metric that [data] names, or None. "accuracy", "exact_match" or "module:function".

    A built-in metric reads the first output, or the one named after a slash: "accuracy/logits".
    A function of one's own gets all outputs over the whole evaluation set by name, and the list
    of targets, and returns a number; larger is better.
    """
    name = project.file.data.metric
    check_metric(project)
    if not name:
        return None
    if ":" in name:
        return name, project.load_callable(name)
    kind, _, output = name.partition("/")
    return name, lambda outputs, targets: BUILT_IN[kind](_pick(outputs, output), targets)


def check_metric(project: Project) -> None:
    """Raise ProjectError for a metric that is not there; imports nothing of the project."""
    name = project.file.data.metric
    kind = name.partition("/")[0]
    if name and ":" not in name and kind not in BUILT_IN:
        raise ProjectError(
            f"there is no metric {kind!r}",
            where="[data] metric",
            hint=nearest(kind, list(BUILT_IN)) + '; or name your own as "module:function"',
        )


def evaluate(metric: Metric, outputs: Mapping[str, Array], targets: list[Any]) -> float:
    """The metric as a finite float; DataError where it gives none, or raises."""
    try:
        value = metric(outputs, targets)
        number = np.asarray(value, dtype=np.float64)
    except MmedgeError:
        raise
    except Exception as error:
        shapes = ", ".join(f"{name}: {list(array.shape)}" for name, array in outputs.items())
        raise DataError(
            f"the metric failed on {len(targets)} targets and the outputs {shapes}",
            found=f"{type(error).__name__}: {error}",
            where="[data] metric",
        ) from error
    if number.size != 1 or not np.isfinite(number).all():
        raise DataError("the metric did not give a finite number", found=repr(value))
    return float(number.item())


def accuracy(scores: Array, targets: list[Any]) -> float:
    """Share of rows of scores [count, classes] whose largest entry is the target class."""
    return float(np.mean(scores.argmax(axis=-1).reshape(len(targets)) == np.asarray(targets)))


def exact_match(tokens: Array, targets: list[Any]) -> float:
    """Share of rows of tokens [count, length] that start with the whole target sequence.

    Shorter and longer answers differ by what follows: padding is not compared.
    """
    hits = 0
    for row, target in zip(tokens, targets, strict=True):
        wanted = np.asarray(target).reshape(-1)
        hits += len(row) >= len(wanted) and bool(np.array_equal(row[: len(wanted)], wanted))
    return hits / len(targets)


BUILT_IN: dict[str, Callable[[Array, list[Any]], float]] = {
    "accuracy": accuracy,
    "exact_match": exact_match,
}


def _pick(outputs: Mapping[str, Array], name: str) -> Array:
    if not name:
        return next(iter(outputs.values()))
    if name not in outputs:
        raise ProjectError(
            f"the metric reads output {name!r}, which the model does not have",
            where="[data] metric",
            hint=nearest(name, list(outputs)),
        )
    return outputs[name]
