"""Image processors of upstream's own classes, the ones that need no torchvision, made small."""

from __future__ import annotations

from typing import Any


def clip(size: int = 32, **options: Any) -> Any:
    """The shorter side to `size`, the middle cut out."""
    from transformers import CLIPImageProcessorPil

    return CLIPImageProcessorPil(
        size={"shortest_edge": size}, crop_size={"height": size, "width": size}, **options
    )


def square(kind: str, size: int = 32, **options: Any) -> Any:
    """A processor of class `kind` that squeezes the image to a square."""
    import transformers

    return getattr(transformers, kind)(size={"height": size, "width": size}, **options)
