"""Which attentions get our kernel: what it can take, and what a table of data says it is for."""

from __future__ import annotations

from functools import cache
from typing import Any, Literal

import msgspec

from mmedge.capabilities import version_of
from mmedge.resources import data_dir
from mmedge.strict import decode, read_toml
from mmedge.targets import TensorRTSettings

# As ONNX names element types -> as the kernels do.
KERNEL_DTYPES = {"FLOAT16": "Fp16", "BFLOAT16": "Bf16"}
# Copies of 16 bytes: `kernels/attention/checks.h`.
HEAD_SIZE_STEP = 8
# The depth of one mma, to which kernels pad heads: `kernels/attention/variants.cuh`.
HEAD_UNIT = 16


class Features(msgspec.Struct, frozen=True):
    """What of an attention decides. keys: how many at most, where that is known."""

    dtype: str
    head_size: int
    lengths: bool
    causal: bool
    bias: bool
    keys: int | None = None


class Row(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One row of `kernels/attention/choice.toml`; a condition that is None always holds."""

    use: Literal["plugin", "builtin"]
    why: str
    measured: str
    library: str | None = None
    since: str | None = None
    before: str | None = None
    capability: str | None = None
    dtypes: tuple[str, ...] | None = None
    head_sizes: tuple[int, ...] | None = None
    lengths: bool | None = None
    causal: bool | None = None
    bias: bool | None = None
    keys_from: int | None = None

    def holds(self, features: Features, settings: TensorRTSettings) -> bool:
        """Whether every condition does."""
        version, gpu = version_of(settings.version), version_of(settings.compute_capability)
        keys = features.keys or 0
        return all(
            (
                self.library in (None, settings.library),
                self.since is None or version >= version_of(self.since),
                self.before is None or version < version_of(self.before),
                self.capability is None or gpu >= version_of(self.capability),
                self.dtypes is None or features.dtype in self.dtypes,
                self.head_sizes is None or features.head_size in self.head_sizes,
                self.lengths in (None, features.lengths),
                self.causal in (None, features.causal),
                self.bias in (None, features.bias),
                self.keys_from is None or keys >= self.keys_from,
            )
        )


class Choices(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The table; its last row has no condition, so that there is always an answer."""

    schema: Literal[1]
    rows: tuple[Row, ...]


def refusal(features: Features, settings: TensorRTSettings) -> str | None:
    """Why the kernel cannot take it; None if it can."""
    kernel = _kernel()
    if KERNEL_DTYPES.get(features.dtype) not in kernel["dtypes"]:
        return f"the kernel computes in 16 bits, this attention in {features.dtype.lower()}"
    if features.head_size % HEAD_SIZE_STEP:
        return f"head size {features.head_size} is not a multiple of {HEAD_SIZE_STEP}"
    padded, known = -(-features.head_size // HEAD_UNIT) * HEAD_UNIT, kernel["padded_head_sizes"]
    if padded not in known:
        sizes = ", ".join(map(str, known))
        return f"head size {features.head_size} has no kernel; there are those of {sizes}"
    if version_of(settings.compute_capability) < version_of(kernel["ptx"]):
        gpu = settings.compute_capability
        return f"the kernel is for compute capability {kernel['ptx']} and later, not {gpu}"
    return None


def choose(features: Features, settings: TensorRTSettings) -> Row:
    """The first row of the table that holds."""
    return next(row for row in choices().rows if row.holds(features, settings))


@cache
def choices() -> Choices:
    """The table that ships with the kernels."""
    path = data_dir("kernels") / "attention" / "choice.toml"
    return decode(read_toml(path), Choices, where=path)


@cache
def _kernel() -> dict[str, Any]:
    return read_toml(data_dir("kernels") / "attention" / "kernel.toml")
