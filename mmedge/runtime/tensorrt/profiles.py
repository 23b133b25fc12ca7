"""Which optimization profile takes a call: the sizes that each allows, and what fits best."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from mmedge.errors import InputError

Shape = tuple[int, ...]
Shapes = Mapping[str, Shape]


@dataclass(frozen=True)
class Sizes:
    """The shapes that one input may have: along every axis from `min` to `max`, best at `opt`."""

    min: Shape
    opt: Shape
    max: Shape

    def take(self, shape: Shape) -> bool:
        """Whether a tensor of this shape is within."""
        return len(shape) == len(self.min) and all(
            low <= size <= high for low, size, high in zip(self.min, shape, self.max, strict=True)
        )

    def __str__(self) -> str:
        ends = zip(self.min, self.max, strict=True)
        return f"[{', '.join(str(a) if a == b else f'{a}..{b}' for a, b in ends)}]"


@dataclass(frozen=True)
class Profile:
    """One optimization profile: the sizes of each input."""

    sizes: Mapping[str, Sizes]

    def takes(self, shapes: Shapes) -> bool:
        """Whether every input is within."""
        return all(sizes.take(shapes[name]) for name, sizes in self.sizes.items())

    def distance(self, shapes: Shapes) -> float:
        """How far the shapes are from those that it is best at: 0 is there, 1 a factor of e."""
        return sum(
            abs(math.log((size + 1) / (best + 1)))
            for name, sizes in self.sizes.items()
            for size, best in zip(shapes[name], sizes.opt, strict=True)
        )

    def __str__(self) -> str:
        return ", ".join(f"{name} {sizes}" for name, sizes in self.sizes.items())


def choose(profiles: Sequence[Profile], shapes: Shapes, *, component: str) -> int:
    """The number of the profile that takes these shapes; of several, the one nearest its best.

    Raises InputError with the sizes that each profile allows.
    """
    fitting = [index for index, profile in enumerate(profiles) if profile.takes(shapes)]
    if fitting:
        return min(fitting, key=lambda index: profiles[index].distance(shapes))
    allowed = [f"profile {index}: {profile}" for index, profile in enumerate(profiles)]
    raise InputError(
        f"component {component!r} was not built for inputs of these sizes",
        found=", ".join(f"{name} {list(shape)}" for name, shape in shapes.items()),
        expected="\n".join(allowed),
        hint="build it for them: mmedge build BUNDLE --shape AXIS=MIN:OPT:MAX",
    )
