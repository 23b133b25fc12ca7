"""What mmedge.toml says of the inputs: training prepares them as the bundle will."""

from __future__ import annotations

import sys

import data
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

CONFIG = tomllib.loads((data.FOLDER / "mmedge.toml").read_text(encoding="utf-8"))
TOKENS: int = CONFIG["inputs"]["question"]["shape"][1]
MEAN, STD = (
    torch.tensor(CONFIG["inputs"]["image"]["preprocess"][key]).view(3, 1, 1)
    for key in ("mean", "std")
)


def preprocess(images: NDArray[np.uint8]) -> Tensor:
    """Turn uint8 [n, 56, 56, 3] into normalised float32 [n, 3, 56, 56]."""
    pixels = torch.from_numpy(images).permute(0, 3, 1, 2)
    return (pixels.float() / 255 - MEAN) / STD
