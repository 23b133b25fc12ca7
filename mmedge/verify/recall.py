"""Recall@1: of a search among vectors, how often what is nearest is what was looked for."""

from __future__ import annotations

from typing import Any

import numpy as np

from mmedge.errors import DataError
from mmedge.tensors import Array

# [examples, ...]; of examples whose outputs differ in shape, a list of each one's.
Output = Array | list[Array]
# Similarities of that many queries with everything are held at once.
QUERIES = 256


def recall_at_1(queries: Output, candidates: Output, targets: list[Any]) -> float:
    """Share of queries [count, size] whose nearest candidate [count, size] has the same target.

    Near is a large cosine. Example i gives query i and candidate i, and targets[i] says what both
    are about: a number or a string. Where a wrong candidate is as near as the right one, the query
    is lost: equal vectors find nothing. Raises DataError for vectors or targets that are none.
    """
    first, second = _vectors("query", queries), _vectors("candidate", candidates)
    if first.shape != second.shape:
        raise DataError(
            "recall compares vectors of one size",
            found=f"queries {list(first.shape)}, candidates {list(second.shape)}",
            where="[data] metric",
        )
    labels = _labels(targets)
    hits = 0
    for start in range(0, len(first), QUERIES):
        scores = first[start : start + QUERIES] @ second.T
        right = labels[start : start + QUERIES, None] == labels
        nearest = np.where(right, scores, -np.inf).max(axis=1)
        # A comparison with NaN is false: among vectors that are no numbers nothing is found.
        hits += int(np.sum(nearest > np.where(right, -np.inf, scores).max(axis=1)))
    return hits / len(targets)


def _vectors(what: str, output: Output) -> Array:
    """Float64 unit vectors [count, size]."""
    shapes = {np.shape(row) for row in output}
    if len(shapes) != 1 or len(next(iter(shapes))) != 1:
        raise DataError(
            f"a {what} is not a vector",
            found=", ".join(sorted(str(list(shape)) for shape in shapes)),
            expected="an output [count, size]",
            where="[data] metric",
        )
    vectors = np.asarray(output, dtype=np.float64)
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    unit: Array = vectors / np.maximum(lengths, np.finfo(np.float64).tiny)  # zero is near nothing
    return unit


def _labels(targets: list[Any]) -> Array:
    """Each target's number among the different ones, int64 [count]."""
    numbers: dict[object, int] = {}
    labels: list[int] = []
    for number, target in enumerate(targets):
        given = np.asarray(target)
        value = given.item() if given.size == 1 else target
        if not isinstance(value, int | str):
            raise DataError(
                f"the target {target!r} does not say what an example is about",
                found=f"the target of evaluated sample {number}; samples of one shape go together",
                expected="an integer or a string, the same for examples that may find each other",
                where="[data] evaluation",
            )
        labels.append(numbers.setdefault(value, len(numbers)))
    if len(numbers) < 2:
        raise DataError(
            "recall is always 1 where there is nothing else to find",
            found=f"{len(targets)} samples with {len(numbers)} different target(s)",
            expected="targets of at least two kinds",
            where="[data] evaluation",
        )
    return np.array(labels)
