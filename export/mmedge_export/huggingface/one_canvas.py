"""Pictures of any shape on one canvas, for detectors whose picture size cannot stay open.

Deformable attention computes with the sizes of all feature maps: with both edges symbolic,
tracing Grounding DINO takes many times as long as with a fixed size. Its processor pads the
pictures of a batch to the largest anyway, with a mask; here they are padded to the largest there
can be. ViLT and its kin, whose edges are multiples of a divisor, keep theirs open.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from mmedge.recipes import CheckpointView
from mmedge.tensors import Array

PADDED = ("pixel_values", "pixel_mask")


def one_canvas(view: CheckpointView) -> CheckpointView | None:
    """The view with a processor that pads to one size; None where there is no need of it."""
    image: Any = dict(view.processor.get("image") or {})
    longest = dict(image.get("size") or {}).get("longest_edge")
    if not all(name in view.sample for name in PADDED) or image.get("divisor") or not longest:
        return None
    edge = int(longest)
    image["pad_size"] = {"height": edge, "width": edge}
    sample = {
        name: _padded(array, edge) if name in PADDED else array
        for name, array in view.sample.items()
    }
    return replace(view, processor={**view.processor, "image": image}, sample=sample)


def _padded(array: Array, edge: int) -> Array:
    """Zeros below and to the right, until both edges are `edge` long."""
    missing = [(0, 0)] * (array.ndim - 2) + [(0, edge - size) for size in array.shape[-2:]]
    return np.pad(array, missing)
