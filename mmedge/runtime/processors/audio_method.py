"""What every way from sounds to tensors offers."""

from __future__ import annotations

from typing import Annotated, ClassVar, Protocol

import msgspec

from mmedge.tensors import Array

Positive = Annotated[int, msgspec.Meta(gt=0)]


class AudioMethod(Protocol):
    """One way from sounds to tensors.

    sample_rate: in Hz. shortest: samples that a sound must have. tensors: upstream's names.
    """

    @property
    def sample_rate(self) -> int:
        """In Hz."""
        ...

    @property
    def shortest(self) -> int:
        """The least number of samples."""
        ...

    tensors: ClassVar[tuple[str, ...]]

    def convert(self, sounds: list[Array]) -> dict[str, Array]:
        """The samples of every example as tensors with a leading batch axis."""
        ...
