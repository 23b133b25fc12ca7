"""Constants in a narrow format: which fit, what they lose, and their converted form."""

from __future__ import annotations

import msgspec
import numpy as np
import onnx_ir as ir

from mmedge.graph.precision.formats import STANDS_FOR_MINUS_INFINITY, NarrowFormat
from mmedge.tensors import Array

# A large weight is looked at, and converted, in parts of so many elements.
CHUNK = 1 << 24


class WeightFacts(msgspec.Struct, frozen=True):
    """How a constant fits a format.

    largest: the largest finite magnitude, without what stands for minus infinity.
    lost: numbers that become zero. subnormal: numbers that keep only some of their digits.
    not_finite: NaN and infinities, which stay what they are.
    """

    count: int
    largest: float
    lost: int
    subnormal: int
    not_finite: int

    def refusal(self, name: str, narrow: NarrowFormat) -> str | None:
        """Why a node that reads this constant has to stay in float32, or None."""
        if self.largest > narrow.largest:
            return f"constant {name!r} holds {self.largest:.4g}, {narrow.largest:.5g} is the most"
        # One number is a scale or an epsilon, and means something; of many, some may be noise.
        if self.lost and self.count == 1:
            return f"constant {name!r} would become zero"
        return None


def facts_of(tensor: ir.TensorProtocol, narrow: NarrowFormat) -> WeightFacts:
    """How the float32 constant `tensor` fits."""
    flat = tensor.numpy().reshape(-1)
    parts = [_facts(flat[i : i + CHUNK], narrow) for i in range(0, flat.size, CHUNK)]
    return WeightFacts(
        count=flat.size,
        largest=max((part.largest for part in parts), default=0.0),
        lost=sum(part.lost for part in parts),
        subnormal=sum(part.subnormal for part in parts),
        not_finite=sum(part.not_finite for part in parts),
    )


def narrowed(tensor: ir.TensorProtocol, narrow: NarrowFormat, name: str) -> ir.TensorProtocol:
    """The constant in the format; a large one is converted when it is written, not before."""
    shape = ir.Shape(tensor.shape.numpy())
    return ir.LazyTensor(
        lambda: ir.Tensor(narrow.convert(tensor.numpy()), dtype=narrow.dtype, name=name),
        narrow.dtype,
        shape,
        cache=tensor.size < CHUNK >> 8,
        name=name,
    )


def _facts(part: Array, narrow: NarrowFormat) -> WeightFacts:
    finite = np.isfinite(part)
    size = np.abs(part, where=finite, out=np.zeros_like(part))
    usual = np.where(part <= STANDS_FOR_MINUS_INFINITY, 0, size)
    # Half of the smallest number is rounded to even: to zero.
    gone = (size > 0) & (size <= narrow.smallest / 2)
    normal = float(np.finfo(np.float16).tiny) if narrow.name == "fp16" else 0.0
    return WeightFacts(
        count=part.size,
        largest=float(usual.max(initial=0.0)),
        lost=int(gone.sum()),
        subnormal=int(((size > 0) & ~gone & (size < normal)).sum()),
        not_finite=int((~finite).sum()),
    )
