"""The shortest sound that a model hears anything in: what its convolutions leave two features of.

torch.export takes a size of one for a constant, so that one feature is too few. How many are left
says the model itself, by the method that all of transformers calls so.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from mmedge.recipes import CheckpointView

FEATURES = "_get_feat_extract_output_lengths"
FEWEST = 2


def shortest_sound(view: CheckpointView, *, between: tuple[int, int]) -> int:
    """How many samples there must be; the lower bound where the model says nothing of it."""
    if not hasattr(view.model_class, FEATURES):
        return between[0]
    with torch.device("meta"):
        model: Any = view.model_class(view.config)
    return smallest(lambda samples: _features(model, samples) >= FEWEST, between=between)


def smallest(enough: Callable[[int], bool], *, between: tuple[int, int]) -> int:
    """The smallest number that is enough, as all larger ones are; the upper bound if none is."""
    low, high = between
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if enough(middle) else (middle + 1, high)
    return low


def _features(model: Any, samples: int) -> int:
    return int(getattr(model, FEATURES)(torch.tensor(samples)))
