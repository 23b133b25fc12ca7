"""Samples that wait on disk: their large arrays are pages of a file, not memory of the compile.

A compile keeps its samples from the first stage to the last. Four photographs, cut into tiles as
SmolVLM takes them, are 200 MB that nothing looks at while the model's weights are.
"""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np

from mmedge.stage import Samples
from mmedge.tensors import Array

# Smaller arrays are not worth a mapping.
LEAST_BYTES = 1 << 20


def mapped(samples: Samples, directory: Path) -> Samples:
    """The same samples, with large arrays in files of `directory` that vanish with them.

    The arrays can be written to; what is written stays in memory. Where the directory cannot be
    written to, or is full, the samples stay in memory as they are.
    """
    try:
        directory.mkdir(parents=True, exist_ok=True)
        groups = tuple(
            {name: _mapped(array, directory) for name, array in group.items()}
            for group in samples.groups
        )
    except OSError:
        return samples
    return replace(samples, groups=groups)


def _mapped(array: Array, directory: Path) -> Array:
    if array.nbytes < LEAST_BYTES:
        return array
    with tempfile.TemporaryFile(dir=directory) as file:  # nobody else sees it: it has no name
        np.ascontiguousarray(array).tofile(file)
        return np.memmap(file, dtype=array.dtype, mode="c", shape=array.shape)
