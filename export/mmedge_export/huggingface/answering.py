"""Answering for a method or a submodule of a model while something else runs."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch import nn

from mmedge_export.replaced_forward import replaced_forward


def is_method(model: nn.Module, place: str) -> bool:
    """Whether `place` is the model's method, and not a submodule's dotted path."""
    return "." not in place and callable(getattr(type(model), place, None))


@contextmanager
def answering(model: nn.Module, place: str, answer: Any) -> Iterator[None]:
    """While active, the method or the submodule `place` answers with `answer`."""
    if is_method(model, place):
        with answering_method(model, place, answer):
            yield
        return
    with replaced_forward(model.get_submodule(place), lambda *_args, **_kwargs: answer):
        yield


@contextmanager
def answering_method(model: nn.Module, method: str, answer: Any) -> Iterator[None]:
    """While active, `method` of every module that has it answers with `answer`."""
    owners = [module for module in model.modules() if hasattr(type(module), method)]
    for owner in owners:
        owner.__dict__[method] = lambda *_args, **_kwargs: answer
    try:
        yield
    finally:
        for owner in owners:
            del owner.__dict__[method]
