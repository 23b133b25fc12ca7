"""What every way from texts to tensors offers."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

from mmedge.runtime.processors.contract import RawInput
from mmedge.runtime.processors.image_steps import Pictures
from mmedge.runtime.processors.tokenize import Tokenization
from mmedge.tensors import Array


class TextMethod(Protocol):
    """One way from texts to tensors."""

    @property
    def tokens(self) -> Tokenization:
        """How the texts become tokens."""
        ...

    def raw_inputs(self) -> dict[str, RawInput]:
        """What the user may pass, by name; all but "text" are needed together."""
        ...

    def convert(
        self, values: Mapping[str, object], pictures: Pictures | None, *, files: Path
    ) -> dict[str, Array]:
        """The raw inputs as tensors with a leading batch axis, given the images beside them."""
        ...
