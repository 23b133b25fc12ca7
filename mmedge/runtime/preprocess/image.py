"""Photographs to normalised pixels, as torchvision's ToTensor and Normalize make them."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
import numpy as np

from mmedge.errors import InputError, ProjectError
from mmedge.optional import require
from mmedge.runtime.preprocess.decode_image import check_pixels, open_image, upright_opaque
from mmedge.runtime.preprocess.plain_values import fit_hint
from mmedge.tensors import Array, TensorSpec

Positive = Annotated[int, msgspec.Meta(gt=0)]
PerChannel = Annotated[tuple[float, ...], msgspec.Meta(min_length=1, max_length=3)]


class ImageOptions(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Options of kind "image".

    size: [height, width] in pixels; an image that has it is not resized.
    mean, std: per channel in the declared colour order, or one number for all, for pixels
        scaled to 0..1. An input declared uint8 takes the pixels as they are.
    resize: Pillow's filters, which average when they shrink an image.
    """

    size: tuple[Positive, Positive]
    mean: PerChannel = (0.0,)
    std: PerChannel = (1.0,)
    color: Literal["rgb", "bgr", "gray"] = "rgb"
    resize: Literal["bilinear", "nearest", "bicubic"] = "bilinear"
    layout: Literal["NCHW", "NHWC"] = "NCHW"

    def __post_init__(self) -> None:
        """Refuse statistics that do not fit the channels."""
        channels = 1 if self.color == "gray" else 3
        for name, values in (("mean", self.mean), ("std", self.std)):
            if len(values) not in (1, channels):
                raise ValueError(f"{name} has {len(values)} values for {channels} channel(s)")
        if not all(value > 0 for value in self.std):
            raise ValueError(f"std {list(self.std)} is not positive")

    def files(self) -> tuple[str, ...]:
        """None are needed."""
        return ()

    def convert(self, value: object, spec: TensorSpec, files: Path) -> Array:
        """A path, PIL image or uint8 array [H, W(, 1|3|4)], or a list of those, as a batch.

        [batch, channels, height, width], or [batch, height, width, channels], of the declared
        dtype. EXIF orientation is applied; what is transparent is black.
        Raises InputError for files and arrays that are no image, or of more than 10^8 pixels.
        """
        images = list(value) if isinstance(value, list | tuple) else [value]
        if not images:
            raise InputError(f"input {spec.name!r} was given an empty list of images")
        batch = np.stack([self._pixels(spec, image) for image in images])
        batch = self._normalised(batch, spec)
        if self.layout == "NCHW":
            batch = batch.transpose(0, 3, 1, 2)
        return np.ascontiguousarray(batch)

    def _pixels(self, spec: TensorSpec, value: object) -> Array:
        """uint8 [height, width, channels] in the declared size and colour order."""
        image = upright_opaque(_to_pil(spec, value), spec.name)
        image = image.convert("L" if self.color == "gray" else "RGB")
        height, width = self.size
        if image.size != (width, height):
            resampling = require("PIL.Image").Resampling[self.resize.upper()]
            image = image.resize((width, height), resampling)
        pixels: Array = np.asarray(image).reshape(height, width, -1)
        return pixels[..., ::-1] if self.color == "bgr" else pixels

    def _normalised(self, pixels: Array, spec: TensorSpec) -> Array:
        if spec.dtype == "uint8" and self.mean == (0.0,) and self.std == (1.0,):
            return pixels
        if np.dtype(spec.dtype).kind != "f":
            raise ProjectError(
                f"input {spec.name!r} takes normalised pixels and is not declared as floats",
                found=spec.dtype,
                expected="float32, or uint8 without mean and std",
            )
        scaled = pixels.astype(np.float32) / np.float32(255)
        centred = scaled - np.array(self.mean, dtype=np.float32)
        return (centred / np.array(self.std, dtype=np.float32)).astype(spec.dtype)


def _to_pil(spec: TensorSpec, value: object) -> Any:
    if isinstance(value, str | os.PathLike):
        return open_image(Path(value), spec.name)
    pillow = require("PIL.Image")
    if isinstance(value, pillow.Image):
        return value
    if isinstance(value, np.ndarray):
        return _array_to_pil(spec, value)
    raise InputError(
        f"input {spec.name!r} takes images",
        found=type(value).__name__,
        expected="a path, a PIL image, a uint8 array [H, W, 3], or a list of those",
    )


def _array_to_pil(spec: TensorSpec, array: Array) -> Any:
    channels = array.shape[2] if array.ndim == 3 else 1
    fits = array.ndim in (2, 3) and channels in (1, 3, 4)
    if array.dtype != np.uint8 or not fits or not array.size:
        raise InputError(
            f"input {spec.name!r} takes images",
            found=f"an array {array.dtype}{list(array.shape)}",
            expected=f"uint8[height, width, 1, 3 or 4], uint8[height, width], or {spec}",
            hint=fit_hint(array, spec),
        )
    check_pixels(array.shape[1], array.shape[0], spec.name)
    flat = array[..., 0] if channels == 1 and array.ndim == 3 else array
    return require("PIL.Image").fromarray(np.ascontiguousarray(flat))
