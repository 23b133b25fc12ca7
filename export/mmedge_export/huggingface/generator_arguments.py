"""How a model's own `generate` calls that of its language model."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from mmedge.errors import ProjectError
from mmedge.quiet_upstream import quiet_transformers


class _Reached(Exception):  # noqa: N818  (it is no error)
    """The language model has been reached: nothing after it matters."""


def generator_arguments(
    model: Any, generator: nn.Module, inputs: Mapping[str, Tensor]
) -> dict[str, Tensor]:
    """The tensors that `model.generate(**inputs)` hands to `generator.generate`, by name.

    They are the inputs themselves where the model is its own generator. Otherwise whatever
    happens in between is the model's own code, and may be traced.
    """
    # Some models write into the ids they are given (BLIP replaces the first).
    given = {name: tensor.clone() for name, tensor in inputs.items()}
    if generator is model:
        return given
    reached: dict[str, Any] = {}

    def note(*args: Any, **kwargs: Any) -> Any:
        if args:
            raise ProjectError(
                f"{type(model).__name__}.generate calls its language model by position",
                expected="keyword arguments",
            )
        reached.update(kwargs)
        raise _Reached

    generator.__dict__["generate"] = note
    try:
        with quiet_transformers():
            model.generate(**given)
    except _Reached:
        pass
    finally:
        del generator.__dict__["generate"]
    return {name: value for name, value in reached.items() if isinstance(value, Tensor)}
