"""Images as arrays of pixels, [channels, height, width], and the steps that change them.

Every step is upstream's own in order, dtype and rounding (its Pillow backend, transformers 5.23),
so that equal files give equal tensors. (Its torchvision backend resizes a little differently.)
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mmedge.errors import InputError
from mmedge.optional import require
from mmedge.runtime.preprocess.decode_image import MAX_PIXELS, check_pixels, open_image
from mmedge.runtime.processors.image_size import Size
from mmedge.tensors import Array

CHANNELS = (1, 3, 4)


def pixels_of(value: object, *, name: str, rgb: bool) -> Array:
    """An image file, a PIL image or an array as uint8 [channels, height, width].

    A file is turned as its EXIF orientation says and becomes RGB; its transparency is ignored.
    Any other image is taken as it is, where rgb is set as RGB, over white where it is
    transparent. Raises InputError for anything else, and for more than 10^8 pixels.
    """
    if isinstance(value, np.ndarray):
        return _checked_array(value, name=name, rgb=rgb)
    is_file = isinstance(value, str | os.PathLike)
    image = open_image(Path(os.fspath(value)), name) if is_file else value  # type: ignore[call-overload]
    if not isinstance(image, require("PIL.Image").Image):
        raise _not_an_image(name, type(value).__name__)
    check_pixels(image.width, image.height, name)
    if image.mode in ("I", "F"):
        raise InputError(
            f"the image for input {name!r} has 32-bit pixels of unknown range",
            found=f"Pillow mode {image.mode}",
            expected="an 8-bit image",
        )
    try:
        return _channels_first(
            np.array(_upright_rgb(image) if is_file else _over_white(image, rgb))
        )
    except Exception as error:  # Pillow decodes here, and its plugins raise anything
        raise InputError(
            f"the image for input {name!r} is damaged",
            found=f"{type(error).__name__}: {error}",
            where=value if is_file else None,
        ) from error


def as_from_file(value: object, *, name: str) -> object:
    """A PIL image as if it came from a file: upright, RGB, opaque; anything else as it is."""
    if not isinstance(value, require("PIL.Image").Image):
        return value
    image: Any = value
    check_pixels(image.width, image.height, name)
    return image if image.mode in ("I", "F") else _upright_rgb(image)


def resized(pixels: Array, size: Size, *, resample: int) -> Array:
    """uint8 pixels of another size; InputError where the size is impossible."""
    height, width = size
    if not 0 < height * width <= MAX_PIXELS:
        raise InputError(
            "an image of this shape cannot be resized for the model",
            found=f"{pixels.shape[2]} x {pixels.shape[1]} pixels, to become {width} x {height}",
            expected=f"1 to {MAX_PIXELS} pixels",
            hint="crop the image to a less extreme aspect ratio",
        )
    channels_last = pixels[0] if pixels.shape[0] == 1 else np.moveaxis(pixels, 0, -1)
    image = require("PIL.Image").fromarray(np.ascontiguousarray(channels_last))
    return _channels_first(np.array(image.resize((width, height), resample=resample)))


def center_cropped(pixels: Array, size: Size) -> Array:
    """The middle of the image; zeros around an image that is smaller."""
    _, height, width = pixels.shape
    rows, columns = size
    top, left = (height - rows) // 2, (width - columns) // 2
    if top >= 0 and left >= 0:
        return pixels[:, top : top + rows, left : left + columns]
    tall, wide = max(rows, height), max(columns, width)
    frame = np.zeros((pixels.shape[0], tall, wide), dtype=pixels.dtype)
    first_row, first_column = -((height - tall) // 2), -((width - wide) // 2)
    frame[:, first_row : first_row + height, first_column : first_column + width] = pixels
    top, left = max(0, top + first_row), max(0, left + first_column)
    return frame[:, top : top + rows, left : left + columns]


def squared(pixels: Array, *, colour: tuple[int, ...]) -> Array:
    """The image in the middle of a square of the given colour (LLaVA's `do_pad`)."""
    channels, height, width = pixels.shape
    edge = max(height, width)
    top, left = (edge - height) // 2, (edge - width) // 2
    frame = np.empty((channels, edge, edge), dtype=pixels.dtype)
    frame[:] = np.array(colour, dtype=pixels.dtype)[:, None, None]
    frame[:, top : top + height, left : left + width] = pixels
    return frame


def rescaled(pixels: Array, factor: float) -> Array:
    """float32 pixels times the factor, multiplied in float64 as upstream does."""
    return (pixels.astype(np.float64) * factor).astype(np.float32)


def normalised(pixels: Array, mean: tuple[float, ...], std: tuple[float, ...]) -> Array:
    """(pixels - mean) / std per channel, in float32."""
    if pixels.shape[0] != len(mean):
        raise InputError(
            "the image has another number of channels than the model",
            found=pixels.shape[0],
            expected=len(mean),
            hint="image.convert('RGB')" if len(mean) == 3 else "image.convert('L')",
        )
    values = pixels.astype(np.float32)
    means, deviations = np.array(mean, np.float32), np.array(std, np.float32)
    return (values - means[:, None, None]) / deviations[:, None, None]


def padded_to(pixels: Array, size: Size) -> tuple[Array, Array]:
    """(the image with zeros below and to the right, int64 mask that is 1 at the image)."""
    _, height, width = pixels.shape
    below, right = size[0] - height, size[1] - width
    mask = np.zeros(size, dtype=np.int64)
    mask[:height, :width] = 1
    return np.pad(pixels, ((0, 0), (0, below), (0, right))), mask


def stacked(arrays: Sequence[Array], *, what: str, hint: str) -> Array:
    """The arrays along a new leading axis; InputError where their shapes differ."""
    shapes = list(dict.fromkeys(array.shape for array in arrays))
    if len(shapes) > 1:
        raise InputError(
            f"{what} have different shapes and cannot be one batch",
            found=", ".join(str(list(shape)) for shape in shapes),
            hint=hint,
        )
    return np.stack(arrays)


def _upright_rgb(image: Any) -> Any:
    return require("PIL.ImageOps").exif_transpose(image).convert("RGB")


def _over_white(image: Any, rgb: bool) -> Any:
    if not rgb:
        return image
    if "A" not in image.getbands() and image.info.get("transparency") is None:
        return image.convert("RGB")
    layers = image.convert("RGBA")
    white = require("PIL.Image").new("RGBA", layers.size, (255, 255, 255, 255))
    return require("PIL.Image").alpha_composite(white, layers).convert("RGB")


def _channels_first(array: Array) -> Array:
    return array[None] if array.ndim == 2 else np.moveaxis(array, -1, 0)


def _checked_array(array: Array, *, name: str, rgb: bool) -> Array:
    if array.dtype != np.uint8 or array.ndim not in (2, 3):
        raise _not_an_image(name, f"{array.dtype}{list(array.shape)}")
    if array.ndim == 2:
        array = array[None]
    elif array.shape[0] not in CHANNELS:  # upstream takes channels first where both may be
        array = np.moveaxis(array, -1, 0)
    if array.shape[0] not in CHANNELS:
        raise _not_an_image(name, f"{array.dtype}{list(array.shape)}")
    check_pixels(array.shape[2], array.shape[1], name)
    return _array_over_white(array) if rgb else array


def _array_over_white(array: Array) -> Array:
    if array.shape[0] == 1:
        return np.repeat(array, 3, axis=0)
    if array.shape[0] == 3:
        return array
    alpha = array[3:] / 255
    return np.round(alpha * array[:3] + (1 - alpha) * 255).astype(np.uint8)


def _not_an_image(name: str, found: str) -> InputError:
    return InputError(
        f"input {name!r} takes an image",
        found=found,
        expected="a path, a PIL image, or a uint8 array [height, width, 3]",
        hint="(pixels * 255).astype('uint8') where they are floats from 0 to 1",
    )
