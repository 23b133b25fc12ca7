"""Boxes for the tokens of a page where no OCR engine is there to say where its words are.

The bundled page's own, in turn: what matters is that each is a box (left before right, top above
bottom), for models look up its width and height.
"""

from __future__ import annotations

import numpy as np

from mmedge.data.real_samples import real_samples
from mmedge.tensors import Array

NAME = "bbox"
# Of a model that takes whole numbers; of others, the page is 1 wide and 1 high.
THOUSANDTHS = 1000
# left, top, right, bottom as four corners: clockwise, from the top left one.
CORNERS = (0, 1, 2, 1, 2, 3, 0, 3)


def page_boxes(count: int, length: int, *, width: int, dtype: str) -> Array:
    """[count, length, width]: a box for each token, of four numbers or four corners."""
    boxes = np.array(real_samples().boxes)
    if width == len(CORNERS):
        boxes = boxes[:, CORNERS]
    made = np.resize(boxes, (count, length, boxes.shape[1]))
    whole = np.dtype(dtype).kind in "iu"
    return made.astype(dtype) if whole else (made / THOUSANDTHS).astype(dtype)
