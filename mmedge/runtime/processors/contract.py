"""What every kind of processor offers, and what it says of the values that it takes."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

import msgspec

from mmedge.tensors import Array


class RawInput(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Something the user passes by name ("image", "text", "audio"), and what becomes of it.

    tensors: the names of the model inputs that it alone decides. ("input_ids" may depend on the
        image too; it belongs to the text.)
    beside: the other raw inputs that its tensors depend on: they are converted with it.
    """

    modality: str
    tensors: tuple[str, ...]
    optional: bool = False
    beside: tuple[str, ...] = ()


class Processor(Protocol):
    """The decoded options of one kind of processor."""

    def raw_inputs(self) -> dict[str, RawInput]:
        """What the user may pass, by name."""
        ...

    def files(self) -> tuple[str, ...]:
        """Files that it reads, relative to the checkpoint or the bundle."""
        ...

    def convert(self, values: Mapping[str, object], *, files: Path) -> dict[str, Array]:
        """Raw values by name to tensors by name, each with a leading batch axis.

        One raw value gives a batch of one; a list gives a batch, where the kind takes one value
        per example. Raises InputError for what is not such a value.
        """
        ...
