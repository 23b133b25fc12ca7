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
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensor
from torch._subclasses.functional_tensor import FunctionalTensor
from torch.overrides import TorchFunctionMode

from mmedge.replaced import replaced

Original = Any


class _Sizes(list[int]):
    """Stands for the values of a traced tensor, which only say where to cut."""

    def __init__(self, tensor: Tensor) -> None:
        super().__init__()
        self.tensor = tensor


# Told of a tensor that was not cut, and of the lengths of its pieces.
LeftWhole = Callable[[Tensor, Tensor], None]


@contextmanager
def uncut_features(left_whole: LeftWhole | None = None) -> Iterator[None]:
    """While active, pieces stay together; those whose number is known only while torch exports."""
    asked: list[Tensor] = []
    split = partial(_split, told=left_whole)
    replacements: dict[str, Callable[[Original], Original]] = {
        "__iter__": lambda original: _iterated(original, asked),
        "__len__": lambda original: _counted(original, asked),
        "tolist": _listed,
        "split": split,
    }
    with ExitStack() as stack:
        stack.enter_context(replaced(torch, "split", split))
        for name, replacement in replacements.items():
            # The tensors of a trace are of subclasses, some with a method of their own.
            for owner in (torch.Tensor, FakeTensor, FunctionalTensor):
                if owner is torch.Tensor or name in vars(owner):
                    stack.enter_context(replaced(owner, name, replacement))
        stack.enter_context(_RowsKept())
        yield


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
        return _Sizes(self) if self.ndim else original(self)

    return tolist


def _split(original: Original, *, told: LeftWhole | None) -> Original:
    def split(self: Tensor, sizes: Any, *args: Any, **kwargs: Any) -> Any:
        if not isinstance(sizes, _Sizes):
            return original(self, sizes, *args, **kwargs)
        if told is not None:
            told(self, sizes.tensor)
        return (self,)

    return split


class _RowsKept(TorchFunctionMode):
    """Rows that are picked by a mask come first; an axis that varies is not squeezed away.

    A mode, for what has once been assigned to Tensor.__getitem__ is never quite undone: Python
    takes every tensor for a sequence from then on.
    """

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        """Everything else is as it was."""
        if func is torch.Tensor.__getitem__:
            rows, index = args
            if isinstance(index, Tensor) and index.dtype == torch.bool and index.ndim:
                flat = rows.flatten(0, index.ndim - 1) if index.ndim > 1 else rows
                return func(flat, chosen_first(index.flatten()))
        if func is torch.Tensor.squeeze and len(args) == 2 and isinstance(args[1], int):
            rows, axis = args
            # torch takes its size for more than one, and ONNX would not.
            if isinstance(rows.shape[axis], torch.SymInt):
                return rows
        return func(*args, **(kwargs or {}))


def chosen_first(chosen: Tensor) -> Tensor:
    """Row numbers, int64 [rows]: those that are chosen, in order, then the others, in order."""
    kept, left = chosen.to(torch.int64), (~chosen).to(torch.int64)
    place = torch.where(chosen, kept.cumsum(0) - 1, kept.sum() + left.cumsum(0) - 1)
    rows = torch.arange(chosen.shape[0], device=chosen.device)
    return torch.zeros_like(rows).scatter(0, place, rows)
