"""Processors: the raw inputs of one model, all together, to the tensors that it takes.

A text needs to know how many tokens stand for the image in it, so what belongs together is
converted together. (`mmedge.runtime.preprocess` converts one input by itself.) A processor is
plain options in the bundle's manifest; running it needs numpy, Pillow and tokenizers at most.
"""

from __future__ import annotations

from collections.abc import Mapping

from mmedge.errors import ProjectError
from mmedge.runtime.processors.contract import Processor, RawInput
from mmedge.runtime.processors.huggingface import HuggingFaceProcessor
from mmedge.strict import decode, nearest

__all__ = ["Processor", "RawInput", "load_processor"]

KINDS: dict[str, type[HuggingFaceProcessor]] = {"huggingface": HuggingFaceProcessor}


def load_processor(options: Mapping[str, object], *, where: object) -> Processor:
    """The processor that `options` describe; ProjectError names an unknown kind or key.

    where: what the error says of the place where the options stand.
    """
    rest = dict(options)
    kind = rest.pop("kind", None)
    if kind not in KINDS:
        raise ProjectError(
            f"unknown kind of processor {kind!r}", where=where, hint=nearest(str(kind), list(KINDS))
        )
    processor = decode(rest, KINDS[str(kind)], where=where)
    processor.check(where)
    return processor
