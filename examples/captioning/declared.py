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
LONGEST: int = CONFIG["recipe"]["max_new_tokens"]
MEAN, STD = (CONFIG["inputs"]["image"]["preprocess"][key][0] for key in ("mean", "std"))


def preprocess(images: NDArray[np.uint8]) -> Tensor:
    """Turn uint8 [n, 64, 64] into normalised float32 [n, 1, 64, 64]."""
    return (torch.from_numpy(images).unsqueeze(1).float() / 255 - MEAN) / STD
