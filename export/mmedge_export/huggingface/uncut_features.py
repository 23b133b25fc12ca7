"""Features that are cut into pieces only to be joined again: while exporting, they are not cut.

`get_image_features` of many architectures ends by giving each image its own tensor
(`list(features)`, `features.split(sizes.tolist())`), whose number depends on the batch or on the
values of tensors; the model then joins the pieces along their first axis. An encoder that is
exported joins them at once, so the cut is left out, which changes nothing. Rows that a model
picks by a mask (`pixel_values[is_real]`) are put first instead, in order, and the others kept
after them: whoever takes the features takes as many as there are real ones.

Upstream (transformers 5.23): LlavaModel.get_image_features, Qwen2VLModel.get_image_features,
SmolVLMModel.get_image_features, Idefics3Model.get_image_features and their kin.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensor
from torch._subclasses.functional_tensor import FunctionalTensor

Original = Any


class _Sizes(list[int]):
    """Stands for the values of a traced tensor, which only say where to cut."""


@contextmanager
def uncut_features() -> Iterator[None]:
    """While active, and while torch exports, pieces stay together."""
    asked: list[Tensor] = []
    replacements: dict[str, Callable[[Original], Original]] = {
        "__iter__": lambda original: _iterated(original, asked),
        "__len__": lambda original: _counted(original, asked),
        "tolist": _listed,
        "split": _split,
        "__getitem__": _picked,
    }
    with ExitStack() as stack:
        stack.enter_context(_replaced(torch, "split", _split))
        for name, replacement in replacements.items():
            # The tensors of a trace are of subclasses, some with a method of their own.
            for owner in (torch.Tensor, FakeTensor, FunctionalTensor):
                if owner is torch.Tensor or name in vars(owner):
                    stack.enter_context(_replaced(owner, name, replacement))
        yield


@contextmanager
def _replaced(owner: Any, name: str, replacement: Callable[[Original], Original]) -> Iterator[None]:
    own = vars(owner).get(name)
    setattr(owner, name, replacement(getattr(owner, name)))
    try:
        yield
    finally:
        if own is None:
            delattr(owner, name)
        else:
            setattr(owner, name, own)


def _iterated(original: Original, asked: list[Tensor]) -> Original:
    def iterate(self: Tensor) -> Any:
        if self.ndim >= 2 and isinstance(self.shape[0], torch.SymInt):
            asked.append(self)
            return iter([self.flatten(0, 1)])
        return original(self)

    return iterate


def _counted(original: Original, asked: list[Tensor]) -> Original:
    """`list(tensor)` asks how many pieces there are, after it has asked for them."""

    def count(self: Tensor) -> int:
        if asked and asked[-1] is self:
            asked.pop()
            return 1
        length: int = original(self)
        return length

    return count


def _listed(original: Original) -> Original:
    def tolist(self: Tensor) -> Any:
        return _Sizes() if torch.compiler.is_exporting() else original(self)

    return tolist


def _split(original: Original) -> Original:
    def split(self: Tensor, sizes: Any, *args: Any, **kwargs: Any) -> Any:
        if isinstance(sizes, _Sizes):
            return (self,)
        return original(self, sizes, *args, **kwargs)

    return split


def _picked(original: Original) -> Original:
    def getitem(self: Tensor, index: Any) -> Any:
        is_rows = isinstance(index, Tensor) and index.dtype == torch.bool and index.ndim == 1
        if not (is_rows and torch.compiler.is_exporting()):
            return original(self, index)
        return original(self, chosen_first(index))

    return getitem


def chosen_first(chosen: Tensor) -> Tensor:
    """Row numbers, int64 [rows]: those that are chosen, in order, then the others, in order."""
    kept, left = chosen.to(torch.int64), (~chosen).to(torch.int64)
    place = torch.where(chosen, kept.cumsum(0) - 1, kept.sum() + left.cumsum(0) - 1)
    rows = torch.arange(chosen.shape[0], device=chosen.device)
    return torch.zeros_like(rows).scatter(0, place, rows)
