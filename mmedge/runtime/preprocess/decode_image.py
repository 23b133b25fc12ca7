"""Image files as opaque, upright 8-bit PIL images, whatever they were."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np

from mmedge.errors import InputError
from mmedge.optional import require

MAX_PIXELS = 10**8  # 300 MB once decoded to RGB; a header may claim any size
SMALLER = f"scale it down to {MAX_PIXELS // 10**6} megapixels or less: the model sees far fewer"


def open_image(path: Path, input_name: str) -> Any:
    """The image file at `path`, not yet decoded; InputError where it is not one."""
    image_module = require("PIL.Image")
    try:
        with warnings.catch_warnings():  # upright_opaque has its own limit
            warnings.simplefilter("ignore", image_module.DecompressionBombWarning)
            return image_module.open(path)
    except (OSError, ValueError, SyntaxError, image_module.DecompressionBombError) as error:
        raise InputError(
            f"{path} cannot be read as an image for input {input_name!r}",
            found=f"{type(error).__name__}: {error}",
            expected="an image file that Pillow reads",
            hint=_advice(error),
        ) from error


def _advice(error: Exception) -> str:
    if isinstance(error, FileNotFoundError):
        return "check the path: it is seen from the current directory"
    if type(error).__name__ == "DecompressionBombError":
        return SMALLER
    return "convert it to PNG or JPEG"


def upright_opaque(image: Any, input_name: str) -> Any:
    """The image turned as its EXIF orientation says, over black, in mode L or RGB.

    Raises InputError for more than 10^8 pixels, for a file whose content is damaged, and for
    pixels of 32 bits, whose range nothing states.
    """
    check_pixels(image.width, image.height, input_name)
    if image.mode in ("I", "F"):
        raise InputError(
            f"the image for input {input_name!r} has 32-bit pixels of unknown range",
            found=f"Pillow mode {image.mode}",
            expected="an 8-bit or 16-bit image",
        )
    operations = require("PIL.ImageOps")
    try:
        return _opaque(_eight_bits(operations.exif_transpose(image)))
    except Exception as error:  # Pillow decodes here, and its plugins raise anything
        raise InputError(
            f"the image for input {input_name!r} is damaged",
            found=f"{type(error).__name__}: {error}",
            where=getattr(image, "filename", None),
        ) from error


def check_pixels(width: int, height: int, input_name: str) -> None:
    """InputError for an image of no pixels or of more than MAX_PIXELS."""
    if not 0 < width * height <= MAX_PIXELS:
        raise InputError(
            f"the image for input {input_name!r} has an impossible size",
            found=f"{width} x {height} pixels",
            expected=f"1 to {MAX_PIXELS} pixels",
            hint=SMALLER if width * height > MAX_PIXELS else None,
        )


def _eight_bits(image: Any) -> Any:
    if not image.mode.startswith("I;16"):
        return image
    # Pillow would clip 16-bit pixels at 255 instead of scaling them.
    return require("PIL.Image").fromarray((np.asarray(image) >> 8).astype(np.uint8))


def _opaque(image: Any) -> Any:
    if not ("A" in image.getbands() or "transparency" in image.info):
        return image.convert("L" if image.mode in ("1", "L") else "RGB")
    layers = image.convert("RGBA")
    black = require("PIL.Image").new("RGBA", layers.size, (0, 0, 0, 255))
    return require("PIL.Image").alpha_composite(black, layers).convert("RGB")
