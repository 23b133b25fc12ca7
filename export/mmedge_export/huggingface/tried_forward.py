"""Whether forward takes the declared inputs: tried on shapes alone, before any work.

Fake tensors have a shape and no values, so that it costs no memory and next to no time, whatever
the size of the model. What depends on values cannot be told so, and counts as taken.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode

from mmedge.project import InputTable
from mmedge.quiet_upstream import quiet_transformers
from mmedge.recipes import CheckpointView
from mmedge.tensors import Axis
from mmedge_export.huggingface.without_checks import without_checks

# As many examples as graphs are traced with, along axes that count them.
EXAMPLES = 2
BATCH = "batch"
OF_SHAPES = re.compile(r"\b(shapes?|sizes?|dims?|dimensions?|channels|broadcast)\b")
NOISY = "torch._subclasses.fake_tensor"


def complaint(
    view: CheckpointView,
    inputs: Mapping[str, InputTable],
    axes: Mapping[str, Axis],
    *,
    prepared: Callable[[dict[str, Tensor]], dict[str, Tensor]] = dict,
) -> str | None:
    """What forward complains of when it is called with `inputs`; None where it takes them.

    prepared: the inputs as forward has them.
    """
    with _quiet(), without_checks(), torch.no_grad():
        try:
            with torch.device("meta"):
                model: nn.Module = view.model_class(view.config)
        except Exception:  # loading it will say so
            return None
        with FakeTensorMode(allow_non_fake_inputs=True):
            given = prepared({name: _blank(table, axes) for name, table in inputs.items()})
            try:
                model.to_empty(device="cpu").eval()(**given)
            except Exception as error:
                return _sentence(error) if _of_the_inputs(error) else None
    return None


def _blank(table: InputTable, axes: Mapping[str, Axis]) -> Tensor:
    """As large as an example is that graphs are traced with."""
    first, *others = table.shape
    # Examples that are counted by themselves may be more than the others.
    count = first if isinstance(first, int) else EXAMPLES + (first != BATCH)
    sizes = [dim if isinstance(dim, int) else axes[dim].opt for dim in others]
    return torch.zeros(count, *sizes, dtype=getattr(torch, table.dtype))


def _of_the_inputs(error: Exception) -> bool:
    """Whether it is about the inputs, rather than about tensors that have no values.

    A RuntimeError may be either, by its words alone; every other class of torch's is the latter.
    """
    if isinstance(error, RuntimeError):
        return type(error) is RuntimeError and bool(OF_SHAPES.search(_first_line(error)))
    return not type(error).__module__.startswith("torch")


def _sentence(error: Exception) -> str:
    return f"{type(error).__name__}: {_first_line(error)}".removesuffix(": ")


def _first_line(error: Exception) -> str:
    return next(iter(str(error).strip().splitlines()), "")


@contextmanager
def _quiet() -> Iterator[None]:
    """What fails here is told in one sentence."""
    logger = logging.getLogger(NOISY)
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        with quiet_transformers():
            yield
    finally:
        logger.setLevel(level)
