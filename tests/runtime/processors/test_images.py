"""Pixels equal upstream's Pillow processors to the last bit: photographs, odd sizes, odd modes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import transformers
from PIL import Image

from mmedge.checkpoint.processor_defaults import IMAGE_PROCESSORS
from mmedge.data.real_samples import RealSamples
from mmedge.errors import InputError

from .comparison import assert_same, odd_images
from .conftest import Saved

Save = Callable[..., Saved]
ODD = odd_images()
WITH_TEXT = (
    "Gemma3",
    "GotOcr2",
    "Idefics2",
    "Idefics3",
    "LlavaNext",
    "Pixtral",
    "Qwen2VL",
    "SmolVLM",
)
ONE_IMAGE = [name for name in IMAGE_PROCESSORS if name not in WITH_TEXT]


def upstream(name: str, **options: Any) -> Any:
    return getattr(transformers, f"{name}ImageProcessorPil")(**options)


@pytest.mark.parametrize("name", ONE_IMAGE)
def test_class_as_it_is_gives_upstreams_pixels(
    saved: Save, samples: RealSamples, name: str
) -> None:
    """With every option at its default, which most classes' saved file states in full."""
    options = {"apply_ocr": False} if name == "LayoutLMv3" else {}
    ours = saved(processor := upstream(name, **options))
    path = str(samples.images[0])
    theirs = processor(path, return_tensors="np")
    assert_same(ours.convert(image=path), theirs, names=" ".join(theirs))


SMALL = {
    "cropped": ("CLIP", {"size": {"shortest_edge": 40}, "crop_size": 32}),
    "cropped outside": ("CLIP", {"size": {"shortest_edge": 20}, "crop_size": 33}),
    "not resized": ("CLIP", {"do_resize": False, "crop_size": {"height": 64, "width": 48}}),
    "only rescaled": ("Blip", {"size": 24, "do_normalize": False, "rescale_factor": 1 / 127.5}),
    "not rescaled": ("Siglip", {"size": {"height": 24, "width": 31}, "do_rescale": False}),
    "squared first": ("Llava", {"size": 30, "crop_size": 30, "do_pad": True}),
    "both edges": ("Detr", {"size": {"shortest_edge": 60, "longest_edge": 75}}),
    "largest height and width": ("Detr", {"size": {"max_height": 50, "max_width": 90}}),
    "padded to a size": (
        "GroundingDino",
        {
            "size": {"shortest_edge": 30, "longest_edge": 55},
            "pad_size": {"height": 60, "width": 62},
        },
    ),
    "cropped and padded": (
        "BridgeTower",
        {"size": {"shortest_edge": 64}, "crop_size": {"shortest_edge": 50}},
    ),
    "many small patches": ("Siglip2", {"patch_size": 5, "max_num_patches": 70}),
    "divisible": ("Vilt", {"size": {"shortest_edge": 60}, "size_divisor": 16}),
    "page": ("Donut", {"size": {"height": 60, "width": 40}, "do_align_long_axis": True}),
    "wide page": ("Donut", {"size": {"height": 40, "width": 61}}),
    "page that is not resized first": (
        "Donut",
        {"size": {"height": 400, "width": 500}, "do_resize": False},
    ),
}


@pytest.mark.parametrize("case", SMALL)
def test_options_give_upstreams_pixels(saved: Save, photos: list[Image.Image], case: str) -> None:
    name, options = SMALL[case]
    ours = saved(processor := upstream(name, **options))
    for photo in photos:
        theirs = processor(photo, return_tensors="np")
        assert_same(ours.convert(image=photo), theirs, names=" ".join(theirs))


def test_pixels_that_are_only_resized_are_floats_all_the_same(
    saved: Save, photos: list[Image.Image]
) -> None:
    """Upstream leaves bytes; no model takes them."""
    ours = saved(processor := upstream("ViT", size=24, do_rescale=False, do_normalize=False))
    theirs = processor(photos[0], return_tensors="np")["pixel_values"]
    pixels = ours.convert(image=photos[0])["pixel_values"]
    assert pixels.dtype == np.float32
    np.testing.assert_array_equal(pixels, theirs)


@pytest.mark.parametrize("kind", ODD)
@pytest.mark.parametrize("case", ["cropped", "not rescaled", "squared first"])
def test_odd_images_become_rgb_as_upstream_makes_them(saved: Save, case: str, kind: str) -> None:
    name, options = SMALL[case]
    ours = saved(processor := upstream(name, **options))
    theirs = processor(ODD[kind], return_tensors="np")
    assert_same(ours.convert(image=ODD[kind]), theirs, names="pixel_values")


@pytest.mark.parametrize("kind", ["gray", "rgba", "palette"])
def test_path_ignores_transparency_as_upstream_does(saved: Save, tmp_path: Any, kind: str) -> None:
    ours = saved(processor := upstream("Blip", size=24))
    path = tmp_path / "odd.png"
    ODD[kind].save(path)
    theirs = processor(str(path), return_tensors="np")
    assert_same(ours.convert(image=path), theirs, names="pixel_values")


def test_photograph_with_an_orientation_is_turned(saved: Save, tmp_path: Any) -> None:
    ours = saved(processor := upstream("Blip", size=24))
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera lay on its side
    ODD["one bit"].convert("RGB").save(tmp_path / "turned.jpg", exif=exif)
    theirs = processor(str(tmp_path / "turned.jpg"), return_tensors="np")
    assert_same(ours.convert(image=tmp_path / "turned.jpg"), theirs, names="pixel_values")


@pytest.mark.parametrize("name", ["ViT", "Flava", "Vilt"])
def test_rgba_is_accepted_where_upstream_fails(saved: Save, name: str) -> None:
    """Those do not convert to RGB themselves, and then have no mean for the fourth channel."""
    ours = saved(processor := upstream(name))
    with pytest.raises(ValueError, match="mean"):
        processor(ODD["rgba"], return_tensors="np")
    pixels = ours.convert(image=ODD["rgba"])["pixel_values"]
    white = ODD["rgba"].copy()
    background = Image.new("RGBA", white.size, "white")
    flat = Image.alpha_composite(background, white).convert("RGB")
    np.testing.assert_array_equal(pixels, processor(flat, return_tensors="np")["pixel_values"])


@pytest.mark.parametrize("shape", [(20, 30, 3), (3, 20, 30), (20, 30, 4), (20, 30, 1)])
def test_arrays_are_taken_as_upstream_takes_them(saved: Save, shape: tuple[int, ...]) -> None:
    ours = saved(processor := upstream("CLIP", size=24, crop_size=24))
    array = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    theirs = processor(array, return_tensors="np")
    assert_same(ours.convert(image=array), theirs, names="pixel_values")


def test_batch_is_padded_to_its_largest_image_with_a_mask(
    saved: Save, photos: list[Image.Image]
) -> None:
    for name, size in (("Vilt", 64), ("Detr", {"shortest_edge": 40, "longest_edge": 70})):
        ours = saved(processor := upstream(name, size=size))
        theirs = processor(photos, return_tensors="np")
        assert_same(ours.convert(image=photos), theirs, names="pixel_values pixel_mask")
        assert 0 < theirs["pixel_mask"].mean() < 1


@pytest.mark.parametrize("kind", [kind for kind in ODD if kind not in ("wide", "tall")])
def test_odd_images_as_patches(saved: Save, kind: str) -> None:
    ours = saved(processor := upstream("Siglip2", patch_size=6, max_num_patches=20))
    image = ODD[kind].convert("RGB")
    theirs = processor(image, return_tensors="np")
    assert_same(ours.convert(image=image), theirs, names=" ".join(theirs))


def test_batch_of_unequal_images_says_the_way_out(saved: Save, photos: list[Image.Image]) -> None:
    ours = saved(upstream("CLIP", size={"shortest_edge": 24}, do_center_crop=False))
    with pytest.raises(InputError, match="one by one"):
        ours.convert(image=photos)
