"""Moonshine's length of a sound after its convolutions: whole numbers instead of rounded ones.

Upstream divides in floating point and cuts off the fraction, which fixes the length in a trace.
"""

from __future__ import annotations

from typing import Any

from mmedge_export.huggingface.substitutes.substitute import Substitute

# Kernel and stride of each convolution, as upstream writes them into this function.
CONVOLUTIONS = ((127, 64), (7, 3), (3, 2))


def output_length(self: Any, input_lengths: int) -> int:
    """How many features a sound of so many samples has."""
    length = input_lengths
    for kernel, stride in CONVOLUTIONS:
        length = (length - kernel) // stride + 1
    return length


SUBSTITUTES = (
    Substitute(
        module="transformers.models.moonshine.modeling_moonshine",
        kind="MoonshinePreTrainedModel",
        method="_get_feat_extract_output_lengths",
        source_sha256="75a9f9b1fad68653d77195077a37c368926ace0f5f0342ea70c5231c8d3ba9d8",
        version="5.23.0",
        replacement=output_length,
    ),
)
