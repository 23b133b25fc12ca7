"""Whether forward takes the declared inputs: tried on shapes alone, before any work.

Fake tensors have a shape and no values, so that it costs no memory and next to no time, whatever
the size of the model. What depends on values cannot be told so, and counts as taken.
"""

from __future__ import annotations

import logging
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
                return None if _for_want_of_values(error) else _sentence(error)
    return None


def _blank(table: InputTable, axes: Mapping[str, Axis]) -> Tensor:
    """As large as an example is that graphs are traced with."""
    first, *others = table.shape
    count = EXAMPLES if isinstance(first, str) else first
    sizes = [dim if isinstance(dim, int) else axes[dim].opt for dim in others]
    return torch.zeros(count, *sizes, dtype=getattr(torch, table.dtype))


def _for_want_of_values(error: Exception) -> bool:
    """Whether it is about fake tensors, rather than about what they stand for."""
    of_torch = type(error).__module__.startswith("torch")
    return of_torch or isinstance(error, NotImplementedError) or "subclass" in str(error)


def _sentence(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__


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
