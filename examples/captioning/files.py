"""The files that go with the weights: data sets and a sample."""

from __future__ import annotations

import io
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from random import Random
from typing import Any

import data
import numpy as np
from digits import Digits, place
from numpy.typing import NDArray
from PIL import Image


def make_archive(digits: Digits, size: int, seed: int) -> dict[str, NDArray[Any]]:
    """Draw a data set in the form that `data.examples` reads."""
    rng = Random(seed)
    scenes = [data.sample_scene(digits.labels, rng) for _ in range(size)]
    pictures, offsets = place(scenes)
    return {
        **without_unused(digits.pictures, pictures),
        "offsets": offsets,
        "captions": np.array([data.caption(scene) for scene in scenes]),
    }


def without_unused(
    digits: NDArray[np.uint8], pictures: NDArray[np.int16]
) -> dict[str, NDArray[Any]]:
    """The digits that some scene shows, and the scenes' pictures as rows of those."""
    shown = pictures >= 0
    used, rows = np.unique(pictures[shown], return_inverse=True)
    renumbered = np.full_like(pictures, -1)
    renumbered[shown] = rows
    return {"digits": digits[used], "pictures": renumbered}


def write(path: Path, content: bytes) -> None:
    """Write a file so that a reader sees the old content or the new, never a part."""
    temporary = path.with_name(path.name + ".tmp")
    temporary.write_bytes(content)
    os.replace(temporary, path)


def buffered(save: Callable[[io.BytesIO], None]) -> bytes:
    """Collect what `save` writes to a binary file."""
    buffer = io.BytesIO()
    save(buffer)
    return buffer.getvalue()


def write_archive(path: Path, archive: dict[str, Any]) -> None:
    """Write a data set as a compressed NumPy archive."""
    write(path, buffered(lambda file: np.savez_compressed(file, **archive)))


def write_sample(path: Path, examples: Sequence[data.Example]) -> None:
    """Write the image of the first example with the longest caption, and print the caption."""
    inputs, target = max(examples, key=lambda example: len(example[1]))
    image = Image.fromarray(inputs["image"])
    write(path, buffered(lambda file: image.save(file, format="png")))
    print(f"{path.name}: {data.text(target)}")
