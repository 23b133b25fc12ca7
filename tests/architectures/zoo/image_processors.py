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


def got_ocr2_tiles() -> Any:
    """One to four tiles of 32 pixels, and the whole as another."""
    from transformers import GotOcr2ImageProcessorPil

    return GotOcr2ImageProcessorPil(
        size={"height": 32, "width": 32}, crop_to_patches=True, min_patches=1, max_patches=4
    )


def qwen2_vl() -> Any:
    """Patches of 8 pixels, as many as the image's own shape has between two sizes."""
    from transformers import Qwen2VLImageProcessorPil

    return Qwen2VLImageProcessorPil(
        patch_size=8, size={"shortest_edge": 32 * 32, "longest_edge": 64 * 64}
    )
