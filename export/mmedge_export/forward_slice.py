"""The user's own forward, from given tensors to a submodule's result, or to its end."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import torch
from torch.utils._pytree import tree_flatten

from mmedge_export.cut import Cut, copied, leaf_names, wrongly_called
from mmedge_export.reference import named_outputs
from mmedge_export.replaced_forward import replaced_forward


class _Reached(Exception):  # noqa: N818 - it is control flow, not an error
    """Forward has come to the submodule that a slice ends with."""


class ForwardSlice(torch.nn.Module):
    """A slice of the user's forward.

    Called with the model's inputs and then the outputs of every cut, in order; returns what
    submodule `until` returns, or what forward returns where `until` is None, as a flat tuple.
    """

    def __init__(
        self,
        model: torch.nn.Module,
        *,
        inputs: tuple[str, ...],
        cuts: tuple[Cut, ...],
        until: str | None,
    ) -> None:
        super().__init__()
        self.model = model
        self.inputs = inputs
        self.cuts = cuts
        self.until = until
        self.training = False

    def forward(self, *tensors: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Tensors as the class says, to a flat tuple of tensors."""
        return tuple(self.named(*tensors).values())

    def named(self, *tensors: torch.Tensor) -> dict[str, torch.Tensor]:
        """As forward, with names."""
        arguments = dict(zip(self.inputs, tensors, strict=False))
        given = list(tensors[len(self.inputs) :])
        reached: list[list[torch.Tensor]] = []
        with ExitStack() as stack:
            for cut in self.cuts:
                values = tuple(given.pop(0) for _ in cut.outputs)
                stack.enter_context(_answered(self.model, cut, values))
            if self.until is not None:
                stack.enter_context(_recorded(self.model, self.until, reached))
            try:
                result = self.model(**arguments)
            except _Reached:
                result = None
        if self.until is None:
            return named_outputs(result)
        if len(reached) != 1:
            raise wrongly_called(self.until, len(reached))
        return dict(zip(leaf_names(self.until, len(reached[0])), reached[0], strict=True))


@contextmanager
def _answered(model: torch.nn.Module, cut: Cut, values: tuple[torch.Tensor, ...]) -> Iterator[None]:
    """While active, the cut submodule answers every call with `values`."""
    module = model.get_submodule(cut.path)
    with replaced_forward(module, lambda *args, **kwargs: cut.restore(values)):
        yield


@contextmanager
def _recorded(model: torch.nn.Module, path: str, into: list[list[torch.Tensor]]) -> Iterator[None]:
    """While active, the tensors the submodule returns go into `into`, and forward ends there."""
    module = model.get_submodule(path)
    forward = module.forward

    def record(*args: object, **kwargs: object) -> object:
        result = forward(*args, **kwargs)
        into.append(tree_flatten(result)[0])
        if torch.compiler.is_exporting():
            # The tracer does not survive an exception: what follows is traced, and is dead code.
            return copied(result)
        raise _Reached

    with replaced_forward(module, record):
        yield
