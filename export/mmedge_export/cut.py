"""A submodule at which forward is cut: what it returns, by name, and back in its structure."""

from __future__ import annotations

from collections.abc import Collection

import torch
from torch.utils._pytree import TreeSpec, tree_flatten, tree_unflatten

from mmedge.errors import ProjectError


class Cut:
    """A submodule at which forward is cut, and the structure of what it returns.

    taken: names that its outputs must not have.
    """

    def __init__(self, path: str, result: object, *, taken: Collection[str] = ()) -> None:
        self.path = path
        self.leaves, self.structure = tree_flatten(result)
        names = leaf_names(path, len(self.leaves))
        self.outputs = tuple(free_name(name, taken) for name in names)
        self._check(self.leaves)

    def restore(self, tensors: tuple[torch.Tensor, ...]) -> object:
        """What the submodule returned, with `tensors` in the place of its own."""
        structure: TreeSpec = self.structure
        return tree_unflatten([tensor.clone() for tensor in tensors], structure)

    def _check(self, leaves: list[object]) -> None:
        others = [type(leaf).__name__ for leaf in leaves if not isinstance(leaf, torch.Tensor)]
        if others or not leaves:
            raise ProjectError(
                f"submodule {self.path!r} cannot be a component: it does not return tensors",
                found=", ".join(others) or "nothing",
                where="[recipe] components",
            )


def leaf_names(path: str, count: int) -> tuple[str, ...]:
    """Names for what a submodule returns: "<path>_features", numbered where there are several."""
    stem = path.replace(".", "_").removesuffix("_encoder") + "_features"
    return (stem,) if count == 1 else tuple(f"{stem}_{i}" for i in range(count))


def free_name(name: str, taken: Collection[str], suffix: str = "_out") -> str:
    """`name`, lengthened while it is taken: a graph's input and output cannot share a name."""
    while name in taken:
        name += suffix
    return name


def copied(result: object) -> object:
    """The result in tensors and containers of its own: forward may go on to change them."""
    leaves, structure = tree_flatten(result)
    copies = [leaf.clone() if isinstance(leaf, torch.Tensor) else leaf for leaf in leaves]
    return tree_unflatten(copies, structure)


def wrongly_called(path: str, times: int) -> ProjectError:
    """What to raise where a submodule that is to be cut is not called exactly once."""
    return ProjectError(
        f"forward calls submodule {path!r} {times} times",
        expected="once",
        where="[recipe] components",
        hint="name a submodule that is called once, or leave it in the rest",
    )
