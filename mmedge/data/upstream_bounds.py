"""What upstream's processors are not run for: sizes in a file that no memory would hold.

A processor file is data, and upstream believes it: one wrong digit and a picture is resized to a
hundred gigabytes. Ours have the same bound (`mmedge.runtime.processors.pixels`).
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from mmedge.errors import CheckpointError
from mmedge.runtime.preprocess.decode_image import MAX_PIXELS

FIELDS = ("size", "crop_size", "pad_size")
# Where upstream resizes with this function, "edges" are numbers of pixels (Qwen2-VL).
BY_PIXELS = "smart_resize"


def check_picture_sizes(processor: Any, directory: Path) -> None:
    """Raise CheckpointError where the processor would make pictures of more than MAX_PIXELS."""
    for part in (processor, getattr(processor, "image_processor", None)):
        for field, size in _sizes(part):
            pixels = _pixels(size, counted=_by_pixels(part))
            if pixels > MAX_PIXELS:
                raise CheckpointError(
                    "the processor's files ask for pictures that no memory would hold",
                    found=f"{field} = {size}, which is {pixels / 10**6:,.0f} megapixels",
                    expected=f"at most {MAX_PIXELS // 10**6}",
                    where=directory,
                    hint=f"correct {field!r} in preprocessor_config.json or processor_config.json",
                )


def _sizes(part: Any) -> Iterator[tuple[str, dict[str, float]]]:
    """The fields that there are, as upstream reads them."""
    for field in FIELDS:
        size = getattr(part, field, None)
        if isinstance(size, int):
            yield field, {"shortest_edge": size}
        elif isinstance(size, Mapping) or hasattr(size, "__dict__"):
            values = dict(size) if isinstance(size, Mapping) else vars(size)
            yield field, {k: v for k, v in values.items() if isinstance(v, int | float)}


def _by_pixels(part: Any) -> bool:
    files = [sys.modules.get(kind.__module__) for kind in type(part).__mro__]
    return any(hasattr(file, BY_PIXELS) for file in files)


def _pixels(size: Mapping[str, float], *, counted: bool) -> float:
    """Of the smallest picture that the size makes of a square one."""
    if counted and "shortest_edge" in size:
        return size["shortest_edge"]
    edges = [size[name] for name in ("shortest_edge", "longest_edge") if name in size]
    pairs = [("height", "width"), ("max_height", "max_width")]
    areas = [size[high] * size[wide] for high, wide in pairs if high in size and wide in size]
    return max([*areas, min(edges) ** 2 if edges else 0])
