"""Exact substitutes for upstream code that cannot be traced, active only while exporting.

Each names the upstream function it stands for and the hash of its source: where upstream has
changed, exporting is refused rather than silently wrong. One file for each architecture; a new
one is listed in `ALL`.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from torch import nn

from mmedge_export.huggingface.substitutes import (
    llava_next,
    llava_onevision,
    moonshine,
    pixtral,
    rope_index,
    siglip2,
    speech_to_text,
    udop,
    vilt,
)
from mmedge_export.huggingface.substitutes.substitute import Substitute

ALL: tuple[Substitute, ...] = (
    *llava_next.SUBSTITUTES,
    *llava_onevision.SUBSTITUTES,
    *moonshine.SUBSTITUTES,
    *pixtral.SUBSTITUTES,
    *rope_index.SUBSTITUTES,
    *siglip2.SUBSTITUTES,
    *speech_to_text.SUBSTITUTES,
    *udop.SUBSTITUTES,
    *vilt.SUBSTITUTES,
)


@contextmanager
def substituted(model: nn.Module) -> Iterator[None]:
    """While active, what cannot be traced in `model` is replaced.

    Raises ExportError where an upstream function is not the one that a substitute stands for.
    """
    classes = {kind for module in model.modules() for kind in type(module).__mro__}
    with ExitStack() as stack:
        for substitute in ALL:
            owner = substitute.owner_in(classes)
            if owner is not None:
                stack.enter_context(substitute.active(owner))
        yield
