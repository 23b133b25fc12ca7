"""What ours are compared on, and how."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from PIL import Image

from mmedge.tensors import Array


def odd_images() -> dict[str, Image.Image]:
    """Sizes and modes that photographs do not have; made of a gradient, so no two pixels agree."""
    rows, columns = np.mgrid[0:37, 0:53]
    ramp = np.stack([rows * 6, columns * 4, rows + columns], -1).astype(np.uint8)
    colour = Image.fromarray(ramp)
    alpha = Image.fromarray((rows * 5 % 256).astype(np.uint8))
    transparent = colour.copy()
    transparent.putalpha(alpha)
    return {
        "one pixel": colour.resize((1, 1)),
        "wide": colour.resize((500, 3)),
        "tall": colour.resize((3, 500)),
        "gray": colour.convert("L"),
        "gray with alpha": transparent.convert("LA"),
        "rgba": transparent,
        "palette": colour.quantize(16),
        "one bit": colour.convert("1"),
        "cmyk": colour.convert("CMYK"),
    }


def assert_same(ours: Mapping[str, Array], upstream: Mapping[str, Any], *, names: str) -> None:
    """Equal to the last bit, in name, dtype kind, shape and value."""
    for name in names.split():
        theirs = np.asarray(upstream[name])
        assert ours[name].shape == theirs.shape, name
        assert ours[name].dtype.kind == theirs.dtype.kind, name
        np.testing.assert_array_equal(ours[name], theirs, err_msg=name)
